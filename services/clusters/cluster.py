"""What runs jobs, as a contract: LocalCluster and RayCluster keep it.

A job is known by an id that the caller gives: to submit the same id twice starts one job. The service's process may die
at any moment between two calls, and another one goes on.
"""

import enum
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

LOG_MOST = 8 * 2**20  # bytes of a log that one answer carries
STOP_WAIT_S = 60  # how long a driver may take to write its checkpoints and records; then it is killed


class JobState(enum.StrEnum):
    """Where a job is. LOST: the cluster has never heard of it, or has forgotten it."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    STOPPED = "stopped"
    FAILED = "failed"
    LOST = "lost"

    @property
    def over(self) -> bool:
        """Whether the job has ended."""
        return self not in (JobState.PENDING, JobState.RUNNING)


@dataclass(frozen=True)
class Job:
    """One attempt at a sweep: what is to be run, and under which id."""

    id: str
    sweep: str
    spec: Mapping[str, object]
    archive: bytes | None = None
    owner: str = ""
    changed: bool = False
    """Whether it goes on also if data or installed code have changed since the attempt before."""


@dataclass(frozen=True)
class Status:
    """A job's state and, where it failed, what is known of why."""

    state: JobState
    message: str = ""
    exit_code: int | None = None


class Unreachable(Exception):
    """The cluster does not answer now; the same call may succeed later."""


class Cluster(ABC):
    """What runs jobs. Every call may raise Unreachable."""

    @abstractmethod
    def submit(self, job: Job) -> None:
        """Start a job; nothing if a job of that id was started before. Raises BadInput if it is refused for good."""

    @abstractmethod
    def status(self, job: str) -> Status:
        """Return where a job is."""

    @abstractmethod
    def stop(self, job: str) -> None:
        """Ask a job to end, which takes it at most STOP_WAIT_S; nothing if it has ended."""

    @abstractmethod
    def logs(self, job: str) -> str:
        """Return the last LOG_MOST bytes of what a job has written; nothing for one that is lost."""

    def log_from(self, job: str, start: int, most: int) -> bytes:
        """Return at most so many bytes of what a job has written, from the byte `start` on."""
        return self.logs(job).encode()[start : start + most]

    @abstractmethod
    def check(self) -> None:
        """Raise Unreachable if the cluster does not answer."""
