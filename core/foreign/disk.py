"""What the checkpoints of trials take on the disk."""

import os
import shutil
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from espalier.core.foreign.folder import TrialFolder


@dataclass(frozen=True)
class Saved:
    """What the process of a trial has saved.

    trial: its key. step: of a checkpoint; None for what a command saves as it likes. protected: whether branches were
    to begin there. size: in bytes. at: when it was written, in seconds since 1970.
    """

    trial: str
    step: int | None
    folder: TrialFolder
    size: int
    at: float
    protected: bool = False

    def remove(self) -> None:
        """Remove it, whole or not at all for who reads it."""
        if self.step is None:
            self.folder.drop_saved()
        else:
            self.folder.drop_checkpoint(self.step)


def saved_by(place: Path) -> list[Saved]:
    """Return what lies in the folder of a trial, checkpoints rising. What is being written is not there yet."""
    folder, trial = TrialFolder(place), place.name.replace("-", "/")
    protected: Sequence[int] = ()
    with suppress(OSError, ValueError, TypeError):
        protected = folder.assignment().kept
    checkpoints = [
        Saved(trial, step, folder, *_measured(folder.checkpoints / str(step)), step in protected)
        for step in folder.checkpoint_steps()
    ]
    return [*checkpoints, *([Saved(trial, None, folder, *_measured(folder.saved))] if folder.has_saved else [])]


def taken(trials: Path) -> int:
    """Return how many bytes checkpoints take in the folder of trials' folders, also of a sweep that trains."""
    total = 0
    for place, _, files in os.walk(trials):
        parts = Path(place).relative_to(trials).parts
        if {"checkpoints", "saved"} & set(parts):
            total += sum(_size(os.path.join(place, name)) for name in files)
    return total


def keep_models(trials: Path, complete: Collection[int]) -> None:
    """Remove what nobody will go on from, when a sweep has ended: of complete trials the last checkpoint stays."""
    for place in trials.iterdir():
        number = place.name.partition("-")[0]
        if number.isdigit():
            folder = TrialFolder(place)
            folder.drop_checkpoints(folder.checkpoint_steps()[-1:] if int(number) in complete else ())


def _measured(folder: Path) -> tuple[int, float]:
    """Return the bytes of a folder, and when it was last written."""
    total, at = 0, 0.0
    with suppress(OSError):
        at = folder.stat().st_mtime
    for place, _, files in os.walk(folder):
        total += sum(_size(os.path.join(place, name)) for name in files)
    return total, at


def _size(file: str) -> int:
    with suppress(OSError):  # it has been removed meanwhile
        return os.lstat(file).st_size
    return 0


def free(place: Path) -> int:
    """Return the free bytes of the disk that a folder is, or would be, on."""
    there = next(folder for folder in (place, *place.parents) if folder.exists())
    return shutil.disk_usage(there).free
