"""The tables of the service: owners, tokens and submissions, the only state of its own.

Everything else is read from its source: trials from Optuna's storage, measurements from MLflow, jobs from the cluster.
"""

import enum
from datetime import UTC, datetime

from sqlalchemy import JSON, ForeignKey, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, deferred, mapped_column

from espalier.sweeps.spec.values import Fields


class State(enum.StrEnum):
    """The state of a submission: queued, starting, running, stopping, or ended in one of three ways."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FINISHED = "finished"
    FAILED = "failed"

    @property
    def over(self) -> bool:
        """Whether it is a final state, until a resume."""
        return self in (State.STOPPED, State.FINISHED, State.FAILED)


CALENDAR_END = 253_402_300_799.0  # the last second of the year 9999
ACTIVE = (State.STARTING, State.RUNNING, State.STOPPING)


class Base(DeclarativeBase):
    """The schema; database/migrations upgrades a database to it."""


class Owner(Base):
    """An owner of sweeps. A quota of None means no limit."""

    __tablename__ = "owners"
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    created: Mapped[float]  # seconds since 1970
    trials_quota: Mapped[int | None]  # trials, over all sweeps
    gpu_hours_quota: Mapped[float | None]  # GPU-hours, over all sweeps


class Token(Base):
    """A bearer token. Only the hash of its secret is stored."""

    __tablename__ = "tokens"
    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    owner: Mapped[str] = mapped_column(ForeignKey("owners.name"), index=True)
    role: Mapped[str] = mapped_column(String(16))
    hash: Mapped[str] = mapped_column(String(64))  # SHA-256, in hexadecimal
    created: Mapped[float]
    expires: Mapped[float | None]
    revoked: Mapped[float | None]


class Submission(Base):
    """A submitted sweep. number: its position in the queue."""

    __tablename__ = "submissions"
    __table_args__ = (UniqueConstraint("owner", "idempotency_key"),)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    sweep: Mapped[str] = mapped_column(String(64), unique=True)
    owner: Mapped[str] = mapped_column(ForeignKey("owners.name"), index=True)
    name: Mapped[str] = mapped_column(String(64), index=True)
    spec: Mapped[Fields] = deferred(mapped_column(JSON))
    archive: Mapped[bytes | None] = deferred(mapped_column(LargeBinary))
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    fingerprint: Mapped[str] = mapped_column(String(64))  # the hash of the request, to detect a reused key
    state: Mapped[str] = mapped_column(String(16), index=True)
    reason: Mapped[str] = mapped_column(default="")
    trials: Mapped[int]
    gpus: Mapped[float]  # GPUs used while it runs
    hours: Mapped[float]  # the time limit of an attempt, from which its expected GPU-hours are computed
    attempt: Mapped[int] = mapped_column(default=0)
    accepts_changes: Mapped[bool] = mapped_column(default=False)  # continues with changed data or code
    extended: Mapped[dict[str, float] | None] = mapped_column(JSON(none_as_null=True))  # {unit: how much in all}
    created: Mapped[float]
    changed: Mapped[float]
    started: Mapped[float | None]  # the number of the present or last attempt
    ran_s: Mapped[float] = mapped_column(default=0.0)  # seconds of the earlier attempts

    @property
    def job(self) -> str:
        """The id of its job in the cluster; each attempt has its own."""
        return f"{self.sweep}-{self.attempt}"

    def seconds(self, now: float) -> float:
        """Return its running time so far over all attempts, in seconds."""
        return self.ran_s + self.attempt_s(now)

    def attempt_s(self, now: float) -> float:
        """Return the running time of the present attempt, in seconds."""
        return now - self.started if State(self.state) in ACTIVE and self.started is not None else 0.0

    def gpu_hours(self, now: float) -> float:
        """Return the GPU-hours used; while it waits or runs, also those expected for this attempt."""
        if State(self.state).over:
            return self.gpus * self.ran_s / 3600
        return self.gpus * (self.ran_s + max(self.attempt_s(now), self.hours * 3600)) / 3600

    def turn(self, state: State, now: float, reason: str = "") -> None:
        """Change to another state."""
        if State(self.state) in ACTIVE and state not in ACTIVE:
            self.ran_s, self.started = self.seconds(now), None
        self.state, self.changed, self.reason = str(state), now, reason


class Counter(Base):
    """A counter of events that survives the deletion of rows."""

    __tablename__ = "counters"
    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    count: Mapped[int]


class Lease(Base):
    """Which of several equal processes manages the queue now."""

    __tablename__ = "leases"
    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    holder: Mapped[str] = mapped_column(String(64))
    until: Mapped[float]


def timestamp(seconds: float | None) -> str | None:
    """Return a Unix time in RFC 3339 format; one beyond the calendar as its end.

    >>> timestamp(0.0), timestamp(8.6e12)
    ('1970-01-01T00:00:00.000+00:00', '9999-12-31T23:59:59.000+00:00')
    """
    if seconds is None:
        return None
    return datetime.fromtimestamp(min(seconds, CALENDAR_END), UTC).isoformat(timespec="milliseconds")
