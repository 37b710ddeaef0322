"""Open a sweep that was given away: every file is compared with the manifest before anything is kept."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from espalier.core.errors import BadInput
from espalier.sweeps.browse.export import BEST, MANIFEST, SCHEMA, Export, free_place
from espalier.sweeps.code.archive import entries
from espalier.sweeps.home import is_sweep_id

UNPACKED_MIB = 4096.0
AGAIN = "have it exported again, or fetch it once more"


def unpack_sweep(file: str | os.PathLike[str], to: str | os.PathLike[str] | None = None) -> tuple[str, Path]:
    """Unpack an exported zip into a new folder, which is a home then; return the sweep's id and the folder.

    to: default, the name of the file without .zip. Raises BadInput, with nothing written, for a file that is no export
    or is damaged, and for a folder that is there already.
    """
    source = Path(file)
    place = Path(to or source.with_suffix(""))
    sweep, files = _checked(source)
    if os.path.lexists(place) or place == source:
        raise BadInput(f"{place}: it is there already; name another folder by --to")
    _write(files, place)
    return sweep, place


def _checked(source: Path) -> tuple[str, Mapping[str, bytes]]:
    """Return the sweep of an exported zip, and its files, each compared with its checksum. Raises BadInput."""
    try:
        packed = source.read_bytes()
    except OSError as error:
        raise BadInput(f"{source}: cannot be read ({error.strerror}); `sweep export ID` writes one") from error
    try:
        files = {str(path): content for path, content in entries(packed, UNPACKED_MIB) if content is not None}
    except BadInput as error:
        reason = str(error).partition(": ")[2].partition(";")[0]
        raise BadInput(f"{source}: it is damaged, or no export ({reason}); {AGAIN}") from error
    manifest = _manifest(source, files)
    _check(source, files, manifest["files"])
    return manifest["sweep"], files


def fetched(fetch: Callable[[str], bytes], sweep: str, out: str | os.PathLike[str] | None) -> Export:
    """Write an exported sweep that comes from elsewhere into a new zip, or into a new folder; every file is checked.

    fetch: returns the zip of a sweep. out: a zip where it ends so; default: SWEEP.zip. Raises BadInput, with nothing
    written.
    """
    place = free_place(Path(out or f"{sweep}.zip"))
    packed = fetch(sweep)
    part = place.with_name(f".{place.name}.{os.getpid()}.zip")
    try:
        part.write_bytes(packed)
        _, files = _checked(part)
        if place.suffix == ".zip":
            part.rename(place)
        else:
            _write(files, place)
    except OSError as error:
        raise BadInput(f"{place}: cannot be written ({error.strerror}); name another place by --out") from error
    finally:
        part.unlink(missing_ok=True)
    size = len(packed) if place.suffix == ".zip" else sum(map(len, files.values()))
    notes = [] if BEST in files else ["without a best file: no trial is complete, or the records of the best are lost"]
    return Export(sweep, str(place), len(files), size, notes)


def _manifest(source: Path, files: Mapping[str, bytes]) -> Mapping[str, Any]:
    """Return the manifest among some files. Raises BadInput if there is none that can be understood."""
    try:
        manifest = json.loads(files[MANIFEST])
        version, sweep, listed = manifest["schema"], manifest["sweep"], manifest["files"]
    except (KeyError, ValueError, TypeError) as error:
        raise BadInput(f"{source}: no export of a sweep: it has no manifest; `sweep export ID` writes one") from error
    if version != SCHEMA:
        raise BadInput(f"{source}: its manifest has version {version}, this program reads {SCHEMA}; update it")
    if not is_sweep_id(sweep) or not isinstance(listed, dict):
        raise BadInput(f"{source}: it is damaged: its manifest names no sweep; {AGAIN}")
    return manifest


def _check(source: Path, files: Mapping[str, bytes], listed: Mapping[str, str]) -> None:
    """Raise BadInput if a file is missing, is another than it was, or is not listed."""
    for name in sorted((files.keys() | listed.keys()) - {MANIFEST}):
        wrong = "is missing" if name not in files else "is not in its manifest" if name not in listed else ""
        if not wrong and hashlib.sha256(files[name]).hexdigest() != listed[name]:
            wrong = "has changed since"
        if wrong:
            raise BadInput(f"{source}: it is damaged: {name} {wrong}; {AGAIN}")


def _write(files: Mapping[str, bytes], place: Path) -> None:
    """Write files into a new folder, all of them or none. Raises BadInput if that cannot be."""
    part = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        try:
            for name, content in files.items():
                (part / name).parent.mkdir(parents=True, exist_ok=True)
                (part / name).write_bytes(content)
            part.rename(place)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise BadInput(f"{place}: cannot be written ({error.strerror}); name another folder by --to") from error
