"""Who may use the service, and what they handed in: the only state that is the service's own.

Everything else is read from where it lives: trials in Optuna's storage, measurements in MLflow, jobs in the cluster.
"""

import enum
import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import JSON, ForeignKey, LargeBinary, String, UniqueConstraint, create_engine, event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, deferred, mapped_column

from espalier.core.errors import BadInput
from espalier.sweeps.address import no_secret, sqlite_file


class State(enum.StrEnum):
    """Where a submission is: it waits, is being started, runs, is being stopped, or has ended in one of three ways."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FINISHED = "finished"
    FAILED = "failed"

    @property
    def over(self) -> bool:
        """Whether nothing more happens by itself."""
        return self in (State.STOPPED, State.FINISHED, State.FAILED)


ACTIVE = (State.STARTING, State.RUNNING, State.STOPPING)


class Base(DeclarativeBase):
    """The schema; services/migrations brings a database to it."""


class Owner(Base):
    """Somebody to whom sweeps belong. A quota of None is no limit."""

    __tablename__ = "owners"
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    created: Mapped[float]  # seconds since 1970
    trials_quota: Mapped[int | None]  # trials, over all sweeps
    gpu_hours_quota: Mapped[float | None]  # GPU-hours, over all sweeps


class Token(Base):
    """A bearer token: the hash of its secret, never the secret."""

    __tablename__ = "tokens"
    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    owner: Mapped[str] = mapped_column(ForeignKey("owners.name"), index=True)
    role: Mapped[str] = mapped_column(String(16))
    hash: Mapped[str] = mapped_column(String(64))  # SHA-256, in hexadecimal
    created: Mapped[float]
    expires: Mapped[float | None]
    revoked: Mapped[float | None]


class Submission(Base):
    """A sweep that was handed in. `number` is its place in the queue."""

    __tablename__ = "submissions"
    __table_args__ = (UniqueConstraint("owner", "idempotency_key"),)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    sweep: Mapped[str] = mapped_column(String(64), unique=True)
    owner: Mapped[str] = mapped_column(ForeignKey("owners.name"), index=True)
    name: Mapped[str] = mapped_column(String(64), index=True)
    spec: Mapped[dict[str, Any]] = deferred(mapped_column(JSON))
    archive: Mapped[bytes | None] = deferred(mapped_column(LargeBinary))
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    fingerprint: Mapped[str] = mapped_column(String(64))  # of what was sent: a key that comes again with other words
    state: Mapped[str] = mapped_column(String(16), index=True)
    reason: Mapped[str] = mapped_column(default="")
    trials: Mapped[int]
    gpus: Mapped[float]  # GPUs in use while it runs
    hours: Mapped[float]  # hours that an attempt may run, and that its GPU-hours are foreseen with
    attempt: Mapped[int] = mapped_column(default=0)
    accepts_changes: Mapped[bool] = mapped_column(default=False)  # goes on though data or code have changed meanwhile
    created: Mapped[float]
    changed: Mapped[float]
    started: Mapped[float | None]  # of the attempt that runs, or ran last
    ran_s: Mapped[float] = mapped_column(default=0.0)  # seconds of the attempts before it

    @property
    def job(self) -> str:
        """The id of its job in the cluster; an attempt has one of its own."""
        return f"{self.sweep}-{self.attempt}"

    def seconds(self, now: float) -> float:
        """Return how long it has run so far, in seconds, over all attempts."""
        return self.ran_s + self.attempt_s(now)

    def attempt_s(self, now: float) -> float:
        """Return how long the attempt that runs now has run, in seconds."""
        return now - self.started if State(self.state) in ACTIVE and self.started is not None else 0.0

    def gpu_hours(self, now: float) -> float:
        """Return the GPU-hours used, and, while it waits or runs, those foreseen for this attempt."""
        if State(self.state).over:
            return self.gpus * self.ran_s / 3600
        return self.gpus * (self.ran_s + max(self.attempt_s(now), self.hours * 3600)) / 3600

    def turn(self, state: State, now: float, reason: str = "") -> None:
        """Go over into another state."""
        if State(self.state) in ACTIVE and state not in ACTIVE:
            self.ran_s, self.started = self.seconds(now), None
        self.state, self.changed, self.reason = str(state), now, reason


class Counter(Base):
    """How often something has happened, ever: what was made may be deleted, that it was made may not."""

    __tablename__ = "counters"
    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    count: Mapped[int]


class Lease(Base):
    """Who of several equal processes minds the queue now."""

    __tablename__ = "leases"
    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    holder: Mapped[str] = mapped_column(String(64))
    until: Mapped[float]


def timestamp(seconds: float | None) -> str | None:
    """Return a time as RFC 3339 writes it."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


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
        """One transaction: what is done in it is done whole, or not at all."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Look only: nobody waits for it."""
        with Session(self.engine, expire_on_commit=False) as session:
            session.connection(execution_options={"reading": True})
            yield session


def _first_line(error: BaseException) -> str:
    return (str(getattr(error, "orig", None) or error).splitlines() or [type(error).__name__])[0]


def _make_private(file: Path) -> None:
    """Make a database's file one that nobody else can read; sqlite gives those beside it the same mode."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(file, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o600))
    for path in file.parent.glob(f"{glob.escape(file.name)}*"):  # made by an earlier version
        if path.stat().st_uid == os.geteuid():
            path.chmod(0o600)


def _engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True, pool_size=10, max_overflow=20)
    if file := sqlite_file(url):
        _make_private(file)
    engine = create_engine(url, connect_args={"timeout": 30})

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # SQLAlchemy's way to begin a transaction itself
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def _begun(connection: Any) -> None:
        reading = connection.get_execution_options().get("reading")
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")  # writers wait, instead of failing

    return engine
