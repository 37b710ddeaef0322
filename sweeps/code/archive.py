"""Archives of code: validated completely on submission, unpacked only where they run."""

import io
import lzma
import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from espalier.core.errors import BadInput

ENTRIES = 10_000  # files and folders; more are probably data, which does not belong to the code
NAME_BYTES, PATH_BYTES = 255, 1024  # the limits of a file system
PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # other methods cannot be limited while they unpack
HEADER = b"PK\x01\x02"  # bytes of each entry in the archive's directory
DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
BROKEN = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, EOFError, OSError, ValueError,
          RuntimeError, OverflowError)  # fmt: skip


def check(packed: bytes, packed_mib: float, unpacked_mib: float) -> None:
    """Raise BadInput unless `unpack` can write the whole archive, each file inside its folder."""
    if len(packed) > packed_mib * 2**20:
        raise BadInput(f"archive: {len(packed) / 2**20:.1f} MiB; at most {packed_mib:g} MiB are taken")
    if not sum(len(content or b"") for _, content in entries(packed, unpacked_mib)):
        raise BadInput("archive: it is empty; put the files that the task needs into it")


def unpack(packed: bytes, folder: Path, unpacked_mib: float) -> None:
    """Write the archive's files, read-only, into a folder. Raises BadInput; then nothing may be run from there.

    The sizes in an archive's directory can be false: no more than the limit is written.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path, content in entries(packed, unpacked_mib):
        place = folder / path
        (place if content is None else place.parent).mkdir(mode=0o700, parents=True, exist_ok=True)
        if content is not None:
            with open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "wb") as file:
                file.write(content)


def holds(packed: bytes, folder: Path, unpacked_mib: float) -> bool:
    """Whether a folder has exactly the archive's files, and nothing else that Python could import."""
    here = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}
    for path, content in entries(packed, unpacked_mib):
        place = folder / path
        if content is None:
            continue
        if str(path) not in here or place.is_symlink() or not place.is_file() or place.read_bytes() != content:
            return False
        here.remove(str(path))
    return not here


def kept(packed: bytes, place: Path, unpacked_mib: float) -> Path:
    """Return a folder with the archive's files: that of an earlier job, if it is unchanged."""
    if place.is_dir() and holds(packed, place, unpacked_mib):
        return place
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part, changed = (place.with_name(f".{place.name}.{word}.{os.getpid()}") for word in ("part", "changed"))
    unpack(packed, part, unpacked_mib)
    try:
        if place.exists():
            place.rename(changed)
        part.rename(place)
    except OSError:  # another job of the same code was faster
        if not holds(packed, place, unpacked_mib):
            raise
    for leftover in (part, changed):
        shutil.rmtree(leftover, ignore_errors=True)
    return place


def entries(packed: bytes, unpacked_mib: float) -> Iterator[tuple[PurePosixPath, bytes | None]]:
    """Yield every path of an archive with its content, None for a folder. Raises BadInput at the first invalid one."""
    if packed.count(HEADER) > ENTRIES:  # counted before zipfile makes an object for each
        raise BadInput(f"archive: more than {ENTRIES:,} files; leave data and build folders out")
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            listed = archive.infolist()
            _check_names(listed)
            left = int(unpacked_mib * 2**20)
            if (total := sum(entry.file_size for entry in listed)) > left:
                raise BadInput(f"archive: {total / 2**20:.1f} MiB unpacked; at most {unpacked_mib:g} MiB are taken")
            for entry in listed:
                content = None if entry.is_dir() else _content(archive, entry, left)
                left -= len(content or b"")
                if left < 0:
                    raise BadInput(f"archive: more than {unpacked_mib:g} MiB unpacked")
                yield PurePosixPath(entry.filename), content
    except zipfile.BadZipFile as error:
        raise BadInput("archive: no zip file; `sweep submit --code FOLDER` makes one") from error
    except (OSError, ValueError, OverflowError, NotImplementedError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"archive: its directory cannot be read ({_words(error)})") from error


def _content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, left: int) -> bytes:
    try:
        with archive.open(entry) as source:
            content = source.read(left + 1)
    except BROKEN as error:
        raise BadInput(f"archive: '{entry.filename}' cannot be unpacked ({_words(error)})") from error
    if len(content) != entry.file_size:
        raise BadInput(f"archive: '{entry.filename}' has another size than the archive says")
    return content


def _words(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


# --- names -----------------------------------------------------------------------------------------------------------


def _check_names(entries: list[zipfile.ZipInfo]) -> None:
    """Raise BadInput for a name that leads out of the folder, is invalid for a file, or occurs twice."""
    folders: set[str] = set()
    files: dict[str, str] = {}
    for entry in entries:
        _check_entry(entry)
        name = entry.filename.rstrip("/")
        if not entry.is_dir():
            if (other := files.get(name.casefold())) is not None:
                raise BadInput(f"archive: '{name}' and '{other}' are one name; rename one of them")
            files[name.casefold()] = name
        above = PurePosixPath(name.casefold()).parents if not entry.is_dir() else [name.casefold()]
        folders |= {str(folder) for folder in above}
        if entry.is_dir():
            folders |= {str(folder) for folder in PurePosixPath(name.casefold()).parents}
    if both := folders & files.keys():
        raise BadInput(f"archive: '{files[min(both)]}' is a file and a folder; rename one of them")


def _check_entry(entry: zipfile.ZipInfo) -> None:
    name, kind = entry.filename, stat.S_IFMT(entry.external_attr >> 16)
    shown = name.encode("unicode_escape").decode()[:200]
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ":" in name or "\0" in name:
        raise BadInput(f"archive: '{shown}' is an absolute path; paths begin inside the archive")
    if ".." in path.parts:
        raise BadInput(f"archive: '{shown}' leads out of the archive; leave '..' away")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise BadInput(f"archive: '{shown}' is a link or a device; put the file itself there")
    if entry.flag_bits & 0x1:
        raise BadInput(f"archive: '{shown}' is encrypted")
    if entry.compress_type not in PACKINGS:
        raise BadInput(f"archive: '{shown}' is packed by method {entry.compress_type}; use deflate, or store it")
    if (wrong := wrong_name(name)) is not None:
        raise BadInput(f"archive: '{shown}': {wrong}")


def wrong_name(name: str) -> str | None:
    """Return what is wrong with a file's name, None if it is valid."""
    parts = name.removesuffix("/").split("/")
    if any(part in ("", ".") for part in parts):
        return "an empty name; each file and folder has one"
    if not all(c.isprintable() and c != "\\" for c in name):
        return "a name has letters that can be printed, and / between folders"
    if any(part.partition(".")[0].strip().casefold() in DEVICES for part in parts):
        return "the name of a device; rename it"
    if len(name.encode("utf-8", "replace")) > PATH_BYTES or any(len(p.encode("utf-8")) > NAME_BYTES for p in parts):
        return f"a path has at most {PATH_BYTES} bytes, and each of its names {NAME_BYTES}"
    return None
