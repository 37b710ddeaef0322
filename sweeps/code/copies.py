"""The recorded copy of a sweep's code: kept with the sweep under its hash, and laid out for those that run it.

    sweeps/ID/code/HASH.zip     each file under the whole path of its original
    sweeps/ID/code/HASH.json    where it was, what was left out
    sweeps/ID/code/HASH/        laid out: the files, and links to the originals of what was left out

So a path relative to `__file__` leads to the recorded file, or else to the original.
"""

import hashlib
import io
import json
import os
import stat
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from espalier.core.errors import BadInput, counted
from espalier.core.loading.dependencies import files_beside, imported_libraries
from espalier.core.loading.folders import RecordedCopy
from espalier.sweeps.code.archive import ENTRIES, entries
from espalier.sweeps.code.environment import installed_packages, packages_of
from espalier.sweeps.code.listing import CACHES, LeftOut, is_home, list_code
from espalier.sweeps.code.sources import Source

FOLDER = "code"  # in a sweep's folder
UNPACKED_MIB = 1024.0  # the most that is unpacked of an archive that a file brings along
LISTED = 500  # the most entries of the list of what was left out
LINKS = 10_000  # the most links to what was left out
ABOVE = 2  # folders above the code whose other entries are linked: code may look for `../data`
LINKED_SMALL = 64 * 1024  # bytes; a smaller archive is written again rather than searched for among the other sweeps


@dataclass(frozen=True)
class CodeRecord:
    """A recorded copy. root: the folder in which modules were looked for. size_bytes: of the files.

    needed: the files that the task imports. packages: the installed ones that these import. note: a sentence for the
    user, "" if none.
    """

    hash: str
    root: str
    files: int
    size_bytes: int
    roots: Sequence[str] = ()
    needed: Sequence[str] = ()
    packages: Sequence[str] = ()
    left_out: Sequence[LeftOut] = ()
    note: str = field(default="", compare=False)

    def fact(self) -> dict[str, object]:
        """Return it as a fact of a sweep: all but the lists, which are in its file."""
        return {"hash": self.hash, "root": self.root, "files": self.files, "size_bytes": self.size_bytes}


def keep(sources: Sequence[Source], root: Path, folder: Path, limit_mib: float) -> CodeRecord | None:
    """Record the code of some sources in a sweep's folder; None if there is none of the user's.

    root: the folder in which modules are looked for. limit_mib: the most that is recorded. Where there is more, only
    what the sources import is recorded, and a note says what to do. Raises OSError.
    """
    if not sources:
        return None
    needed = [source.file for source in sources if source.file]
    needed += files_beside([(folder, file) for folder, file in sources if file], elsewhere=True)
    needed = [path for path in dict.fromkeys(Path(os.path.realpath(path)) for path in needed) if ":" not in str(path)]
    roots = list(dict.fromkeys(map(_code_folder, sources)))
    listings = [list_code(*each) for each in roots]
    files = sorted({*needed, *(path for listing in listings for path in listing.files)})
    size, note = sum(map(_size, files)), ""
    if size > limit_mib * 2**20 or len(files) > ENTRIES:
        note = _too_much(roots[0][0], files, size, limit_mib)
        files = sorted(needed)
    if not files:
        return None
    packed, digest = pack(files)  # a file that is gone meanwhile is left out
    left_out = [entry for listing in listings for entry in listing.left_out]
    record = CodeRecord(
        digest,
        str(root),
        len(files),
        sum(map(_size, files)),
        [str(folder) for folder, _ in roots],
        [str(path) for path in needed],
        packages_of(imported_libraries(needed), installed_packages()),
        [*left_out, *_beside(files, {entry.path for entry in left_out})][:LISTED],
        note,
    )
    _write(packed, record, folder / FOLDER)
    return record


def _code_folder(source: Source) -> tuple[Path, Path | None]:
    """Return the folder of a source's code, and the package in it that the source is part of."""
    folder = Path(os.path.realpath(source.file.parent if source.file else source.folder))
    package = None
    while (folder / "__init__.py").is_file() and folder != folder.parent:
        package, folder = folder, folder.parent
    return folder, package


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0


