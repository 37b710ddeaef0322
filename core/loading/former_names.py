"""Former names of this program's modules, such as `core.task`: its packages once had no common parent."""

import importlib
import os
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from espalier.core import own

_OWN_FOLDER = f"{own.FOLDER}{os.sep}"  # in a checkout that is on Python's path, `import core` finds our folder


def is_former(name: str, names: Sequence[str], folders: Sequence[str]) -> bool:
    """Whether `from NAME import NAMES` was written for an earlier version of this program.

    folders: a module of that name in them, or on Python's search path, takes precedence.
    """
    if name.partition(".")[0] not in own.FORMER_NAMES:
        return False
    modules = [f"{name}.{inner}" for inner in names] if "." not in name and names else [name]
    return all(_is_ours(module) and not _is_theirs(module, folders) for module in modules)


def has_moved(name: str) -> bool:
    """Whether a full name, such as `espalier.core.watch`, belongs to a module that has moved since."""
    module = name.removeprefix(f"{own.NAME}.")
    return module != name and module in own.MOVED


def import_former(name: str, names: Sequence[str]) -> ModuleType:
    """Do `from NAME import NAMES` or `import NAME` for a module's former name."""
    name = name.removeprefix(f"{own.NAME}.")
    for module in [name, *(inner for inner in (f"{name}.{each}" for each in names) if _is_ours(inner))]:
        loaded = importlib.import_module(own.present_path(module))
        parent, _, last = module.rpartition(".")
        if parent:
            setattr(importlib.import_module(f"{own.NAME}.{parent}"), last, loaded)
    return sys.modules[own.present_path(name if names else name.partition(".")[0])]


def is_own_package(name: str, origin: str) -> bool:
    """Whether the module that Python finds under a name is our own package on its search path, as in a checkout."""
    return name in own.FORMER_NAMES and os.path.realpath(origin).startswith(_OWN_FOLDER)


def forget_folders() -> None:
    """Clear the cache: files may have been added since."""
    _has_module.cache_clear()


def _is_ours(module: str) -> bool:
    """Whether this program has or had a module or package of this name, which begins with `core` or the like."""
    return module in own.MOVED or _has_module(str(own.FOLDER), module)


def _is_theirs(module: str, folders: Sequence[str]) -> bool:
    """Whether such a module exists in one of the folders or on Python's search path, and is not ours."""
    searched = (os.path.realpath(folder or ".") for folder in dict.fromkeys([*folders, *sys.path]))
    return any(folder != str(own.FOLDER) and _has_module(folder, module) for folder in searched)


@lru_cache(maxsize=4096)
def _has_module(folder: str, module: str) -> bool:
    """Whether a folder has a module, as a file or a package. Cached: a project may import such names often."""
    path = Path(folder).joinpath(*module.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()
