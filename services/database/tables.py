"""Who may use the service, and what they handed in: the only state that is the service's own.

Everything else is read from where it lives: trials in Optuna's storage, measurements in MLflow, jobs in the cluster.
"""

import enum
from datetime import UTC, datetime

from sqlalchemy import JSON, ForeignKey, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, deferred, mapped_column

from espalier.sweeps.spec.values import Fields


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
    """The schema; database/migrations brings a database to it."""


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
    spec: Mapped[Fields] = deferred(mapped_column(JSON))
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
    """Who of several equal processes looks after the queue now."""

    __tablename__ = "leases"
    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    holder: Mapped[str] = mapped_column(String(64))
    until: Mapped[float]


def timestamp(seconds: float | None) -> str | None:
    """Return a time as RFC 3339 writes it."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
