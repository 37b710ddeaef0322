"""The folder in which a person's modules are looked for, where it is another than the current one of this process."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

_current: list[Path] = []


def work_in(folder: str) -> None:
    """Look for a person's modules in `folder`, as the process would that was started there."""
    _current[:] = [Path(folder)]


@contextmanager
def restoring_folder() -> Generator[None]:
    """Look for modules after the block where they were looked for before it, whatever work_in was called with."""
    before = [*_current]
    try:
        yield
    finally:
        _current[:] = before


def current_folder() -> Path:
    """Return the folder in which a person's modules are looked for."""
    return _current[0] if _current else Path.cwd()
