"""The lock of a sweep's driver: one process at a time, among all that share its home or its database."""

import fcntl
import os
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO

from espalier.core.errors import BadInput
from espalier.sweeps.home import NO_ROOM, Home, naming

LOCK = "driver.lock"  # in a sweep's folder: locked by the process that drives it
LOOK_S = 1.0  # how long a driver waits for processes that check the lock: each takes microseconds


class DriverLock:
    """The lock of the one process that drives a sweep; it ends with that process.

    It is a file lock in the sweep's folder, and an advisory lock where homes share a PostgreSQL database.
    """

    def __init__(self, home: Home, sweep: str):
        self.home, self.sweep = home, sweep
        self._held = ExitStack()

    def __enter__(self) -> "DriverLock":
        """Take the lock. Raises BadInput if another process has it."""
        with ExitStack() as taken:
            taken.enter_context(_folder_lock(self.home.sweep(self.sweep), self.sweep))
            if "://" in self.home.storage:
                from espalier.sweeps.search import database  # imports SQLAlchemy, which a journal does not need

                taken.enter_context(database.driver_lock(self.home.storage, self.sweep))
            self._held = taken.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Release the lock."""
        self._held.close()


def driven_sweeps(home: Home, sweeps: Collection[str]) -> set[str]:
    """Return the sweeps that a process drives now, in this home or in another that shares its database."""
    here = {sweep for sweep in sweeps if home.can_hold(sweep) and is_driven(home.sweep(sweep))}
    if "://" not in home.storage:
        return here
    from espalier.sweeps.search import database

    return here | database.driven_sweeps(home.storage, sweeps)


@contextmanager
def _folder_lock(folder: Path, sweep: str) -> Iterator[None]:
    """Lock a file of the sweep's folder while the block runs."""
    with _lock_file(folder) as lock:
        if not _taken(lock):
            lock.seek(0)
            number = lock.read(20).strip()
            driver = f"process {number}" if number.isdecimal() else "another process"
            raise BadInput(f"sweep {sweep} is being driven by {driver}; stop that one first")
        if not _is_at(lock):  # the holder has deleted the folder: the locked file has no name any more
            raise BadInput(f"sweep {sweep} was deleted by the process that drove it; run the command again")
        lock.truncate(0)
        with naming(lock.name):
            os.write(lock.fileno(), str(os.getpid()).encode())  # unbuffered: else closing would raise the error again
        yield


def _lock_file(folder: Path) -> IO[str]:
    """Open the lock's file, or create it. Raises BadInput if something else is in its place."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return open(folder / LOCK, "a+", encoding="utf-8", errors="replace")
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        raise BadInput(
            f"{error.filename or folder / LOCK}: cannot be opened ({error.strerror}); move it away, then resume"
        ) from error


def _is_at(lock: IO[str]) -> bool:
    """Whether an open file is still the one at its path."""
    try:
        return os.path.samestat(os.fstat(lock.fileno()), os.stat(lock.name))
    except FileNotFoundError:
        return False


def _taken(lock: IO[str]) -> bool:
    """Take an exclusive lock; give up if another process holds it for longer than a check takes."""
    deadline = time.monotonic() + LOOK_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK_S / 50)


def driver_of(folder: Path) -> int | None:
    """Return the process of this machine that drives the sweep of a folder; None if there is none, or it is elsewhere.

    The kernel says who holds the lock: a number in the file may be of a process on another machine.
    """
    try:
        stat = os.stat(folder / LOCK)
        held = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    wanted = f"{os.major(stat.st_dev):02x}:{os.minor(stat.st_dev):02x}:{stat.st_ino}"
    entries = [line.split() for line in held]
    pids = [int(words[4]) for words in entries if words[1:4] == ["FLOCK", "ADVISORY", "WRITE"] and words[5] == wanted]
    return next((pid for pid in pids if pid > 0), None)


def is_driven(folder: Path) -> bool:
    """Whether some process drives the sweep of this folder. The check takes a shared lock for a moment."""
    try:
        with open(folder / LOCK) as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:  # missing, or something else in its place: then no process holds it
        return False
