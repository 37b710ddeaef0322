"""The home: the folder of sweeps' state and checkpoints; and errors of a full disk."""

import errno
import logging
import os
import re
import secrets
import shlex
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path

from espalier.core.errors import BadInput, shown

JOURNAL = "optuna.journal"
SWEEP_ID = r"[A-Za-z][A-Za-z0-9_-]{0,62}"
ID_RULE = "an id begins with a letter, and has letters, digits, - and _; at most 63"
COHORT_FILE = "cohort.pt"
SWEEPS = "sweeps"  # in a home: the folders of the sweeps
TASKS = "tasks"  # in a home: the classes that were defined in a notebook or a script, each in a folder of its own
WORKERS = "workers"  # in a sweep's folder: the last output of cohorts' workers that died
TRIALS = "trials"  # in a sweep's folder: a folder for each trial that is a process
STATES = "states"  # in a sweep's folder: the states of trials from which pieces of training go on
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)  # errors that the user has to fix
PROBE_BYTES = 1 << 16


@dataclass(frozen=True)
class Home:
    """The folder with everything that sweeps write.

    named: the folder as the user named it for this command; "" for the default, which messages need not name.
    """

    path: Path
    named: str = field(default="", compare=False)

    @classmethod
    def at(cls, path: str | PathLike[str] | None, reading: bool = False) -> "Home":
        """Open a home (default: $SWEEP_HOME or ./sweep-data). Raises BadInput if it cannot be written.

        reading: for read-only use. Then it need not be writable or exist, and nothing is written.
        """
        named = os.fspath(path or "")
        home = Path(path or os.environ.get("SWEEP_HOME") or "sweep-data").expanduser().absolute()
        if reading:
            if any(folder.is_file() for folder in (home, *home.parents)):
                raise BadInput(f"--home {home}: cannot be read (no folder); name another folder")
            return cls(home, named)
        try:
            str(home).encode()
        except UnicodeEncodeError:
            shown = os.fsencode(home).decode(errors="backslashreplace")
            raise BadInput(f"--home {shown}: the path is no text in UTF-8; name another folder") from None
        try:
            home.mkdir(parents=True, exist_ok=True)
            probe = home / f".probe-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise BadInput(f"--home {home}: cannot be written ({error.strerror}); name another folder") from error
        return cls(home, named)

    def writable(self) -> "Home":
        """Return this home for writing. Raises BadInput if it cannot be written."""
        return replace(Home.at(self.path), named=self.named)

    @property
    def option(self) -> str:
        """What a command needs to use this home, after a space: "" if it is the default.

        >>> Home(Path("/a b"), "/a b").option, Home(Path("/a b")).option
        (" --home '/a b'", '')
        """
        return f" --home {shlex.quote(self.named)}" if self.named else ""

    def resume_command(self, sweep: str) -> str:
        """Return the command that continues a sweep of this home."""
        return f"sweep resume {sweep}{self.option}"

    @property
    def storage(self) -> str:
        """Optuna's storage: the database that $SWEEP_STORAGE_URL names, else a journal in the home."""
        return os.environ.get("SWEEP_STORAGE_URL") or str(self.path / JOURNAL)

    def sweep(self, sweep: str) -> Path:
        """The folder of one sweep: its spool and Tune's experiment. Raises BadInput for an id that leads elsewhere."""
        if not self.can_hold(sweep):
            raise BadInput(f"sweep {shown(sweep)}: no folder of {self.path / SWEEPS} can have that name; {ID_RULE}")
        return self.path / SWEEPS / sweep

    def can_hold(self, sweep: str) -> bool:
        """Whether an id names a folder directly below that of all sweeps. Earlier versions took any id from Python."""
        return sweep not in ("", ".", "..") and not {"/", "\0"} & set(sweep)

    def check_id(self, sweep: object) -> None:
        """Raise BadInput for what can be no id, unless a sweep of it is here: earlier versions took others too."""
        known = isinstance(sweep, str) and self.can_hold(sweep)
        if not is_sweep_id(sweep) and not (known and self.sweep(str(sweep)).is_dir()):
            raise BadInput(f"id: {shown(sweep)}; {ID_RULE}")

    def has_records(self, sweep: str) -> bool:
        """Whether there are records of this sweep here."""
        spool = self.sweep(sweep) / "spool.jsonl"
        return spool.is_file() and spool.stat().st_size > 0

    def lost(self, known: Collection[str]) -> list[str]:
        """Return the sweeps with records here that are not among `known`, those of the journal."""
        if "://" in self.storage:
            return []
        folders = (place.parent.name for place in self.path.glob(f"{SWEEPS}/*/spool.jsonl"))
        return sorted(sweep for sweep in folders if sweep not in known and self.has_records(sweep))

    def next_tune(self, sweep: str) -> Path:
        """Return a new experiment folder of Tune for one start of the driver; it will contain cohorts' checkpoints."""
        return self.sweep(sweep) / f"tune-{len(list(self.sweep(sweep).glob('tune-*'))) + 1:03}"


