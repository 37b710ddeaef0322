"""The recorded copy of a best file: in the file itself where it is small, else only its hash."""

import base64
import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from espalier.core.errors import BadInput
from espalier.sweeps.code.copies import Kept, hash_of, moved, read_archive, read_kept
from espalier.sweeps.spec.values import as_stored

MOST_KIB = 96.0  # of an archive in a best file, which people read and send each other
SUBMITTED_KIB = 1024.0  # the same for code that was submitted to a service, whose home its owner cannot read
SUBMITTED = "/submitted"  # in a best file, the root of such code: not where it was in the cluster
_UNPACKED = re.compile(r".*/code/([^/]+/)?[0-9a-f]{64}")  # where a service unpacks it
LINE = 100  # characters; YAML wraps a text at its spaces


class CodeInFile(BaseModel):
    """What a best file says of its trial's code. archive: as base64, "" if it is elsewhere. See Kept."""

    model_config = ConfigDict(extra="forbid")

    hash: str = Field(pattern=r"^[0-9a-f]{16}$")
    root: str
    files: int
    size_bytes: int
    roots: list[str] = []
    needed: list[str] = []
    packages: list[str] = []
    archive: str = ""

    @property
    def kept(self) -> Kept:
        """The copy that it names."""
        return Kept(self.hash, self.root, self.files, self.size_bytes, self.roots, self.needed, self.packages)

    def unpacked(self, source: str) -> bytes | None:
        """Return the archive in the file, None if there is none. Raises BadInput for another than its hash says."""
        if not self.archive:
            return None
        try:
            packed = base64.b64decode("".join(self.archive.split()), validate=True)
            right = hash_of(packed) == self.hash
        except (ValueError, BadInput):
            right = False
        if not right:
            raise BadInput(f"{source}: code.archive: it is not what code.hash says; `sweep best ID` writes it anew")
        return packed


def code_in_file(folder: Path, fact: Mapping[str, object]) -> dict[str, object] | None:
    """Return what a best file says of a recorded copy in a sweep's folder; None for submitted code that is too large.

    The root of submitted code is `SUBMITTED`.
    """
    kept, packed, most = read_kept(folder, fact), read_archive(folder, fact), MOST_KIB
    submitted = bool(_UNPACKED.fullmatch(kept.root))
    if packed and submitted:
        (kept, packed), most = moved(kept, packed, SUBMITTED), SUBMITTED_KIB
    names = [name for name in CodeInFile.model_fields if name != "archive"]
    fields = {name: as_stored(getattr(kept, name)) for name in names}
    if packed is None or len(packed) > most * 1024:
        return None if submitted else fields
    text = base64.b64encode(packed).decode()
    return fields | {"archive": " ".join(text[at : at + LINE] for at in range(0, len(text), LINE))}
