"""A person's code: found by a reference, imported with the files beside it, known by a fingerprint.

As with `python train.py`, the folder of a file is searched first, for what the file imports and what that imports.
The modules of a folder have names of their own in sys.modules (`espalier_1a2b.nets`). So two folders may each have a
`nets.py`, and a file called `random.py` or `core.py` is seen by the code beside it, and by nothing else.
"""

import ast
import builtins
import hashlib
import importlib
import importlib.abc
import importlib.util
import inspect
import io
import os
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from espalier.core import own, tasks
from espalier.core.errors import BadInput, faults, nearest
from espalier.core.tasks import READY

_OWN_FOLDER = f"{own.FOLDER}{os.sep}"  # in a checkout, `import core` means ours where Python searches it
_SHOWN = 200  # characters of what a file printed before it ended the program

_current: list[Path] = []  # the folder that modules are looked for in, where that is another than this process's
_scopes: dict[str, "_Scope"] = {}
_referenced: dict[type, ModuleType] = {}  # where classes were asked for, which may not be where they stand


def work_in(folder: str) -> None:
    """Look for a person's modules in `folder`, as the process would that was started there."""
    _current[:] = [Path(folder)]


@contextmanager
def restoring_folder() -> Iterator[None]:
    """Look for modules after the block where they were looked for before it, whatever work_in was called with."""
    before = [*_current]
    try:
        yield
    finally:
        _current[:] = before


def current_folder() -> Path:
    """Return the folder in which a person's modules are looked for."""
    return _current[0] if _current else Path.cwd()


