"""The recorded copy of a best file: in the file itself where it is small, else only its hash."""

import base64
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from espalier.core.errors import BadInput
from espalier.sweeps.code.copies import Kept, hash_of, read_archive, read_kept
from espalier.sweeps.spec.values import as_stored

MOST_KIB = 96.0  # of an archive in a best file, which people read and send each other
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


def code_in_file(folder: Path, fact: Mapping[str, object]) -> dict[str, object]:
    """Return what a best file says of a recorded copy in a sweep's folder."""
    kept, packed = read_kept(folder, fact), read_archive(folder, fact)
    names = [name for name in CodeInFile.model_fields if name != "archive"]
    fields = {name: as_stored(getattr(kept, name)) for name in names}
    if packed is None or len(packed) > MOST_KIB * 1024:
        return fields
    text = base64.b64encode(packed).decode()
    return fields | {"archive": " ".join(text[at : at + LINE] for at in range(0, len(text), LINE))}
