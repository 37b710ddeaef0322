"""Code archives that people upload: looked at here, unpacked only in the job that runs them."""

import io
import stat
import zipfile
from pathlib import Path, PurePosixPath

from core.errors import BadInput


def check(packed: bytes, packed_mib: float, unpacked_mib: float) -> None:
    """Raise BadInput unless the archive is a zip file of plain files within the limits, all inside their folder."""
    if len(packed) > packed_mib * 2**20:
        raise BadInput(f"archive: {len(packed) / 2**20:.1f} MiB; at most {packed_mib:g} MiB are taken")
    with _opened(packed) as archive:
        total = 0
        for entry in archive.infolist():
            _check_entry(entry)
            total += entry.file_size
        if total > unpacked_mib * 2**20:
            raise BadInput(f"archive: {total / 2**20:.1f} MiB unpacked; at most {unpacked_mib:g} MiB are taken")
        if not total:
            raise BadInput("archive: it is empty; put the files that the task needs into it")


def unpack(packed: bytes, folder: Path, unpacked_mib: float) -> None:
    """Write the archive's files into a folder. Raises BadInput, and then nothing may be run from there.

    Sizes that an archive states of itself can lie: no more is written than the limit.
    """
    left = int(unpacked_mib * 2**20)
    with _opened(packed) as archive:
        for entry in archive.infolist():
            _check_entry(entry)
            place = folder / entry.filename
            if entry.is_dir():
                place.mkdir(parents=True, exist_ok=True)
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(entry) as source:
                text = source.read(left + 1)
            left -= len(text)
            if left < 0:
                raise BadInput(f"archive: more than {unpacked_mib:g} MiB unpacked")
            place.write_bytes(text)


def _opened(packed: bytes) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(io.BytesIO(packed))
    except zipfile.BadZipFile as error:
        raise BadInput("archive: no zip file; `sweep submit --code FOLDER` makes one") from error


def _check_entry(entry: zipfile.ZipInfo) -> None:
    name, kind = entry.filename, stat.S_IFMT(entry.external_attr >> 16)
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ":" in name or "\0" in name:
        raise BadInput(f"archive: '{name}' is an absolute path; paths begin inside the archive")
    if ".." in path.parts:
        raise BadInput(f"archive: '{name}' leads out of the archive; leave '..' away")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise BadInput(f"archive: '{name}' is a link or a device; put the file itself there")
    if entry.flag_bits & 0x1:
        raise BadInput(f"archive: '{name}' is encrypted")
