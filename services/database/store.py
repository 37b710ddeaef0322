"""The service's own database: connections and transactions."""

import glob
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import create_engine, event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from espalier.core.errors import BadInput
from espalier.sweeps.address import no_secret, sqlite_file


class Store:
    """The database of the service. Raises BadInput if it cannot be opened or has another schema."""

    def __init__(self, url: str):
        self.url = url
        try:
            self.engine = _engine(url)
            with self.engine.connect():
                pass
        except (SQLAlchemyError, ImportError, OSError) as error:
            raise BadInput(
                f"SWEEP_DATABASE_URL: {no_secret(url)} cannot be opened ({no_secret(_first_line(error))}); "
                "write sqlite:///PATH or postgresql+psycopg://USER:PASSWORD@HOST/NAME"
            ) from error

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Run the block in one transaction."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Run the block in a read-only session, which blocks no writer."""
        with Session(self.engine, expire_on_commit=False) as session:
            session.connection(execution_options={"reading": True})
            yield session


def _first_line(error: BaseException) -> str:
    return (str(getattr(error, "orig", None) or error).splitlines() or [type(error).__name__])[0]


def _make_private(file: Path) -> None:
    """Create a database's file with mode 0600; sqlite gives the files beside it the same mode."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(file, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o600))
    for path in file.parent.glob(f"{glob.escape(file.name)}*"):  # created by an earlier version
        if path.stat().st_uid == os.geteuid():
            path.chmod(0o600)


def _engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True, pool_size=10, max_overflow=20)
    if file := sqlite_file(url):
        _make_private(file)
    engine = create_engine(url, connect_args={"timeout": 30})

    @event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, record: object) -> None:
        connection.isolation_level = None  # as SQLAlchemy's documentation advises: it begins transactions itself
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        reading = connection.get_execution_options().get("reading")
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")  # writers wait instead of failing

    return engine
