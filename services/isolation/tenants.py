"""The owners of a service, each with a unix user and a home of its own."""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from espalier.core.errors import BadInput


@dataclass(frozen=True)
class Tenants:
    """The owners' homes below the service's, each with its own user id. uids: the available ids."""

    home: Path
    uids: range

    @property
    def folder(self) -> Path:
        """The folder of the owners' homes, which only root can enter."""
        return self.home / "owners"

    def home_of(self, owner: str) -> Path:
        """Return an owner's home, which may not exist yet."""
        return self.folder / owner

    def made_home(self, owner: str) -> Path:
        """Return an owner's home, created with the next user id on first use. Raises BadInput if no id is left."""
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
    """Create a folder owned by a user id, atomically."""
    part = place.with_name(f".{place.name}.part")
    part.mkdir(mode=0o700, exist_ok=True)
    try:
        os.chown(part, uid, uid)
    except OSError as error:
        raise BadInput(f"SWEEP_JOB_UIDS: no folder can be given to user {uid} ({error.strerror})") from error
    os.rename(part, place)
