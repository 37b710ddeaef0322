"""The recorded copy of a best file: in the file itself where it is small, else only its hash."""

import base64
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from espalier.core.errors import BadInput
from espalier.sweeps.code.copies import CodeRecord, files_of, hash_of, moved, read_archive, read_record
from espalier.sweeps.code.listing import LARGE
from espalier.sweeps.spec.values import as_stored

MOST_KIB = 96.0  # of an archive in a best file, which people read and send each other
SUBMITTED_KIB = 1024.0  # the same for code that was submitted to a service, whose home its owner cannot read
SUBMITTED = "/submitted"  # in a best file, the root of such code: not where it was in the cluster
_UNPACKED = re.compile(r".*/code/([^/]+/)?[0-9a-f]{64}")  # where a service unpacks it
LARGE_MOST = 20  # files that a best file names
LINE = 100  # characters; YAML wraps a text at its spaces


class CodeInFile(BaseModel):
    """What a best file says of its trial's code. See CodeRecord.

    left_out: paths of files that were too large, and why. archive: as base64, "" if it is elsewhere.
    """

    model_config = ConfigDict(extra="forbid")

    hash: str = Field(pattern=r"^[0-9a-f]{16}$")
    root: str
    files: int
    size_bytes: int
    roots: list[str] = []
    needed: list[str] = []
    packages: list[str] = []
    left_out: dict[str, str] = {}
    archive: str = ""

    @property
    def record(self) -> CodeRecord:
        """The copy that it names."""
        return CodeRecord(self.hash, self.root, self.files, self.size_bytes, self.roots, self.needed, self.packages)

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
    """Return what a best file says of a recorded copy in a sweep's folder.

    The root of submitted code is `SUBMITTED`. If its archive is not in the file, the hash is that of the recorded one,
    which names the cluster's folders: see `as_submitted`.
    """
    record, packed, most = read_record(folder, fact), read_archive(folder, fact), MOST_KIB
    large = {entry.path: entry.why for entry in record.left_out if LARGE in entry.why}
    left_out = dict(list(large.items())[:LARGE_MOST])
    if _UNPACKED.fullmatch(record.root):
        most, left_out, recorded = SUBMITTED_KIB, {}, record.hash
        record, packed = _hidden(record, packed)
        if packed is None or len(packed) > most * 1024:
            record = replace(record, hash=recorded)
    names = [name for name in CodeInFile.model_fields if name not in ("archive", "left_out")]
    fields = {name: as_stored(getattr(record, name)) for name in names} | ({"left_out": left_out} if left_out else {})
    if packed is None or len(packed) > most * 1024:
        return fields
    text = base64.b64encode(packed).decode()
    return fields | {"archive": " ".join(text[at : at + LINE] for at in range(0, len(text), LINE))}


def _hidden(record: CodeRecord, packed: bytes | None) -> tuple[CodeRecord, bytes | None]:
    """Return submitted code as if it had been in SUBMITTED, where it is known."""
    if packed is None:
        return replace(record, root=SUBMITTED, roots=[SUBMITTED], needed=[]), None
    return moved(record, packed, SUBMITTED)


def as_submitted(record: CodeRecord, packed: bytes) -> tuple[CodeRecord, bytes]:
    """Return submitted code as if it had been in SUBMITTED: an archive of MLflow, or of the service's home, names the
    folder where the service has unpacked it."""
    paths = (f"/{each.name}" for each in files_of(packed))
    root = next((match[0] for path in paths if (match := re.match(f"{_UNPACKED.pattern}(?=/)", path))), SUBMITTED)
    there, packed = moved(replace(record, root=root), packed, SUBMITTED)
    return replace(there, needed=record.needed), packed
