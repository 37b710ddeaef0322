"""The owners of a service, each with a unix user and a home of its own."""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from espalier.core.errors import BadInput


@dataclass(frozen=True)
class Tenants:
    """The owners' homes below the service's, each with a user id of its own; `uids` are those to choose from."""

    home: Path
    uids: range

    @property
    def folder(self) -> Path:
        """Where the owners' homes lie: in a folder that only root enters."""
        return self.home / "owners"

    def home_of(self, owner: str) -> Path:
        """Return an owner's home, which may not be there yet."""
        return self.folder / owner

    def made_home(self, owner: str) -> Path:
        """Return an owner's home, made at the first call with the next user id. Raises BadInput when none is left."""
        place = self.home_of(owner)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(self.folder / ".next-uid", os.O_RDWR | os.O_CREAT, 0o600), "r+") as counter:
            fcntl.flock(counter, fcntl.LOCK_EX)
            if place.is_dir():
                return place
            uid = int(counter.read() or self.uids.start)
            if uid not in self.uids:
                raise BadInput(f"SWEEP_JOB_UIDS: all {len(self.uids)} are taken by owners; give a larger range")
            counter.seek(0)
            counter.truncate()
            counter.write(str(uid + 1))
            counter.flush()
            _make_owned(place, uid)
        return place


def _make_owned(place: Path, uid: int) -> None:
    """Make a folder that belongs to a user id, whole or not at all."""
    part = place.with_name(f".{place.name}.part")
    part.mkdir(mode=0o700, exist_ok=True)
    try:
        os.chown(part, uid, uid)
    except OSError as error:
        raise BadInput(f"SWEEP_JOB_UIDS: no folder can be given to user {uid} ({error.strerror})") from error
    os.rename(part, place)
