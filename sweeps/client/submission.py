"""The submission of a sweep to a service: its spec, and the code that its task needs."""

import io
import os
import secrets
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from espalier.core.errors import BadInput
from espalier.core.loading.dependencies import files_beside
from espalier.core.loading.folders import current_folder
from espalier.core.loading.references import split_reference
from espalier.core.loading.scopes import listed_folders
from espalier.sweeps.client.answers import SubmittedAnswer
from espalier.sweeps.client.service import Remote
from espalier.sweeps.code.listing import HOME_FILES, is_secret, project_files
from espalier.sweeps.code.sources import source_of, source_of_command
from espalier.sweeps.home import TASKS
from espalier.sweeps.spec import paths
from espalier.sweeps.spec.references import map_references, references
from espalier.sweeps.spec.spec import SweepSpec, make_spec, read_fields

HIDDEN = "__pycache__"


def submit(
    remote: Remote, path: str, assignments: Sequence[str], code: str | None, hours: float | None
) -> SubmittedAnswer:
    """Submit a spec with the code that its task needs. Raises BadInput.

    path: of the spec. code: a folder to send whole; None sends the task's file and the files that it imports.
    hours: the time limit of the sweep; None for the service's own limit.
    """
    fields, source, folder = read_fields(path, assignments)
    spec = make_spec(paths.found_files(dict(fields), folder) if isinstance(fields, dict) else fields, source)
    archive = None
    named = references(spec.model_dump(mode="json"))
    of_references = [source for reference in named if (source := source_of(reference))]
    of_references += [source_of_command(spec.command, current_folder())] if spec.command else []
    sources = [(source.folder, source.file) for source in of_references if source.file]
    root = _root([folder for folder, _ in sources], code) if sources or code else None
    options, data = _options_inside(spec, root)
    if root:
        data += [] if code else project_files(root, spec.resources.code_mib)
        archive = packed(root) if code else packed(root, *_with_imports(root, sources, data))
        fields = _inside(fields, folder, root, spec.command)
    return remote.submit(fields | options, archive, hours, secrets.token_hex(16))


def _options_inside(spec: SweepSpec, root: Path | None) -> tuple[dict[str, object], list[Path]]:
    """Return the task's options, with paths of files in the archive made relative to its root, and these files.

    Other paths stay unchanged: the service may share this machine's file system.
    """
    files: list[Path] = []

    def inside(value: object) -> object:
        if isinstance(value, list | tuple):
            return [inside(inner) for inner in value]
        if isinstance(value, Mapping):
            return {name: inside(inner) for name, inner in value.items()}
        if root and isinstance(value, str) and value.startswith(f"{root}{os.sep}") and os.path.exists(value):
            files.extend([Path(value)] if os.path.isfile(value) else [])
            return Path(value).relative_to(root).as_posix()
        return value

    return {"task_options": inside(spec.task_options)} if spec.task_options else {}, files


def _with_imports(
    root: Path, sources: Sequence[tuple[Path, Path]], data: Sequence[Path]
) -> tuple[list[Path], dict[str, Path]]:
    """Return the files of `sources`, those that they import and `data`; and files from elsewhere, by their new places.

    A captured class has the arrays that it loads in its own folder, which goes along whole. The modules that it was
    written beside lie elsewhere: they come to lie beside it, where they are found first.
    """
    real = Path(os.path.realpath(root))
    imported, elsewhere = files_beside(sources), dict[str, Path]()
    listed = [folder for _, file in sources for folder in listed_folders(file)]
    for path in imported:
        if not path.is_relative_to(real) and (home := next(filter(path.is_relative_to, listed), None)):
            elsewhere.setdefault(path.relative_to(home).as_posix(), path)
    files = [*(file for _, file in sources), *(root / p.relative_to(real) for p in imported if p.is_relative_to(real))]
    files += [path for path in root.iterdir() if root.parent.name == TASKS]
    return [*files, *data], elsewhere


def _root(folders: Sequence[Path], code: str | None) -> Path:
    """Return the root of the archive: --code, or the folder that the classes are imported from."""
    if code is not None:
        if not (folder := paths.argument(code)).is_dir():
            raise BadInput(f"--code {code}: no such folder")
        return folder.resolve()
    if len(set(folders)) > 1:
        raise BadInput(
            "the task and other code of yours lie in several folders; name one that holds all: --code FOLDER"
        )
    return folders[0]


def _inside(fields: Mapping[str, object], folder: Path, root: Path, command: Sequence[str]) -> dict[str, object]:
    """Return a spec's fields with references to code relative to the root of the archive.

    command: of the spec, its files as whole paths. Raises BadInput for files outside.
    """

    def relative(reference: str) -> str:
        file, name = split_reference(paths.code_path(reference, folder))
        if not file.endswith(".py"):
            return reference
        if not Path(file).is_relative_to(root):
            raise BadInput(f"--code {root}: {file} lies outside; name a folder that holds it")
        place = Path(file).relative_to(root).as_posix()
        return f"{place}:{name}" if name else place

    words: dict[str, object] = {"command": [relative(word) for word in command]} if command else {}
    return map_references(fields, relative) | words


def packed(
    root: Path, files: Sequence[Path] | None = None, elsewhere: Mapping[str, Path] = MappingProxyType({})
) -> bytes:
    """Return files of a folder as a zip archive; by default all except hidden and generated ones, and secrets.

    elsewhere: other files, by their places in the archive.
    """
    wanted = sorted(root.rglob("*")) if files is None else sorted(set(files))
    homes = {path.parent for path in wanted if path.name in HOME_FILES} - {root}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in wanted:
            inside = path.relative_to(root)
            hidden = any(part.startswith(".") or part == HIDDEN for part in inside.parts)
            hidden |= (files is None and is_secret(inside)) or not homes.isdisjoint(path.parents)
            if path.is_file() and not path.is_symlink() and not hidden:
                _add(archive, inside.as_posix(), path)
        for place, path in sorted(elsewhere.items()):
            if place not in archive.namelist():
                _add(archive, place, path)
    return buffer.getvalue()


def _add(archive: zipfile.ZipFile, place: str, path: Path) -> None:
    entry = zipfile.ZipInfo(place)  # without timestamps: equal code gives equal bytes
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, path.read_bytes())
