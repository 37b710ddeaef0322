"""Processes that a test watches and kills, and waiting for what they do."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATIENCE_S = 240.0  # no law, only the end of hope: a loaded machine takes a minute where a free one takes ten seconds


@dataclass(frozen=True)
class Process:
    """A process that cannot be mistaken for a later one of the same number."""

    pid: int
    born: str
    title: str

    @classmethod
    def of(cls, pid: int) -> "Process | None":
        """Return the process of this number, None if there is none or a zombie."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            title = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            return None
        return None if fields[0] in "ZX" else cls(pid, fields[19], title)

    @property
    def alive(self) -> bool:
        """Whether it is still there."""
        now = Process.of(self.pid)
        return now is not None and now.born == self.born

    def kill(self) -> None:
        """End it at once, if it is still there."""
        if self.alive:
            os.kill(self.pid, signal.SIGKILL)


def descendants(pid: int) -> list[Process]:
    """Return the processes below one, at this moment."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += [process for child in below if (process := Process.of(child))]
        waiting += below
    return found


def wait_until(holds: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Wait until something holds, and return it."""
    end = time.monotonic() + patience_s
    while not (found := holds()):
        assert time.monotonic() < end, f"waited {patience_s:g} s in vain until {what}"
        time.sleep(0.05)
    return found
