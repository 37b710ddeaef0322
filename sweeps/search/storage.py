"""Optuna's storages: a journal in a home, or a shared database; open, repair and upgrade them."""

import fcntl
import json
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend, JournalFileOpenLock

from espalier.core.errors import BadInput
from espalier.sweeps.home import NO_ROOM, naming
from espalier.sweeps.search import journal
from espalier.sweeps.search.journal import Operation

if TYPE_CHECKING:
    from sqlalchemy import URL

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)

MENDED_MOST = 20  # readable lines that Optuna rejects; with more, a journal cannot be repaired
TABLES = "tables of optuna"  # the lock for creating tables: Optuna's own creation fails if two processes start at once

logger = logging.getLogger(__name__)


def open_storage(place: str) -> BaseStorage:
    """Open Optuna's storage: a database URL, or the path of a journal (15 times faster than sqlite).

    Raises BadInput for a database that cannot be reached, refuses the login, or has tables of another version, and
    for a journal that cannot be opened. A damaged journal is repaired.
    """
    if "://" in place:
        return _open_database(place)
    try:
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        return _open_journal(Path(place), _Lock(f"{place}.flock"))
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        why = f"cannot be opened ({error.strerror}); move it away, or name another home"
        raise BadInput(f"{error.filename or place}: {why}") from error


def _open_journal(path: Path, lock: "_Lock") -> BaseStorage:
    """Read a journal; repair it first if it is damaged, with a message on stderr."""
    if path.exists():
        with _held(lock):
            journal.cut_torn_line(path)
    broken: set[int] = set()
    for _ in range(MENDED_MOST):
        try:
            return JournalStorage(_Journal(str(path), lock))
        except OSError:
            raise
        except Exception as error:  # whatever Optuna meets in a line
            reason = error
        with _held(lock):
            if not _replays(_operations(path)):  # else another process has just repaired it
                sentence = journal.mend(path, broken)
                operations = _operations(path)
                if not _replays(operations):
                    broken.add(_first_broken(operations))
                logger.warning("%s", sentence)
    raise BadInput(f"{path}: cannot be read ({type(reason).__name__}: {reason}); move it away, or bring back a copy")


class _Journal(JournalFileBackend):
    """A writable journal. A line cut short by a full disk is removed: the next line would be lost with it."""

    def __init__(self, path: str, lock: "_Lock"):
        super().__init__(path, lock)
        self.path, self.held = path, lock

    def append_logs(self, logs: list[Operation]) -> None:
        """Write operations. Raises OSError that names the file."""
        try:
            with naming(self.path):
                super().append_logs(logs)
        except OSError:
            with _held(self.held):
                journal.cut_torn_line(Path(self.path))
            raise


class _Operations(BaseJournalBackend):
    """A read-only journal backend over given operations."""

    def __init__(self, operations: Sequence[Operation]):
        self.operations = operations

    def read_logs(self, log_number_from: int) -> Iterator[Operation]:
        yield from self.operations[log_number_from:]

    def append_logs(self, logs: list[Operation]) -> None:
        """Do nothing."""


def _operations(path: Path) -> list[Operation]:
    """Return the operations of a journal; {}, which Optuna rejects, for an unreadable line."""
    operations = []
    with open(path, "rb") as file:
        for text in file:
            try:
                operations.append(json.loads(text))
            except ValueError:
                operations.append({})
    return operations


def _replays(operations: Sequence[Operation]) -> bool:
    """Whether Optuna accepts these operations."""
    try:
        JournalStorage(_Operations(operations))
    except Exception:
        return False
    return True


def _first_broken(operations: Sequence[Operation]) -> int:
    """Return the number, from 1, of the first operation that Optuna rejects."""
    low, high = 0, len(operations)  # the first `low` can be read, the first `high` cannot
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _replays(operations[:middle]) else (low, middle)
    return high


def _mended_in_memory(path: Path) -> BaseStorage:
    """Read the readable part of a damaged journal, and write nothing."""
    with open(path, "rb") as file:
        operations = [line for _, line in journal.mended(file) if line is not None]
    for _ in range(MENDED_MOST):
        if _replays(operations):
            logger.warning("%s: damaged; shown is what can be read, and a resume writes it anew", path)
            return JournalStorage(_Operations(operations))
        del operations[_first_broken(operations) - 1]
    raise BadInput(f"{path}: cannot be read; move it away, or bring back a copy")


@contextmanager
def _held(lock: "_Lock") -> Iterator[None]:
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def open_for_reading(place: str) -> BaseStorage:
    """Open a storage read-only: no lock, no repair, no new file.

    A damaged journal shows its readable part. Raises BadInput if there is none.
    """
    if "://" in place:
        return _open_database(place)
    if not Path(place).exists():
        return InMemoryStorage()  # a home without sweeps
    try:
        return JournalStorage(JournalFileBackend(place))
    except OSError as error:
        raise BadInput(f"{place}: cannot be read ({error.strerror}); move it away, or name another home") from error
    except Exception:  # whatever Optuna meets in a line
        return _mended_in_memory(Path(place))


@lru_cache(maxsize=8)
def _open_database(place: str) -> RDBStorage:
    """Open a database, cached per process: connections are shared."""
    from espalier.sweeps.search import database  # SQLAlchemy, which a journal does without

    url = database.parsed(place)
    with database.as_bad_input(place), database.advisory_lock(url, TABLES):
        try:
            return RDBStorage(_whole(url), database.engine_options(url))
        except RuntimeError as error:  # tables of another version
            raise BadInput(f"{database.VARIABLE}: {str(error).split(' Please ')[0]}; run `sweep db upgrade`") from error


def upgrade_storage(place: str) -> None:
    """Create or upgrade the tables of Optuna's database; concurrent upgrades wait.

    Raises BadInput for a database that cannot be reached or refuses the login.
    """
    from espalier.sweeps.search import database

    url = database.parsed(place)
    with database.as_bad_input(place), database.advisory_lock(url, TABLES):
        storage = RDBStorage(_whole(url), database.engine_options(url), skip_compatibility_check=True)
        with _own_logging():
            storage.upgrade()
        storage.engine.dispose()


@contextmanager
def _own_logging() -> Iterator[None]:
    """Preserve this process's logging: Optuna's upgrade reconfigures it unless the root logger has a handler."""
    handler = logging.NullHandler()
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


def _whole(url: "URL") -> str:
    return url.render_as_string(hide_password=False)


class _Lock(JournalFileOpenLock):
    """A lock that ends with its process: Optuna's own would outlive a killed process by half a minute."""

    def __init__(self, place: str):
        super().__init__(place)
        self.place, self.file = place, -1

    def acquire(self) -> bool:
        file = os.open(self.place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(file, fcntl.LOCK_EX)
        self.file = file
        return True

    def release(self) -> None:
        file, self.file = self.file, -1
        os.close(file)