def _too_much(root: Path, files: Sequence[Path], size: int, limit_mib: float) -> str:
    largest = max(files, key=_size)
    return (
        f"{root} holds {counted(len(files), 'file')} of {size / 2**20:,.0f} MiB that git does not ignore, the largest "
        f"{largest.name}; resources.code_mib is {limit_mib:g}, so only what the task imports was recorded: have git "
        "ignore the data, or raise code_mib"
    )


def _beside(files: Sequence[Path], known: set[str]) -> Iterator[LeftOut]:
    """Yield what else is in the folders of some files: git ignores it, or it does not look like code."""
    here = {str(path) for path in files}
    folders = {folder for path in files for folder in path.parents}
    for folder in sorted({path.parent for path in files}):
        with suppress(OSError), os.scandir(folder) as listing:
            for entry in sorted(listing, key=lambda each: each.name):
                if entry.path not in here | known and Path(entry.path) not in folders:
                    why = "a cache" if entry.name in CACHES else "hidden" if entry.name.startswith(".") else "ignored"
                    yield LeftOut(entry.path, why)


# --- the archive -----------------------------------------------------------------------------------------------------


def pack(files: Sequence[Path]) -> tuple[bytes, str]:
    """Return files as a zip archive, each under its whole path, and a hash of names, modes and contents.

    Equal files give equal bytes: an archive has no times.
    """
    packed: list[Packed] = []
    for path in files:
        with suppress(OSError):
            packed.append(Packed(str(path).lstrip(os.sep), os.access(path, os.X_OK), path.read_bytes()))
    return packed_entries(packed)


class Packed(NamedTuple):
    """A file of an archive. runs: it may be executed."""

    name: str
    runs: bool
    content: bytes


