"""Find the source file of a module without importing anything."""

import os
from collections.abc import Sequence
from importlib.machinery import PathFinder

NamedFile = tuple[str, str]
"""The whole name of a module, and the real path of its file."""


def source_files(name: str, search: Sequence[str] | None, packages: bool = False) -> list[NamedFile]:
    """Return the file of a module below the folders `search` (None: where Python searches), or nothing.

    packages: include the files of its packages; only those where the last name is no module.
    """
    files: list[NamedFile] = []
    parts = name.split(".")
    for i, part in enumerate(parts):
        spec = PathFinder.find_spec(part, search) if part else None
        if spec is None:
            return files if packages else []
        if spec.origin and spec.origin.endswith(".py"):
            files.append((".".join(parts[: i + 1]), os.path.realpath(spec.origin)))
        search = list(spec.submodule_search_locations or [])
    return files if packages else files[-1:]
