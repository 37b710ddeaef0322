"""The memory that this machine lets processes have: all of it, or what their control group may take."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def machine_bytes(root: Path = Path("/")) -> int:
    """Return the memory of this machine, or the limit of this process's cgroup where that is less; 0 if unknown.

    root: of the file system, for tests.
    """
    return min(_limits(root), default=0)


def _limits(root: Path) -> Iterator[int]:
    with suppress(OSError, ValueError, IndexError, StopIteration):
        lines = (root / "proc/meminfo").read_text().splitlines()
        yield int(next(line for line in lines if line.startswith("MemTotal:")).split()[1]) << 10
    for file in _limit_files(root):
        with suppress(OSError, ValueError):  # "max" is no limit
            yield int(file.read_text())


def _limit_files(root: Path) -> Iterator[Path]:
    """Yield the files of limits that hold for this process: its group's and those of all groups above, of v1 and v2."""
    groups = ""
    with suppress(OSError):
        groups = (root / "proc/self/cgroup").read_text()
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        place = root / "sys/fs/cgroup" / ("memory" if controllers else "")
        name = "memory.limit_in_bytes" if controllers else "memory.max"
        own = place / path.strip("/")
        yield from (folder / name for folder in (own, *own.parents) if folder == place or place in folder.parents)
