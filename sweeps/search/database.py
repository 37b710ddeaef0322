"""Shared databases: URLs, connection options, errors, locks.

Optuna's storage of a home may be one, named by $SWEEP_STORAGE_URL.
"""

import hashlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from sqlalchemy import URL, Connection, create_engine, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from espalier.core.errors import BadInput
from espalier.sweeps.address import no_secret

VARIABLE = "SWEEP_STORAGE_URL"
EXAMPLE = "postgresql+psycopg://USER:PASSWORD@HOST:5432/optuna"
CONNECT_S = 10  # seconds after which a database counts as unreachable


def parsed(url: str, name: str = VARIABLE) -> URL:
    """Parse a database URL; `postgresql://` means psycopg. Raises BadInput that begins with the variable `name`."""
    try:
        parts = make_url(url)
        parts.get_dialect()
    except (ArgumentError, ValueError):  # its message may contain the URL
        raise BadInput(f"{name}: '{no_secret(url)}' is no address of a database; write {EXAMPLE}") from None
    return parts.set(drivername="postgresql+psycopg") if parts.drivername == "postgresql" else parts


def engine_options(url: URL) -> dict[str, Any]:
    """Return SQLAlchemy's options: a small pool, checked before use, since a server may restart."""
    if url.get_backend_name() == "sqlite":
        return {}
    options: dict[str, Any] = {"pool_pre_ping": True, "pool_size": 4, "max_overflow": 4, "pool_recycle": 1800}
    if url.get_backend_name() == "postgresql":
        options["connect_args"] = {"connect_timeout": CONNECT_S, "application_name": "espalier"}
    return options


@contextmanager
def as_bad_input(url: str, name: str = VARIABLE) -> Iterator[None]:
    """Turn errors of a database or its driver into BadInput that names the variable and hides the password."""
    try:
        yield
    except ImportError as error:
        driver = error.name or getattr(error.__cause__, "name", None) or "its driver"
        psycopg = "PostgreSQL's comes with pip install 'espalier[service]'"
        raise BadInput(f"{name}: {no_secret(url)} needs {driver}, which is not installed; {psycopg}") from error
    except (SQLAlchemyError, OSError) as error:
        lines = str(getattr(error, "orig", None) or error).strip().splitlines() or [type(error).__name__]
        raise BadInput(f"{name}: {no_secret(url)} cannot be used: {no_secret(lines[0])}") from error


@contextmanager
def advisory_lock(url: URL, what: str) -> Iterator[None]:
    """Hold an advisory lock of this name in a PostgreSQL database; others wait. Other databases have none.

    The lock ends with the connection, so it does not outlive a dead holder.
    """
    with _session(url) if url.get_backend_name() == "postgresql" else nullcontext() as session:
        if session is not None:
            session.exec_driver_sql("SELECT pg_advisory_lock(%s)", (lock_number(what),))
        yield


@contextmanager
def driver_lock(place: str, sweep: str) -> Iterator[None]:
    """Lock a sweep for this process among all machines that share a PostgreSQL database; other databases have no lock.

    Raises BadInput if another process holds it. A dead driver's lock ends as soon as the server notices.
    """
    url = parsed(place)
    if url.get_backend_name() != "postgresql":
        yield
        return
    with as_bad_input(place), _session(url) as session:
        taken = session.exec_driver_sql("SELECT pg_try_advisory_lock(%s)", (_driver_lock_number(sweep),))
        if not taken.scalar():
            raise BadInput(f"sweep {sweep} is being driven by another process, maybe elsewhere; stop that one first")
        yield


def driven_sweeps(place: str, sweeps: Collection[str]) -> set[str]:
    """Return the sweeps that some process on any machine drives now; empty for a database without locks."""
    url = parsed(place)
    if url.get_backend_name() != "postgresql" or not sweeps:
        return set()
    held_by_sessions = (
        "SELECT classid::bigint << 32 | objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 "
        "AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    with as_bad_input(place), _session(url) as session:
        held = {number for (number,) in session.exec_driver_sql(held_by_sessions)}
    return {sweep for sweep in sweeps if _driver_lock_number(sweep) in held}


def _driver_lock_number(sweep: str) -> int:
    return lock_number(f"driver of {sweep}")


def lock_number(what: str) -> int:
    """Return the number of an advisory lock: a signed 64-bit integer, as PostgreSQL requires.

    >>> lock_number("tables of optuna") == lock_number("tables of optuna") != lock_number("tables of mlflow")
    True
    """
    return int.from_bytes(hashlib.sha256(f"espalier: {what}".encode()).digest()[:8], signed=True)


@contextmanager
def _session(url: URL) -> Iterator[Connection]:
    """Connect during the block; closing the connection releases the session's locks."""
    engine = create_engine(url, poolclass=NullPool, connect_args=engine_options(url).get("connect_args", {}))
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            yield connection
    finally:
        engine.dispose()