# --- imports ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Scope:
    """What the code of one folder sees: the folder before all else and, after all else, the current folder."""

    folder: str
    name: str
    last: "_Scope | None" = None

    def import_(self, name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        """Be `__import__` for the modules of the folder."""
        if not level and self.is_former(name, fromlist or ()):
            return _import_former(name, fromlist or ())
        if fromlist and (former := name.removeprefix(f"{own.NAME}.")) in own.MOVED and former != name:
            return _import_former(former, fromlist)
        scope = None if level else self.owner(name, fromlist or ())
        if scope is None:
            return builtins.__import__(name, globals, locals, fromlist, level)
        module = builtins.__import__(f"{scope.name}.{name}", globals, locals, fromlist, 0)
        return module if fromlist else sys.modules[f"{scope.name}.{name.partition('.')[0]}"]

    def owner(self, name: str, names: Sequence[str] = ()) -> "_Scope | None":
        """Return the scope of which `from NAME import NAMES` means a file, None for what Python finds by itself."""
        if self.has(name, names):
            return self
        if self.last is None or _installed(name.partition(".")[0]) is not None:
            return None
        return self.last if self.last.has(name, names) else None

    def has(self, name: str, names: Sequence[str] = ()) -> bool:
        """Whether `from NAME import NAMES` means a file of the folder."""
        top = name.partition(".")[0]
        if top == own.NAME:
            return False
        if f"{self.name}.{name}" in sys.modules:
            return True
        if (beside := PathFinder.find_spec(top, [self.folder])) is None:
            return False
        if top in sys.builtin_module_names or (top in sys.stdlib_module_names and _offers(name, names)):
            return False  # by a project that works, `import random` means the one that torch imports too
        installed = _installed(top)
        return installed is None or (beside.origin is not None and installed.origin != beside.origin)

    def is_former(self, name: str, names: Sequence[str] = ()) -> bool:
        """Whether `from NAME import NAMES` was written when our packages had no common one: `core.task`, if it is ours.

        What the folder, the current folder or Python's search path has under that name comes first.
        """
        if name.partition(".")[0] not in own.FORMER_NAMES:
            return False
        modules = [f"{name}.{inner}" for inner in names] if "." not in name and names else [name]
        folders = [scope.folder for scope in (self, self.last) if scope]
        return all(_is_ours(module) and not _is_theirs(module, folders) for module in modules)


def _import_former(name: str, names: Sequence[str]) -> ModuleType:
    """Do `from NAME import NAMES`, or `import NAME`, for a module of ours by a name that it had once."""
    for module in [name, *(inner for inner in (f"{name}.{each}" for each in names) if _is_ours(inner))]:
        loaded = importlib.import_module(own.present_path(module))
        parent, _, last = module.rpartition(".")
        if parent:
            setattr(sys.modules[f"{own.NAME}.{parent}"], last, loaded)
    return sys.modules[own.present_path(name if names else name.partition(".")[0])]


def _is_ours(module: str) -> bool:
    """Whether this program has or had a module, maybe a folder, whose name begins with `core` or the like."""
    if module in own.MOVED:
        return True
    path = own.FOLDER.joinpath(*module.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def _is_theirs(module: str, folders: Sequence[str]) -> bool:
    """Whether a module of such a name stands in one of the folders, or where Python searches, and is not ours."""
    relative = Path(*module.split("."))
    for folder in dict.fromkeys([*folders, *sys.path]):
        if Path(_real(folder or ".")) != own.FOLDER and (
            Path(folder, relative).is_dir() or Path(folder, relative).with_suffix(".py").is_file()
        ):
            return True
    return False


def _installed(top: str) -> ModuleSpec | None:
    """Return what Python finds by itself under a name without dots, and imports nothing."""
    try:
        spec = importlib.util.find_spec(top)
    except (ValueError, ImportError):  # a module that was made by hand, such as __main__
        return ModuleSpec(top, None) if top in sys.modules else None
    if spec is not None and isinstance(spec.loader, _Loader | _Alias):  # of another folder
        return None
    return None if spec and top in own.FORMER_NAMES and _real(spec.origin or "").startswith(_OWN_FOLDER) else spec


def _offers(name: str, names: Sequence[str]) -> bool:
    """Whether a module of the standard library has what is imported of it."""
    try:
        module = importlib.import_module(name)
    except ImportError:
        return False
    return all(item == "*" or hasattr(module, item) or _file_of(f"{name}.{item}", None) for item in names)


class _Loader(SourceFileLoader):
    """Runs a file of a scope, whose imports look beside it first; without a cache, which a quick change would fool."""

    def __init__(self, fullname: str, path: str, scope: _Scope):
        super().__init__(fullname, path)
        self.scope = scope

    def get_code(self, fullname: str) -> Any:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": self.scope.import_}
        super().exec_module(module)


class _Beside:
    """Finds the modules of scopes, under their own names."""

    @staticmethod
    def find_spec(fullname: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        scope = _scopes.get(fullname.partition(".")[0])
        if scope is None or path is None:
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _Loader(fullname, str(spec.origin), scope)
        return spec


class _Alias(importlib.abc.Loader):
    """Makes a module of a scope known under its plain name."""

    def __init__(self, name: str):
        self.name = name

    def exec_module(self, module: ModuleType) -> None:
        sys.modules[module.__name__] = importlib.import_module(self.name)


class _ByName:
    """Finds what nobody else does, in the latest folder that has it: for importlib.import_module, and for pickles."""

    @staticmethod
    def find_spec(fullname: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        for scope in reversed(_scopes.values()):
            if path is None and _file_of(fullname, [scope.folder]):
                return ModuleSpec(fullname, _Alias(f"{scope.name}.{fullname}"))
        return None


def _scope_of(folder: Path, last: _Scope | None = None) -> _Scope:
    """Return the scope of a folder."""
    key = os.fsencode(f"{folder}\0{last.folder if last else ''}")
    name = f"espalier_{hashlib.sha256(key).hexdigest()[:12]}"
    if name not in _scopes:
        if _Beside not in sys.meta_path:
            sys.meta_path[:] = [_Beside, *sys.meta_path, _ByName]  # pyright: ignore[reportArgumentType]
        _scopes[name] = _Scope(str(folder), name, last)
        package = ModuleType(name, "The modules of a folder.")
        package.__path__ = [str(folder)]
        sys.modules[name] = package
    return _scopes[name]


def present_name(module: str) -> str:
    """Return the name that a module has now: `espalier.core.tasks.names` for `core.tasks.names`, if that is ours."""
    if module.startswith(f"{own.NAME}."):
        return own.present_path(module.removeprefix(f"{own.NAME}."))
    return own.present_path(module) if _scope_of(current_folder()).is_former(module) else module


def _module(source: str) -> ModuleType:
    """Import a file, or a module of the current folder or of those that Python searches."""
    importlib.invalidate_caches()  # files may be as new as the last look at their folder
    if not source.endswith(".py"):
        scope = _scope_of(current_folder())
        name = present_name(source)
        name = f"{scope.name}.{source}" if name == source and scope.has(source) else name
        with _as_a_script(source):
            return importlib.import_module(name)
    path = Path(os.path.expanduser(source))
    if not os.path.isfile(path):
        raise FileNotFoundError(source)
    path = path.resolve()
    scope = _scope_of(path.parent, _scope_of(current_folder()))
    name = f"{scope.name}.{path.stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path, loader=_Loader(name, str(path), scope))
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            with _as_a_script(str(path)):
                spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


# --- what a file does while it is imported ---------------------------------------------------------------------------


class _Held(io.TextIOBase):
    """Keeps what is printed until it is let go, then passes everything on: a logger may hold on to it."""

    def __init__(self, stream: Any):
        self.stream, self.kept, self.holding = stream, "", True

    def write(self, text: str) -> int:
        if not self.holding:
            return self.stream.write(text)
        self.kept += text
        return len(text)

    def flush(self) -> None:
        if not self.holding:
            self.stream.flush()

    def release(self, show: bool) -> None:
        """Hold nothing any more; show what was kept, or drop it."""
        self.holding = False
        if show and self.kept:
            self.stream.write(self.kept)
            self.stream.flush()

    def isatty(self) -> bool:
        return self.stream.isatty()

    def fileno(self) -> int:
        return self.stream.fileno()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class _Ended(Exception):
    """A file that ends the program while it is imported, as a script without a main guard does."""


@contextmanager
def _as_a_script(path: str) -> Iterator[None]:
    """Import a file as `python FILE < /dev/null` would run it: without our arguments, and nobody to ask.

    What it prints is shown on stderr if it comes through. Raises _Ended for one that ends the program.
    """
    before = sys.argv, sys.stdin, sys.stdout, sys.stderr
    held = _Held(sys.stderr)
    sys.argv, sys.stdin, sys.stdout, sys.stderr = [path], io.StringIO(), held, held
    ended = None
    try:
        yield
    except SystemExit as error:
        ended = error
        printed = " ".join(held.kept.strip().splitlines()[-1:])[:_SHOWN]
        code = "" if error.code is None else f" with {' '.join(str(error.code).split())[:_SHOWN]}"
        raise _Ended(f"it ends the program{code}{f' ({printed})' if printed else ''}") from error
    finally:
        sys.argv, sys.stdin, sys.stdout, sys.stderr = before
        held.release(show=ended is None)


def parted(reference: str) -> tuple[str, str]:
    """Return the file or module of a reference, and the class behind its last colon; "" for what is not there.

    >>> parted("pkg.mod:Name"), parted("a:b/file.py:Name"), parted("a:b/file.py"), parted("names")
    (('pkg.mod', 'Name'), ('a:b/file.py', 'Name'), ('a:b/file.py', ''), ('espalier.core.tasks.names', 'Names'))
    """
    if reference in READY:
        source, _, name = READY[reference].partition(":")
        return f"{tasks.__name__}.{source}", name
    source, _, name = reference.rpartition(":")
    if (not source and not reference.startswith(":")) or os.sep in name or name.endswith(".py"):
        return reference, ""
    return source, name


def reference_of(kind: type) -> str:
    """Return the reference of a class that stands in a file: the file's, or the module's of one that is installed.

    >>> from espalier.core.tasks.names import Names
    >>> reference_of(Names)
    'espalier.core.tasks.names:Names'
    """
    file = _real(inspect.getfile(kind))
    if kind.__module__.partition(".")[0] == own.NAME or _of_a_library(file):
        return f"{kind.__module__}:{kind.__qualname__}"
    return f"{file}:{kind.__qualname__}"


def found_class(reference: str, field: str = "task") -> type:
    """Find the class that `pkg.mod:Name` or `path/file.py:Name` names.

    Raises BadInput, beginning with the field of the spec, if it cannot be imported or is no class.
    """
    source, name = parted(reference)
    odd = not name.isidentifier() or (not source.endswith(".py") and (":" in source or os.sep in source))
    if odd or not source:
        wrong = "is no reference to a class" if source and name else "has no class"
        ready = f", or a ready task: {', '.join(READY)}" if field == "task" else ""
        raise BadInput(f"{field}: '{reference}' {wrong}; write 'package.module:Class' or 'path/file.py:Class'{ready}")
    try:
        with faults(f"{field}: cannot import '{source}'", passing=(FileNotFoundError, _Ended)):
            module = _module(source)
    except FileNotFoundError as error:
        if error.filename is not None:  # the file is there, and reads another that is not
            raise BadInput(f"{field}: cannot import '{source}': {type(error).__name__}: {error}") from error
        raise BadInput(f"{field}: no file {source}") from error
    except _Ended as error:
        raise BadInput(
            f"{field}: cannot import '{source}': {error}; put what it runs under `if __name__ == \"__main__\":`"
        ) from error
    with faults(f"{field}: cannot read the classes of '{source}'"):
        found = getattr(module, name, None)
        if not inspect.isclass(found):
            own = [key for key, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
            classes = [key for key in own if inspect.isclass(getattr(module, key))]
            raise BadInput(f"{field}: '{source}' has no class '{name}'; {nearest(name, classes)}")
    _referenced[found] = module
    return found


# --- the fingerprint -------------------------------------------------------------------------------------------------


def fingerprint(task: type) -> str:
    """Return a hash of the source files that a class is made of: its own, and those of its author that it imports.

    Libraries, and this program outside its ready tasks, are known by their versions. What is imported under a name
    that is made up while the program runs, and what is read as data, is not seen.
    """
    try:
        first = _real(inspect.getfile(task))
        text = Path(first).read_bytes()
    except (OSError, TypeError):
        return "unknown"
    modules = [sys.modules.get(task.__module__), *(_referenced[c] for c in task.__mro__ if c in _referenced)]
    found = _sources([module for module in modules if module is not None])
    found.pop(first, None)
    own = hashlib.sha256(text).hexdigest()
    if found:
        own = hashlib.sha256("\n".join([own, *sorted(found.values())]).encode()).hexdigest()
    return own[:16]


def files_beside(sources: Sequence[tuple[Path, Path]]) -> list[Path]:
    """Return what modules import, by their import statements, of the folders that they are imported from; none is run.

    sources: (folder, file) of each module. The result holds the files themselves and those of the packages around them.
    """
    waiting: list[tuple[str, str, _Scope | None]] = []
    for folder, file in ((Path(_real(str(folder))), Path(_real(str(file)))) for folder, file in sources):
        folder = folder if file.is_relative_to(folder) else file.parent  # a link to a file elsewhere
        scope = _scope_of(folder)
        packages = [package for package in file.parents if package != folder and package.is_relative_to(folder)]
        for path in (file, *(package / "__init__.py" for package in packages)):
            inner = path.parent if path.name == "__init__.py" and path.parent != folder else path.with_suffix("")
            waiting.append((".".join(inner.relative_to(folder).parts), str(path), scope))
    folders = [scope.folder for _, _, scope in waiting if scope]
    return [path for path in map(Path, _reached(waiting)) if any(map(path.is_relative_to, folders))]


def file_here(module: str) -> Path | None:
    """Return the file of a module that the current folder has, None for one that Python finds elsewhere.

    Python may search the current folder too: `python -m`, PYTHONPATH, a project that is installed to be edited.
    """
    scope = _scope_of(current_folder())
    files = _file_of(module, [scope.folder])
    if not files or not (scope.has(module) or _searched(module, files)):
        return None
    return Path(files[-1][1])


def _searched(module: str, files: list[tuple[str, str]]) -> bool:
    """Whether Python by itself finds a person's module in these files."""
    top = module.partition(".")[0]
    ours = top == own.NAME or top in sys.stdlib_module_names or _of_a_library(files[-1][1])
    if ours or (spec := _installed(top)) is None:
        return False
    places = [os.path.dirname(place) for place in spec.submodule_search_locations or [spec.origin or ""]]
    return _file_of(module, places) == files


def _sources(modules: Sequence[ModuleType]) -> dict[str, str]:
    """Return by path, for modules and all that they import of their author's: the name and a hash of the text."""
    waiting: list[tuple[str, str, _Scope | None]] = []
    for module in modules:
        scope = _scopes.get(module.__name__.partition(".")[0])
        name = module.__name__.partition(".")[2] if scope else module.__name__
        waiting.append((name, _real(getattr(module, "__file__", None) or ""), scope))
    return _reached(waiting)


def _reached(waiting: list[tuple[str, str, _Scope | None]]) -> dict[str, str]:
    """Return as `_sources` does all that files - (name, path, what they see) - import of their author's."""
    found: dict[str, str] = {}
    first = waiting[0][1] if waiting else ""
    while waiting:
        name, path, scope = waiting.pop()
        if path in found or own.is_own(path) or not os.path.isfile(path):
            continue
        text = Path(path).read_bytes()
        found[path] = f"{name} {hashlib.sha256(text).hexdigest()}"
        for imported in _imports(text, name, Path(path).name == "__init__.py"):
            for near in filter(None, (scope, scope and scope.last)):
                waiting += [(label, file, near) for label, file in _file_of(imported, [near.folder], all_of_it=True)]
            waiting += [(label, file, None) for label, file in _of_the_author(imported, first)]
    return found


def _real(path: str) -> str:
    return os.path.realpath(path)


def _imports(text: bytes, name: str, is_package: bool) -> Iterator[str]:
    """Yield the names of all modules that a file may import, at its top or later."""
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


def _file_of(name: str, search: Sequence[str] | None, all_of_it: bool = False) -> list[tuple[str, str]]:
    """Return (name, file) of a module's source below the folders `search` (None: where Python searches), or nothing.

    all_of_it: with the packages that it is in, and those alone where the last name is no module.
    """
    found: list[tuple[str, str]] = []
    parts = name.split(".")
    for i, part in enumerate(parts):
        spec = PathFinder.find_spec(part, search) if part else None
        if spec is None:
            return found if all_of_it else []
        if spec.origin and spec.origin.endswith(".py"):
            found.append((".".join(parts[: i + 1]), _real(spec.origin)))
        search = list(spec.submodule_search_locations or [])
    return found if all_of_it else found[-1:]


def _of_the_author(name: str, first: str) -> list[tuple[str, str]]:
    """Return (name, file) of a module that Python finds by itself, unless it is a library's.

    first: the task's own file, whose package is its author's wherever it is installed.
    """
    top, _, rest = name.partition(".")
    if not top or top in sys.stdlib_module_names or (spec := _installed(top)) is None:
        return []
    places = list(spec.submodule_search_locations or [])
    place = _real(places[0] if places else spec.origin or "")
    own_package = top == own.NAME or (bool(places) and first.startswith(place + os.sep))
    if _of_a_library(place) and not own_package:
        return []
    files = [(top, _real(spec.origin))] if spec.origin and spec.origin.endswith(".py") else []
    if rest and places:
        files += [(f"{top}.{inner}", file) for inner, file in _file_of(rest, places, all_of_it=True)]
    return files


def _of_a_library(path: str) -> bool:
    places = (sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib"))
    return any(part in ("site-packages", "dist-packages") for part in Path(path).parts) or any(
        path.startswith(_real(place) + os.sep) for place in places if place
    )
