"""Where a user's code is looked for: the folder of modules, and the recorded copy of a sweep's code.

A recorded copy has each file under the whole path of its original: `COPY/home/me/project/train.py`. While a copy is in
use, a file, a folder or a module that it has is taken from there.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RecordedCopy:
    """A recorded copy of code. folder: where it is. root: the original folder in which modules were looked for."""

    folder: str
    root: str

    def of(self, path: Path) -> Path:
        """Return the path of an original in the copy; the path itself if the copy does not have it."""
        place = os.path.realpath(self.folder) + os.path.realpath(Path(self.root, path))
        recorded = os.path.exists(place) and os.path.realpath(place) == place  # else a link to what was left out
        return Path(place) if recorded else path


_current: list[Path] = []
_copy: list[RecordedCopy] = []


def work_in(folder: str) -> None:
    """Look for a user's modules in `folder`, as if the process had been started there."""
    _current[:] = [Path(folder)]


def use_copy(copy: RecordedCopy | None) -> None:
    """Take a user's code from a recorded copy from now on; None: from its own place."""
    _copy[:] = [copy] if copy else []


def copy_in_use() -> RecordedCopy | None:
    """Return the recorded copy that is in use."""
    return _copy[0] if _copy else None


@contextmanager
def restoring_folder() -> Generator[None]:
    """Undo after the block what `work_in` and `use_copy` did in it."""
    before, copy = [*_current], [*_copy]
    try:
        yield
    finally:
        _current[:], _copy[:] = before, copy


def current_folder() -> Path:
    """Return the folder in which a user's modules are looked for, in the recorded copy while one is in use."""
    if _copy and (folder := _copy[0].of(Path(_copy[0].root))) != Path(_copy[0].root):
        return folder
    return working_folder()


def working_folder() -> Path:
    """Return the folder that a user's code works in, which is never a copy's."""
    return _current[0] if _current else Path.cwd()


def in_copy(path: Path) -> Path:
    """Return where a file or folder of a user's code is: in the recorded copy, else where it was.

    A relative path begins in the copy's root, if the copy has it there.
    """
    return _copy[0].of(path) if _copy else path
