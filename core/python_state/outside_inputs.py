"""State of the process that a call reads or changes: generators, environment, the clock, files.

It belongs to no trial. A loss that depends on it cannot be traced once and for all.
"""

import os
import random
import sys
import types
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from espalier.core.own import is_own_or_library

GLOBAL_GENERATORS = (random.random.__self__, np.random.random_sample.__self__)  # type: ignore[attr-defined] # seeded at each step
_CLOCKS = ("time", "datetime")


@dataclass(frozen=True)
class ProcessState:
    """The states of the global generators, and the environment variables by `$NAME`."""

    values: Mapping[str, object]
    numpy: Mapping[str, Any]

    @classmethod
    def now(cls) -> "ProcessState":
        """Return the present state."""
        environment = {f"${name}": value for name, value in os.environ.items()}
        numpy: Any = np.random.get_state(legacy=False)
        return cls({"random": random.getstate(), **environment}, numpy["state"])

    def changed(self) -> set[str]:
        """Return the names of what has changed since: random, numpy, or environment variables."""
        now = ProcessState.now()
        names = now.values.keys() | self.values.keys()
        changed = {name for name in names if now.values.get(name) != self.values.get(name)}
        same = now.numpy["pos"] == self.numpy["pos"] and np.array_equal(now.numpy["key"], self.numpy["key"])
        return changed if same else {"numpy", *changed}


@contextmanager
def recording_reads() -> Generator[list[str]]:
    """Record what user code reads in this block of the clock, of files, and of the system's randomness.

    Uses Python's profiler hook, and restores an earlier one afterwards.
    """
    reads: list[str] = []

    def profile(frame: types.FrameType, event: str, function: object) -> None:
        if event == "c_call" and (read := _read_by(frame, function)):
            reads.append(read)

    previous = sys.getprofile()
    sys.setprofile(profile)
    try:
        yield reads
    finally:
        if previous is None or callable(previous):
            sys.setprofile(previous)
        else:  # cProfile's, which is an object and no function
            previous.enable()


def _read_by(frame: types.FrameType, function: object) -> str:
    """Return what a call of a built-in function reads of the process; "" for nothing."""
    name = getattr(function, "__name__", "")
    if name == "urandom":
        return "os.urandom"
    if is_own_or_library(frame.f_code.co_filename):
        return ""
    module = getattr(function, "__module__", None) or getattr(getattr(function, "__self__", None), "__module__", "")
    if module in _CLOCKS and name != "sleep":
        return f"the clock ({module}.{name})"
    return "a file that it opens" if module in ("_io", "io") and name == "open" else ""