def is_sweep_id(value: object) -> bool:
    """Whether a value can be the id of a new sweep.

    >>> is_sweep_id("names-2"), is_sweep_id(".."), is_sweep_id(3)
    (True, False, False)
    """
    return isinstance(value, str) and re.fullmatch(SWEEP_ID, value) is not None


def new_id(name: str, random_bytes: int = 2) -> str:
    """Return a sweep id: the spec's name, the day, and random characters. A shared service needs more random bytes."""
    return f"{name}-{datetime.now(UTC):%Y%m%d}-{secrets.token_hex(random_bytes)}"


@contextmanager
def naming(file: Path | str) -> Iterator[None]:
    """Add the file's name to an OSError: a failed write has none."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(file)
        raise


def full(error: OSError, then: str) -> BadInput:
    """Return the message for a full disk. then: what to do when there is space again."""
    need = "have it writable" if error.errno == errno.EROFS else "make room"
    file = error.filename or "standard output, or a file"
    return BadInput(f"{file}: {os.strerror(error.errno or 0)}; {need}, then {then}")


@contextmanager
def full_disk_as_bad_input(then: str) -> Iterator[None]:
    """Turn the error of a full disk into BadInput; other errors are raised unchanged."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise full(error, then) from error


def write_probe(folder: Path) -> None:
    """Write a block to the disk of a folder, and remove it. Raises OSError if the disk is full."""
    probe = folder / f".probe-{os.getpid()}"
    try:
        with naming(probe):
            probe.write_bytes(b"\1" * PROBE_BYTES)
    finally:
        with suppress(OSError):
            probe.unlink()


@contextmanager
def raising_disk_errors(folder: Path) -> Iterator[None]:
    """If the disk is full, replace any error of the block by the disk's OSError: libraries raise other types."""
    try:
        yield
    except Exception:
        write_probe(folder)
        raise


def last_checkpoint(sweep_folder: Path, cohort: str) -> str | None:
    """Return the newest readable checkpoint of a cohort, over all starts of the driver, or None."""
    from espalier.core import checkpoint  # imports torch, which most commands do not need

    for place in _checkpoints(sweep_folder, cohort):
        try:
            checkpoint.load(place / COHORT_FILE)
            return str(place)
        except Exception as error:  # incomplete after a crash: the one before it is complete
            logging.getLogger(__name__).warning("skipping %s: %s", place, error)
    return None


def attempt_name(cohort: str, attempt: int) -> str:
    """Return the name of a cohort's folder; each attempt in one start of the driver has its own."""
    return f"{cohort}+{attempt}" if attempt else cohort


def _checkpoints(sweep_folder: Path, cohort: str) -> list[Path]:
    """Return all checkpoints of a cohort, the newest first."""
    names = (cohort, f"{cohort}+*")  # what never began leaves a folder without a file
    places = [p.parent for name in names for p in sweep_folder.glob(f"tune-*/{name}/checkpoint_*/{COHORT_FILE}")]

    def age(place: Path) -> tuple[str, int, str]:
        return place.parts[-3], int(place.parts[-2].partition("+")[2] or 0), place.name

    return sorted(places, key=age, reverse=True)
