"""Where sweeps run: as jobs of a Ray cluster, or as processes of this machine. Both keep one contract.

A job is known by an id that the caller gives: to submit the same id twice starts one job. The service's process may die
at any moment between two calls, and another one goes on.
"""

import enum
import json
import os
import shlex
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from espalier.core import own
from espalier.core.errors import BadInput, brief
from espalier.services.confine import Tenants, possible
from espalier.services.settings import Settings

ENTRYPOINT = ("-m", "espalier.services.job", "run")  # and the sweep's id, in the folder that a job is laid out in
SPEC_FILE, ARCHIVE_FILE, CHANGED_FILE = "spec.json", "code.zip", "changed"
REFUSED, REFUSAL_MOST = "sweep: ", 4096  # how the line begins in which a driver refuses its input; bytes looked at
CRASHED = "task: "  # and goes on where a task's code ended the driver
LOG_MOST = 8 * 2**20  # bytes of a log that one answer carries
STOP_WAIT_S = 60  # a driver writes its checkpoints and records first; then it is killed
# What a job on this machine gets of the service's environment, and nothing else; SWEEP_JOB_VARIABLES names more.
VARIABLES = (
    *("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONUNBUFFERED", "VIRTUAL_ENV", "HOME", "USER", "LOGNAME", "TMPDIR"),
    *("XDG_CACHE_HOME", "LANG", "LANGUAGE", "TZ", "COLUMNS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "MKL_CBWR"),
    *("CC", "CXX", "CUDA_HOME", "CUDA_PATH", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
    *("SWEEP_STORAGE_URL", "SWEEP_UNPACKED_MIB", "MLFLOW_TRACKING_URI"),
)
LOGIN = (  # of MLflow's server, where there is one: a job records its trials itself
    *("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"),
    *("MLFLOW_TRACKING_INSECURE_TLS", "MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_CLIENT_CERT_PATH"),
)


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
    spec: Mapping[str, Any]
    archive: bytes | None = None
    owner: str = ""
    changed: bool = False
    """Whether it goes on also if data or installed code have changed since the attempt before."""

    def write(self, folder: Path) -> None:
        """Lay out what services.job reads."""
        if self.changed:
            write_whole(folder / CHANGED_FILE, b"")
        write_whole(folder / SPEC_FILE, json.dumps(dict(self.spec)).encode())
        if self.archive is not None:
            write_whole(folder / ARCHIVE_FILE, self.archive)


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


class LocalCluster(Cluster):
    """A job is a process on this machine, which outlives the service's. Its folder is the only record of it.

    variables: names of more variables that jobs get. tenants: the owners' homes, if jobs have users of their own.
    """

    def __init__(
        self,
        folder: Path,
        entrypoint: Sequence[str] = (sys.executable, *ENTRYPOINT),
        variables: Sequence[str] = (),
        tenants: Tenants | None = None,
    ):
        self.folder, self.entrypoint, self.variables, self.tenants = folder, entrypoint, variables, tenants

    def submit(self, job: Job) -> None:
        place, home = self.folder / job.id, self._home(job)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            place.mkdir(mode=0o700)
        except FileExistsError:
            if (place / "pid").exists() or not _abandoned(place):
                return
        job.write(place)
        env = variables_of_jobs(os.environ, self.variables)
        env["PYTHONPATH"] = own.python_path(env.get("PYTHONPATH"))
        command = [
            sys.executable,
            "-m",
            "espalier.services.job",
            "keep",
            str(place),
            str(home),
            *self.entrypoint,
            job.sweep,
        ]
        log = os.open(place / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        outputs = [(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)]
        nothing = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
        alone: dict[str, Any] = {"setsid": True, "setsigmask": [signal.SIGTERM]}  # which services.job unblocks
        try:  # not subprocess, whose children are its object's to wait for: this one outlives us
            keeper = os.posix_spawn(sys.executable, command, env, file_actions=[nothing, *outputs], **alone)
        finally:
            os.close(log)
        write_whole(place / "pid", f"{keeper} {psutil.Process(keeper).create_time()}".encode())

    def _home(self, job: Job) -> Path:
        """Return the home that a job keeps its sweep in. Raises BadInput for a sweep that lies elsewhere."""
        home = self.folder.parent
        if self.tenants is None:
            return home
        if (home / "sweeps" / job.sweep).exists():
            raise BadInput(f"{job.sweep} is from the time before jobs had users of their own; hand it in again")
        return self.tenants.made_home(job.owner)

    def status(self, job: str) -> Status:
        place = self.folder / job
        if not place.is_dir():
            return Status(JobState.LOST, "no such job")
        if (place / "end").exists():
            return self._ended(job)
        if not (place / "pid").exists():
            return Status(JobState.LOST, "it was not started") if _abandoned(place) else Status(JobState.PENDING)
        if self._process(job):
            return Status(JobState.RUNNING)
        ended = (place / "end").exists()  # it may have been written while we looked
        return self._ended(job) if ended else Status(JobState.FAILED, "its process was killed")

    def _ended(self, job: str) -> Status:
        """Return how a job's driver ended; of one that refused its input, the line in which it said why."""
        code = int((self.folder / job / "end").read_text())
        if code == 0:
            return Status(JobState.SUCCEEDED)
        if code == 130:
            return Status(JobState.STOPPED)
        why = refusal(self.log_from(job, max(0, self._log_size(job) - REFUSAL_MOST), REFUSAL_MOST))
        if code != 2 and not why.startswith(CRASHED):
            why = ""
        return Status(JobState.FAILED, why or f"its driver ended with exit code {code}", code)

    def stop(self, job: str) -> None:
        process = self._process(job)
        if process:
            process.send_signal(signal.SIGTERM)

    def logs(self, job: str) -> str:
        size = self._log_size(job)
        text = self.log_from(job, max(0, size - LOG_MOST), LOG_MOST).decode(errors="replace")
        note = f"[{size - LOG_MOST} bytes before this are left out; a stream has all]\n" if size > LOG_MOST else ""
        return note + text

    def log_from(self, job: str, start: int, most: int) -> bytes:
        try:
            with open(self.folder / job / "log", "rb") as log:
                log.seek(start)
                return log.read(most)
        except FileNotFoundError:
            return b""

    def _log_size(self, job: str) -> int:
        log = self.folder / job / "log"
        return log.stat().st_size if log.exists() else 0

    def check(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _process(self, job: str) -> psutil.Process | None:
        try:
            pid, born = (self.folder / job / "pid").read_text().split()
            process = psutil.Process(int(pid))
            if process.create_time() != float(born):
                return None
            if process.status() == psutil.STATUS_ZOMBIE:
                with suppress(ChildProcessError):  # of an earlier service's
                    os.waitpid(process.pid, os.WNOHANG)
                return None
            return process
        except (OSError, ValueError, psutil.NoSuchProcess):
            return None


def variables_of_jobs(environment: Mapping[str, str], more: Sequence[str] = ()) -> dict[str, str]:
    """Return the variables that a job gets: those that it needs to run and to record, and those that are named.

    >>> variables_of_jobs({"PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "hush", "DATA": "/data"}, ["DATA"])
    {'PATH': '/bin', 'DATA': '/data'}
    """
    server = environment.get("MLFLOW_TRACKING_URI", "").startswith(("http://", "https://"))
    wanted = {*VARIABLES, *more, *(LOGIN if server else ())}
    return {name: value for name, value in environment.items() if name in wanted or name.startswith("LC_")}


def refusal(log: bytes) -> str:
    """Return the last line in which a driver said what it could not take; nothing where there is none.

    >>> refusal(b"sweep line: 4 trials\\nsweep: task: no file a.py\\n")
    'task: no file a.py'
    """
    said = [line for line in log.decode(errors="replace").splitlines() if line.startswith(REFUSED)]
    return brief(said[-1].removeprefix(REFUSED), 300) if said else ""


def _abandoned(place: Path) -> bool:
    """Whether whoever made the folder died before it had started the process: a second is a long time for that."""
    return time.time() - place.stat().st_mtime > 10


def write_whole(path: Path, text: bytes) -> None:
    """Write a file whole or not at all: another process may write the same one now."""
    part = path.with_name(f"{path.name}.{os.getpid()}")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(text)
    os.replace(part, path)


class RayCluster(Cluster):
    """A job is a Ray job, in a folder that the service and every node of the cluster see under the same path.

    Its nodes have the addresses and secrets of the databases in their own environment. (Ray's own way to send files
    along, a working directory, is laid out anew by each node: where nodes share a machine, under the feet of who works
    there.)
    """

    def __init__(
        self, address: str, folder: Path, job_cpus: float = 1.0, entrypoint: Sequence[str] = ("python", *ENTRYPOINT)
    ):
        self.address, self.folder, self.job_cpus, self.entrypoint = address, folder, job_cpus, entrypoint

    def _client(self) -> Any:
        from ray.job_submission import JobSubmissionClient

        with _asking(f"Ray does not answer at {self.address}"):
            return JobSubmissionClient(self.address)

    def submit(self, job: Job) -> None:
        if self.status(job.id).state != JobState.LOST:
            return
        place = self.folder / job.id
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.mkdir(mode=0o700, exist_ok=True)
        job.write(place)
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
            # another process was quicker, or it was taken and the answer was lost

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
    """The cluster answers, and knows no such job."""


@contextmanager
def _asking(what: str) -> Iterator[None]:
    """Turn whatever Ray's client raises into Unreachable, or _Unknown."""
    from ray.exceptions import RayError

    try:
        yield
    except Unreachable:
        raise
    except (OSError, RuntimeError, AssertionError, RayError) as error:
        said = _brief(error)
        kind = _Unknown if "status code 404" in said or "does not exist" in said else Unreachable
        raise kind(f"{what}: {said}") from error


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def cluster_of(settings: Settings) -> Cluster:
    """Return the cluster that the settings name. Raises BadInput."""
    jobs = settings.home.absolute() / "jobs"
    if not settings.ray_address:
        return LocalCluster(jobs, variables=settings.job_variables.split(","), tenants=tenants_of(settings))
    if not settings.ray_address.startswith(("http://", "https://")):
        raise BadInput(f"SWEEP_RAY_ADDRESS: '{settings.ray_address}'; write http://HEAD:8265, the job server's address")
    return RayCluster(settings.ray_address, jobs, settings.ray_job_cpus)


def tenants_of(settings: Settings) -> Tenants | None:
    """Return the owners' homes, if jobs run on this machine and can have users of their own."""
    if settings.ray_address or possible():
        return None
    return Tenants(settings.home.absolute(), settings.uids)
