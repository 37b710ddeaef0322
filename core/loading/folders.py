"""The folder in which a user's modules are looked for, where it is not the process's current one."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

_current: list[Path] = []


def work_in(folder: str) -> None:
    """Look for a user's modules in `folder`, as if the process had been started there."""
    _current[:] = [Path(folder)]


@contextmanager
def restoring_folder() -> Generator[None]:
    """Undo after the block what `work_in` did in it."""
    before = [*_current]
    try:
        yield
    finally:
        _current[:] = before


def current_folder() -> Path:
    """Return the folder in which a user's modules are looked for."""
    return _current[0] if _current else Path.cwd()
