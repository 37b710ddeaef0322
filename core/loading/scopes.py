"""Imports of user code: the folder of a file is searched first, as `python train.py` does.

But the modules of a folder have names of their own in sys.modules (`espalier_1a2b.nets`). So two folders may each
have a `nets.py`, and a file called `random.py` or `core.py` is visible only to the code of its folder.
"""

import ast
import builtins
import hashlib
import importlib
import importlib.abc
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from espalier.core import own
from espalier.core.loading import former_names
from espalier.core.loading.files import source_files
from espalier.core.loading.folders import current_folder, in_copy
from espalier.core.loading.script import as_a_script

Namespace = Mapping[str, object] | None
FOLDERS = "__folders__"
"""The name under which a file lists folders that its imports search too, before the current one."""


@dataclass(frozen=True)
class Scope:
    """Where the code of one folder imports from: first that folder, after what Python finds the scope `last`.

    name: the package in sys.modules that holds the folder's modules. listed: a file lists the folder in `__folders__`.
    Then its modules are imported anew even where Python finds them itself, since it may do so in this process alone.
    """

    folder: str
    name: str
    last: "Scope | None" = None
    listed: bool = False

    def import_(
        self,
        name: str,
        globals: Namespace = None,
        locals: Namespace = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """Act as `__import__` for the modules of the folder."""
        names = fromlist or ()
        if (not level and self.is_former(name, names)) or (names and former_names.has_moved(name)):
            return former_names.import_former(name, names)
        scope = None if level else self.owner(name, names)
        if scope is None:
            return builtins.__import__(name, globals, locals, names, level)
        module = builtins.__import__(f"{scope.name}.{name}", globals, locals, names, 0)
        return module if names else sys.modules[f"{scope.name}.{name.partition('.')[0]}"]

    def owner(self, name: str, names: Sequence[str] = ()) -> "Scope | None":
        """Return the scope that `from NAME import NAMES` refers to; None for a module that Python itself finds."""
        if self.has(name, names):
            return self
        if self.last is None or (not self.last.listed and installed(name.partition(".")[0]) is not None):
            return None
        return self.last.owner(name, names)

    def has(self, name: str, names: Sequence[str] = ()) -> bool:
        """Whether `from NAME import NAMES` refers to a file of the folder."""
        top = name.partition(".")[0]
        if top == own.NAME:
            return False
        if f"{self.name}.{name}" in sys.modules:
            return True
        if (beside := PathFinder.find_spec(top, [self.folder])) is None:
            return False
        if top in sys.builtin_module_names or (top in sys.stdlib_module_names and _offers(name, names)):
            return False  # in a project that works, `import random` is the module that torch imports too
        elsewhere = None if self.listed else installed(top)
        return elsewhere is None or (beside.origin is not None and elsewhere.origin != beside.origin)

    def is_former(self, name: str, names: Sequence[str] = ()) -> bool:
        """Whether `from NAME import NAMES` was written for an earlier version of this program."""
        return former_names.is_former(name, names, [scope.folder for scope in self.chain()])

    def chain(self) -> "Iterator[Scope]":
        """Yield this scope and those that are searched after it."""
        yield self
        if self.last:
            yield from self.last.chain()


_scopes: dict[str, Scope] = {}


def scope_of(folder: Path, last: Scope | None = None, listed: bool = False) -> Scope:
    """Return the scope of a folder. The first call installs the finders of this file in sys.meta_path."""
    key = os.fsencode("\0".join([str(folder), *(each.folder for each in (last.chain() if last else ()))]))
    key += b"\0" * (last is None) + b"\0listed" * listed
    name = f"espalier_{hashlib.sha256(key).hexdigest()[:12]}"
    if name not in _scopes:
        if _BesideFinder not in sys.meta_path:
            sys.meta_path[:] = [_BesideFinder, *sys.meta_path, _PlainNameFinder]  # pyright: ignore[reportArgumentType]
        _scopes[name] = Scope(str(folder), name, last, listed)
        package = ModuleType(name, "The modules of a folder.")
        package.__path__ = [str(folder)]
        sys.modules[name] = package
    return _scopes[name]


def scope_of_module(module: str) -> Scope | None:
    """Return the scope by which a module of this full name was imported; None for one that Python itself found."""
    return _scopes.get(module.partition(".")[0])


def present_name(module: str) -> str:
    """Return a module's current name: `espalier.core.tasks.names` for `core.tasks.names`, if that is ours."""
    if module.startswith(f"{own.NAME}."):
        return own.present_path(module.removeprefix(f"{own.NAME}."))
    return own.present_path(module) if scope_of(current_folder()).is_former(module) else module


def import_source(source: str) -> ModuleType:
    """Import a file (`path/file.py`), or a module of the current folder or of Python's search path.

    Raises FileNotFoundError, ScriptEnded, and whatever the code itself raises.
    """
    importlib.invalidate_caches()  # a file may be newer than the import system's cache of its folder
    former_names.forget_folders()
    if source.endswith(".py"):
        return _import_file(source)
    scope = _scope_of_installed(source) or scope_of(current_folder())
    name = present_name(source)
    name = f"{scope.name}.{source}" if name == source and scope.has(source) else name
    with as_a_script(source):
        return importlib.import_module(name)


def _scope_of_installed(module: str) -> Scope | None:
    """Return the scope of a recorded copy's folder, for a module that Python itself finds but the copy has too."""
    spec = installed(module.partition(".")[0])
    places = list((spec and spec.submodule_search_locations) or [(spec and spec.origin) or ""])
    copied = in_copy(Path(places[0])) if places[0] else Path()
    return scope_of(copied.parent) if str(copied) not in (".", places[0]) else None


def _import_file(source: str) -> ModuleType:
    path = in_copy(Path(os.path.expanduser(source)))
    if not os.path.isfile(path):
        raise FileNotFoundError(source)
    path = path.resolve()
    last = scope_of(current_folder())
    if (outside := outside_package(path.parent)) != path.parent:
        last = scope_of(outside, last)
    for folder in reversed(listed_folders(path)):
        last = scope_of(in_copy(folder), last, listed=True)
    scope = scope_of(path.parent, last)
    name = f"{scope.name}.{path.stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path, loader=_ScopedLoader(name, str(path), scope))
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            with as_a_script(str(path)):
                spec.loader.exec_module(module)
        except BaseException as error:
            del sys.modules[name]
            if isinstance(error, ModuleNotFoundError) and last.listed:
                folders = [each.folder for each in last.chain() if each.listed]
                error.msg += f"; when this file was written it was in {' or '.join(folders)}"
            raise
    return sys.modules[name]


def outside_package(folder: Path) -> Path:
    """Return the folder that whole names of a package's modules begin in: the nearest above it that is no package."""
    while (folder / "__init__.py").is_file() and folder != folder.parent:
        folder = folder.parent
    return folder


def listed_folders(path: Path) -> list[Path]:
    """Return the folders that a file lists in `__folders__`."""
    text = path.read_bytes()
    if FOLDERS.encode() not in text:
        return []
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == FOLDERS:
            return [Path(folder) for folder in ast.literal_eval(node.value)]
    return []


# --- what Python itself finds --------------------------------------------------------------------------------------


def installed(top: str) -> ModuleSpec | None:
    """Return the spec of the top-level module that Python itself finds; nothing is imported."""
    try:
        spec = importlib.util.find_spec(top)
    except (ValueError, ImportError):  # a module without a spec, such as __main__
        return ModuleSpec(top, None) if top in sys.modules else None
    if spec is not None and isinstance(spec.loader, _ScopedLoader | _AliasLoader):  # of another folder
        return None
    return None if spec and former_names.is_own_package(top, spec.origin or "") else spec


def _offers(name: str, names: Sequence[str]) -> bool:
    """Whether a module of the standard library has the imported names."""
    try:
        module = importlib.import_module(name)
    except ImportError:
        return False
    return all(item == "*" or hasattr(module, item) or source_files(f"{name}.{item}", None) for item in names)


# --- finders and loaders ----------------------------------------------------------------------------------------------


class _ScopedLoader(SourceFileLoader):
    """Executes a file of a scope; its imports search its folder first. No .pyc files: they can miss a quick edit."""

    def __init__(self, fullname: str, path: str, scope: Scope):
        super().__init__(fullname, path)
        self.scope = scope

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": self.scope.import_}
        super().exec_module(module)


class _BesideFinder:
    """Finds the modules of scopes by their own names."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        scope = scope_of_module(name)
        if scope is None or path is None:
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _ScopedLoader(name, str(spec.origin), scope)
        return spec


class _AliasLoader(importlib.abc.Loader):
    """Registers a module of a scope under its plain name."""

    def __init__(self, name: str):
        self.name = name

    def exec_module(self, module: ModuleType) -> None:
        sys.modules[module.__name__] = importlib.import_module(self.name)


class _PlainNameFinder:
    """The last finder: searches the folders of scopes, latest first. For importlib.import_module and pickle."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        for scope in reversed(_scopes.values()):
            if path is None and source_files(name, [scope.folder]):
                return ModuleSpec(name, _AliasLoader(f"{scope.name}.{name}"))
        return None
