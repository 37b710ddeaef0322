"""Jobs of a Ray cluster, through its job server. The only file of the service that imports ray."""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from espalier.services.clusters.cluster import STOP_WAIT_S, Cluster, Job, JobState, Status, Unreachable
from espalier.services.clusters.job_folder import write_job
from espalier.services.clusters.refusal import REFUSAL_MOST, refusal

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

DRIVER = ("python", "-m", "espalier.services.job")  # with the sweep's id, in the folder of a job


class RayCluster(Cluster):
    """Runs jobs as Ray jobs, in a folder that the service and every node see at the same path.

    Nodes have the addresses and secrets of the databases in their own environment. (Ray's `working_dir` is not used:
    each node unpacks it anew, even over running jobs where nodes share a machine.)
    """

    def __init__(self, address: str, folder: Path, job_cpus: float = 1.0, entrypoint: Sequence[str] = DRIVER):
        self.address, self.folder, self.job_cpus, self.entrypoint = address, folder, job_cpus, entrypoint

    def _client(self) -> "JobSubmissionClient":
        from ray.job_submission import JobSubmissionClient

        with _asking(f"Ray does not answer at {self.address}"):
            return JobSubmissionClient(self.address)

    def submit(self, job: Job) -> None:
        if self.status(job.id).state != JobState.LOST:
            return
        place = self.folder / job.id
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.mkdir(mode=0o700, exist_ok=True)
        write_job(job, place)
        try:
            with _asking(f"Ray did not take {job.id}"):
                self._client().submit_job(
                    entrypoint=f"cd {shlex.quote(str(place))} && exec {shlex.join([*self.entrypoint, job.sweep])}",
                    submission_id=job.id,
                    entrypoint_num_cpus=self.job_cpus,
                    metadata={"sweep": job.sweep},
                    runtime_env={"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S)}},
                )
        except Unreachable:
            if self.status(job.id).state == JobState.LOST:
                raise
            # another process was faster, or the answer to an accepted request was lost

    def status(self, job: str) -> Status:
        try:
            with _asking(f"Ray does not say how {job} is"):
                info = self._client().get_job_info(job)
        except _Unknown:
            return Status(JobState.LOST, "no such job")
        state = JobState(str(info.status.value).lower())
        if state == JobState.FAILED and info.driver_exit_code == 130:
            state = JobState.STOPPED
        message = "" if state != JobState.FAILED else str(info.message or "").strip()
        if info.driver_exit_code == 2:  # Ray's message ends with the end of the log
            message = refusal(message.encode()[-REFUSAL_MOST:]) or message
        return Status(state, message, info.driver_exit_code)

    def stop(self, job: str) -> None:
        with suppress(_Unknown), _asking(f"Ray was not asked to stop {job}"):
            self._client().stop_job(job)

    def logs(self, job: str) -> str:
        with suppress(_Unknown), _asking(f"Ray has no log of {job}"):
            return self._client().get_job_logs(job)
        return ""

    def check(self) -> None:
        with _asking(f"Ray does not answer at {self.address}"):
            self._client().get_version()


class _Unknown(Unreachable):
    """The cluster answers, but does not know the job."""


@contextmanager
def _asking(what: str) -> Iterator[None]:
    """Turn any error of Ray's client into Unreachable or _Unknown."""
    from ray.exceptions import RayError

    try:
        yield
    except Unreachable:
        raise
    except (OSError, RuntimeError, AssertionError, RayError) as error:
        reason = _brief(error)
        kind = _Unknown if "status code 404" in reason or "does not exist" in reason else Unreachable
        raise kind(f"{what}: {reason}") from error


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
