"""Checkpoints of a cohort: written atomically, and read without running code."""

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch


def save(path: Path, state: Mapping[str, object], durable: bool = True) -> None:
    """Write `state` (tensors, numbers, strings, lists, dicts) atomically: a crash leaves the old file or the new one.

    durable: also one of the machine; else that may leave a torn file, which `load` refuses. Raises OSError when the
    disk is full; an earlier file then stays as it was.
    """
    temporary = path.with_name(path.name + ".part")
    try:
        with open(temporary, "wb") as file:
            torch.save(dict(state), file)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except RuntimeError as error:
        # torch's zip writer hides the system's error (disk full) behind one of its own when it closes the file
        raise error.__context__ if isinstance(error.__context__, OSError) else error from None
    finally:
        temporary.unlink(missing_ok=True)
    if not durable:
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def load(path: Path) -> dict[str, Any]:
    """Read a state that `save` wrote. Raises an error of torch or of the zip format if the file is damaged."""
    with zipfile.ZipFile(path) as file:  # torch writes checksums, but does not compare them when it reads
        damaged = file.testzip()
    if damaged:
        raise zipfile.BadZipFile(f"{path}: {damaged} is damaged")
    return torch.load(path, map_location="cpu", weights_only=True)