def packed_entries(files: Iterable[Packed]) -> tuple[bytes, str]:
    """Return an archive of some files, and the hash of it."""
    buffer, digest = io.BytesIO(), hashlib.sha256()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, runs, content in sorted(files):
            entry = zipfile.ZipInfo(name)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, (0o100755 if runs else 0o100644) << 16
            archive.writestr(entry, content)
            digest.update(f"{name}\0{runs}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return buffer.getvalue(), digest.hexdigest()[:16]


def files_of(packed: bytes) -> Iterator[Packed]:
    """Yield the files of an archive. Raises BadInput for one that is damaged, or leads out of its folder."""
    modes = _modes(packed)
    for path, content in entries(packed, UNPACKED_MIB):
        if content is not None:
            yield Packed(str(path), bool(modes[str(path)] & stat.S_IXUSR), content)


def hash_of(packed: bytes) -> str:
    """Return the hash of an archive's files, as `pack` does. Raises BadInput for one that is damaged."""
    return packed_entries(files_of(packed))[1]


def moved(record: CodeRecord, packed: bytes, root: str) -> tuple[CodeRecord, bytes]:
    """Return a copy as if its root had been another folder; what was outside of the root is left out."""
    before, after = f"{record.root}{os.sep}", f"{root}{os.sep}"
    files = [each for each in files_of(packed) if f"{os.sep}{each.name}".startswith(before)]
    names = [f"{after}{each.name[len(before) - 1 :]}".lstrip(os.sep) for each in files]
    packed, digest = packed_entries(each._replace(name=name) for each, name in zip(files, names, strict=True))
    needed = [path.replace(before, after, 1) for path in record.needed if path.startswith(before)]
    return replace(record, hash=digest, root=root, roots=[root], needed=needed, files=len(files)), packed


def _write(packed: bytes, record: CodeRecord, folder: Path) -> None:
    """Write an archive and what is known of it. Another sweep's archive of the same code is linked."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_whole(folder / f"{record.hash}.json", json.dumps(asdict(record)).encode())
    place = folder / f"{record.hash}.zip"
    if place.exists():
        return
    others = folder.parent.parent.glob(f"*/{FOLDER}/{record.hash}.zip") if len(packed) > LINKED_SMALL else ()
    for other in others:
        with suppress(OSError):
            os.link(other, place)
            return
    _write_whole(place, packed)


def _write_whole(place: Path, content: bytes, mode: int = 0o600) -> None:
    part = place.with_name(f".{place.name}.{os.getpid()}")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(content)
    os.replace(part, place)


def archive_path(folder: Path, fact: Mapping[str, object]) -> Path:
    """Return where the archive of a recorded copy is in its sweep's folder."""
    return folder / FOLDER / f"{fact['hash']}.zip"


def read_archive(folder: Path, fact: Mapping[str, object]) -> bytes | None:
    """Return the archive of a recorded copy in a sweep's folder; None if it is not there."""
    with suppress(OSError):
        return archive_path(folder, fact).read_bytes()
    return None


def read_record(folder: Path, fact: Mapping[str, object]) -> CodeRecord:
    """Return a recorded copy with its lists, from a fact; without them if their file is lost."""
    try:
        fields = json.loads((folder / FOLDER / f"{fact['hash']}.json").read_bytes())
        return CodeRecord(**{**fields, "left_out": [LeftOut(*entry) for entry in fields["left_out"]]})
    except (OSError, ValueError, TypeError):
        names = ("hash", "root", "files", "size_bytes")
        return CodeRecord(**{name: fact[name] for name in names})  # pyright: ignore[reportArgumentType]


# --- laid out --------------------------------------------------------------------------------------------------------


def lay_out(packed: bytes, record: CodeRecord, place: Path) -> RecordedCopy:
    """Lay a recorded copy out in a folder, with links to the originals of what was left out.

    What is there already is repaired. Raises BadInput for an archive that is damaged, OSError.
    """
    for name, runs, content in files_of(packed):
        target = place / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _holds(target, content):
            _write_whole(target, content, 0o700 if runs else 0o600)
    _link(place, record)
    return RecordedCopy(str(place), record.root)


def laid_out(folder: Path, fact: Mapping[str, object]) -> RecordedCopy | None:
    """Lay out the recorded copy of a fact in its sweep's folder; None if it is lost or damaged."""
    packed = read_archive(folder, fact)
    if packed is None:
        return None
    try:
        return lay_out(packed, read_record(folder, fact), folder / FOLDER / str(fact["hash"]))
    except BadInput:
        return None


def _modes(packed: bytes) -> dict[str, int]:
    with suppress(zipfile.BadZipFile), zipfile.ZipFile(io.BytesIO(packed)) as archive:
        return {entry.filename: entry.external_attr >> 16 for entry in archive.infolist()}
    raise BadInput("the recorded copy of the code is damaged")


def _holds(place: Path, content: bytes) -> bool:
    try:
        return not place.is_symlink() and place.read_bytes() == content
    except OSError:
        return False


def _link(place: Path, record: CodeRecord) -> None:
    """Link what was left out beside the recorded files, and in two folders above them, to the originals."""
    links = 0
    for folder, _, _ in os.walk(place):
        original = Path(os.sep, Path(folder).relative_to(place))
        if not original.is_dir() or not _is_linked(original, record):
            continue
        with suppress(OSError), os.scandir(original) as listing:
            for entry in listing:
                target = Path(folder, entry.name)
                if entry.name == "__pycache__" or os.path.lexists(target) or links >= LINKS:
                    continue
                if not (entry.is_dir() and is_home(Path(entry.path))):
                    target.symlink_to(entry.path)
                    links += 1


def _is_linked(original: Path, record: CodeRecord) -> bool:
    roots = [Path(root) for root in record.roots] or [Path(record.root)]
    if original in roots or any(map(original.is_relative_to, roots)):
        return True
    near = {above for root in roots for above in list(root.parents)[:ABOVE] if above != above.parent}
    near |= {Path(path).parent for path in record.needed}
    return original in near and not is_home(original) and not original.stat().st_mode & stat.S_ISVTX  # such as /tmp
