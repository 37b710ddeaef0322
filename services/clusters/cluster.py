"""The interface of clusters, which LocalCluster and RayCluster implement.

The caller chooses a job's id: to submit the same id twice starts one job. The service may die between any two calls,
and another process continues.
"""

import enum
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

LOG_MOST = 8 * 2**20  # bytes of a log in one answer
STOP_WAIT_S = 60  # how long a driver may take for its checkpoints and records before it is killed


class JobState(enum.StrEnum):
    """The state of a job. LOST: unknown to the cluster, or no longer known."""

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
    """One attempt at a sweep: what to run, and its id."""

    id: str
    sweep: str
    spec: Mapping[str, object]
    archive: bytes | None = None
    owner: str = ""
    changed: bool = False
    """Whether it goes on also if data or installed code have changed since the attempt before."""
    extended: Mapping[str, float] | None = None
    """How much it is to train in all, by the unit of its budget, if it was given more than its spec says."""


@dataclass(frozen=True)
class Status:
    """A job's state, with the reason if it failed."""

    state: JobState
    message: str = ""
    exit_code: int | None = None


class Unreachable(Exception):
    """The cluster does not answer; a retry may succeed later."""


class Cluster(ABC):
    """Runs jobs. Every method may raise Unreachable."""

    @abstractmethod
    def submit(self, job: Job) -> None:
        """Start a job; do nothing if a job of this id was started before. Raises BadInput if a retry cannot help."""

    @abstractmethod
    def status(self, job: str) -> Status:
        """Return the state of a job."""

    @abstractmethod
    def stop(self, job: str) -> None:
        """Ask a job to end, within at most STOP_WAIT_S seconds; do nothing if it has ended."""

    @abstractmethod
    def logs(self, job: str) -> str:
        """Return the last LOG_MOST bytes of a job's log; b"" for a lost job."""

    def log_from(self, job: str, start: int, most: int) -> bytes:
        """Return at most `most` bytes of a job's log, from the byte `start` on."""
        return self.logs(job).encode()[start : start + most]

    def log_size(self, job: str) -> int:
        """Return how many bytes a job's log has."""
        return len(self.logs(job).encode())

    @abstractmethod
    def check(self) -> None:
        """Raise Unreachable if the cluster does not answer."""
