"""The source files that a module depends on, found by its import statements; nothing is executed.

Only files of the module's author count. Libraries do not, nor does this program outside its ready tasks.
"""

import ast
import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from espalier.core import own
from espalier.core.loading.files import NamedFile, source_files
from espalier.core.loading.folders import current_folder, in_copy
from espalier.core.loading.scopes import Scope, installed, listed_folders, scope_of, scope_of_module


class Source(NamedTuple):
    """A module's name, its file, and the scope in which its imports are looked up first."""

    name: str
    path: str
    scope: Scope | None


def files_beside(sources: Sequence[tuple[Path, Path]], elsewhere: bool = False) -> list[Path]:
    """Return the files that modules import from their own folders, by their import statements; nothing is executed.

    sources: (folder, file) of each module. A captured class imports from the folders that its file lists, too.
    The result includes these files and the `__init__.py` of their packages. elsewhere: also their author's files in
    other folders, where Python finds them.
    """
    waiting = _modules(sources)
    folders = [each.folder for source in waiting if source.scope for each in source.scope.chain()]
    return [path for path in map(Path, _reachable(waiting)) if elsewhere or any(map(path.is_relative_to, folders))]


def hash_beside(folder: Path, file: Path) -> str:
    """Return a hash of a module's file and of all its author's files that it imports; nothing is executed."""
    texts = sorted(_reachable(_modules([(folder, file)])).values())
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def _modules(sources: Sequence[tuple[Path, Path]]) -> list[Source]:
    """Return modules with the scopes in which their imports are looked up, and the `__init__.py` of their packages."""
    waiting: list[Source] = []
    for folder, file in ((folder.resolve(), file.resolve()) for folder, file in sources):
        folder = folder if file.is_relative_to(folder) else file.parent  # a symbolic link to a file elsewhere
        last = None
        for listed in reversed(listed_folders(file)):
            last = scope_of(listed, last, listed=True)
        scope = scope_of(folder, last)
        packages = [package for package in file.parents if package != folder and package.is_relative_to(folder)]
        for path in (file, *(package / "__init__.py" for package in packages)):
            inner = path.parent if path.name == "__init__.py" and path.parent != folder else path.with_suffix("")
            waiting.append(Source(".".join(inner.relative_to(folder).parts), str(path), scope))
    return waiting


def imported_libraries(files: Sequence[Path]) -> set[str]:
    """Return the top-level modules of installed libraries that some files may import; nothing is executed."""
    names = {name.partition(".")[0] for path in files for name in _imports(path.read_bytes(), path.stem, False)}
    libraries = set[str]()
    for name in names - {own.NAME, *sys.stdlib_module_names}:
        spec = installed(name) if name.isidentifier() else None
        places = [*(spec.submodule_search_locations or []), spec.origin or ""] if spec else []
        if any(own.is_library(os.path.realpath(place)) for place in places if place):
            libraries.add(name)
    return libraries


def file_here(module: str) -> Path | None:
    """Return the file of a module in the current folder; None for one that Python finds elsewhere.

    Python may search the current folder too: by `python -m`, PYTHONPATH or an editable install.
    """
    scope = scope_of(current_folder())
    files = source_files(module, [scope.folder])
    if not files or not (scope.has(module) or _searched(module, files)):
        return None
    return Path(files[-1][1])


def _searched(module: str, files: list[NamedFile]) -> bool:
    """Whether Python itself finds a user's module in these files."""
    top = module.partition(".")[0]
    ours = top == own.NAME or top in sys.stdlib_module_names or own.is_library(files[-1][1])
    if ours or (spec := installed(top)) is None:
        return False
    places = [os.path.dirname(place) for place in spec.submodule_search_locations or [spec.origin or ""]]
    return source_files(module, places) == files


def sources_of(modules: Sequence[ModuleType]) -> dict[str, str]:
    """Return by path the name and a hash of the text, for modules and all their author's modules that they import."""
    waiting: list[Source] = []
    for module in modules:
        scope = scope_of_module(module.__name__)
        name = module.__name__.partition(".")[2] if scope else module.__name__
        waiting.append(Source(name, os.path.realpath(getattr(module, "__file__", None) or ""), scope))
    return _reachable(waiting)


def _reachable(waiting: list[Source]) -> dict[str, str]:
    """Return what `sources_of` returns, for these sources and their author's modules that they import."""
    texts: dict[str, str] = {}
    first = waiting[0].path if waiting else ""
    while waiting:
        name, path, scope = waiting.pop()
        if path in texts or own.is_own(path) or not os.path.isfile(path):
            continue
        text = Path(path).read_bytes()
        texts[path] = f"{name} {hashlib.sha256(text).hexdigest()}"
        for imported in _imports(text, name, Path(path).name == "__init__.py"):
            for near in scope.chain() if scope else ():
                waiting += [Source(*file, near) for file in source_files(imported, [near.folder], packages=True)]
            waiting += [Source(*file, None) for file in author_files(imported, first)]
    return texts


def _imports(text: bytes, name: str, is_package: bool) -> Iterator[str]:
    """Yield the names of all modules that a file may import, at any depth."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return
    package = (name if is_package else name.rpartition(".")[0]).split(".")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join(filter(None, [*above, node.module or ""]))
            yield from filter(None, [base, *(".".join(filter(None, [base, alias.name])) for alias in node.names)])
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "id", None) or getattr(node.func, "attr", None)
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.args[0].value


def author_files(name: str, first: str = "") -> list[NamedFile]:
    """Return (name, file) of a module that Python itself finds, unless it belongs to a library.

    first: the task's own file. Its package is its author's wherever it is installed.
    """
    top, _, rest = name.partition(".")
    if not top or top in sys.stdlib_module_names or (spec := installed(top)) is None:
        return []
    places = [str(in_copy(Path(place))) for place in spec.submodule_search_locations or []]
    place = os.path.realpath(places[0] if places else spec.origin or "")
    own_package = top == own.NAME or (bool(places) and first.startswith(place + os.sep))
    if own.is_library(place) and not own_package:
        return []
    origin = os.path.realpath(in_copy(Path(spec.origin))) if spec.origin else ""
    files = [(top, origin)] if origin.endswith(".py") else []
    if rest and places:
        files += [(f"{top}.{inner}", file) for inner, file in source_files(rest, places, packages=True)]
    return files
