"""MLflow's sqlite store: created atomically; damage and a full disk are detected."""

import errno
import fcntl
import os
import shutil
import sqlite3
from contextlib import closing
from itertools import count
from pathlib import Path

from espalier.core import cache
from espalier.sweeps.address import sqlite_file
from espalier.sweeps.home import NO_ROOM, full, write_probe
from espalier.sweeps.recording.server import create_tables, mlflow_version
from espalier.sweeps.recording.tracking_uri import STORE_FILE


def is_filled(store: Path) -> bool:
    """Whether a store's file exists and is not empty."""
    return store.exists() and store.stat().st_size > 0


def damage_of(store: Path) -> str | None:
    """Return sqlite's error for a file that it cannot read or that is truncated; None if it is intact."""
    try:
        with closing(sqlite3.connect(store, timeout=30)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
    except sqlite3.OperationalError:  # locked, or cannot be opened: that says nothing about its content
        return None
    except sqlite3.DatabaseError as error:
        return str(error)
    return None


def prepare_store(uri: str, damaged: bool = False) -> str | None:
    """Create a new sqlite store atomically: MLflow cannot open one whose creation was killed.

    A home's unreadable store is renamed, and a sentence about that is returned. damaged: it is known to be unreadable.
    """
    store = sqlite_file(uri)
    if store is None or (not damaged and is_filled(store) and not damage_of(store)):
        return None
    note = None
    part = store.with_name(f"{store.name}.part")
    with open(store.with_name(f"{store.name}.lock"), "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another sweep may start in this home at the same time
        if store.name == STORE_FILE and is_filled(store) and (damaged or damage_of(store)):
            note = _set_aside(store)
        if not is_filled(store):
            part.unlink(missing_ok=True)
            _fill(part)
            os.replace(part, store)
    return note


def _set_aside(store: Path) -> str:
    """Rename a damaged store; return a sentence about it."""
    aside = next(p for n in count(1) if not (p := store.with_name(f"{store.name}.damaged-{n}")).exists())
    os.replace(store, aside)
    return (
        f"{store}: its records cannot be read; it is kept as {aside.name}, and a new one has this sweep's; "
        "for those of another: sweep resume ID"
    )


def _fill(store: Path) -> None:
    """Create the tables of a sqlite store, or copy cached empty ones: MLflow's migrations take two seconds.

    MLflow adds its experiment "Default" when it opens the store: it depends on the working directory.
    """
    empty = cache.folder("mlflow") / f"{mlflow_version()}.db"
    if not _copied(empty, store):
        create_tables(store)
        cache.keep(empty, store.read_bytes())


def _copied(empty: Path, store: Path) -> bool:
    """Copy a store without records; leave nothing where there is none, or one of which sqlite finds a page damaged."""
    try:
        shutil.copyfile(empty, store)
        with closing(sqlite3.connect(store)) as connection:
            if is_filled(store) and connection.execute("PRAGMA quick_check").fetchall() == [("ok",)]:
                return True
    except (OSError, sqlite3.Error):
        pass
    store.unlink(missing_ok=True)
    return False


def full_disk(error: Exception, uri: str) -> str | None:
    """Return a message with the file and the remedy if an error comes from a full disk; None for other errors.

    MLflow reports it in many ways, so the disk itself is tested. A server's disk is not this machine's.
    """
    store = sqlite_file(uri)
    if store is not None and not isinstance(error, OSError):
        try:
            write_probe(store.parent)
        except OSError as failure:
            error = failure
            error.filename = str(store)
        if "database or disk is full" in str(error):
            error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(store))
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return str(full(error, "continue"))
    return None
