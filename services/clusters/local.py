"""Jobs as processes of this machine: the local counterpart of a Ray cluster."""

import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from espalier.core import own
from espalier.core.errors import BadInput
from espalier.services.clusters.cluster import LOG_MOST, Cluster, Job, JobState, Status
from espalier.services.clusters.environment import variables_of_jobs
from espalier.services.clusters.job_folder import write_job, write_whole
from espalier.services.clusters.refusal import CRASHED, REFUSAL_MOST, refusal
from espalier.services.isolation.tenants import Tenants

KEEPER = "espalier.services.clusters.keeper"  # the module that runs a job, and stores its exit code
DRIVER = ("-m", "espalier.services.job")  # with the sweep's id, in the folder of a job


class LocalCluster(Cluster):
    """Runs jobs as processes of this machine, which outlive the service. A job's folder is its only record.

    variables: names of more variables that jobs get. tenants: the owners' homes, if jobs run as separate users.
    """

    def __init__(
        self,
        folder: Path,
        entrypoint: Sequence[str] = (sys.executable, *DRIVER),
        variables: Sequence[str] = (),
        tenants: Tenants | None = None,
        log_most: int = LOG_MOST,
    ):
        """log_most: bytes of a log that one answer carries."""
        self.log_most = log_most
        self.folder, self.entrypoint, self.variables, self.tenants = folder, entrypoint, variables, tenants

    def submit(self, job: Job) -> None:
        place, home = self.folder / job.id, self._home(job)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            place.mkdir(mode=0o700)
        except FileExistsError:
            if (place / "pid").exists() or not _abandoned(place):
                return
        write_job(job, place)
        env = variables_of_jobs(os.environ, self.variables)
        env["PYTHONPATH"] = own.python_path(env.get("PYTHONPATH"))
        command = [sys.executable, "-m", KEEPER, str(place), str(home), *self.entrypoint, job.sweep]
        _start_keeper(place, command, env)

    def _home(self, job: Job) -> Path:
        """Return the home of a job's sweep. Raises BadInput for a sweep that is in another home."""
        home = self.folder.parent
        if self.tenants is None:
            return home
        if (home / "sweeps" / job.sweep).exists():
            raise BadInput(f"{job.sweep} was submitted before jobs ran as separate users; submit it again")
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
        ended = (place / "end").exists()  # it may have been written in the meantime
        return self._ended(job) if ended else Status(JobState.FAILED, "its process was killed")

    def _ended(self, job: str) -> Status:
        """Return how a job's driver ended; if it refused its input, with its error line."""
        code = int((self.folder / job / "end").read_text())
        if code == 0:
            return Status(JobState.SUCCEEDED)
        if code == 130:
            return Status(JobState.STOPPED)
        why = refusal(self.log_from(job, max(0, self.log_size(job) - REFUSAL_MOST), REFUSAL_MOST))
        if code != 2 and not why.startswith(CRASHED):
            why = ""
        return Status(JobState.FAILED, why or f"its driver ended with exit code {code}", code)

    def stop(self, job: str) -> None:
        process = self._process(job)
        if process:
            process.send_signal(signal.SIGTERM)

    def logs(self, job: str) -> str:
        size = self.log_size(job)
        left_out = size - self.log_most
        text = self.log_from(job, max(0, size - self.log_most), self.log_most).decode(errors="replace")
        note = f"[{left_out} bytes before this are left out; a stream has all]\n" if left_out > 0 else ""
        return note + text

    def log_from(self, job: str, start: int, most: int) -> bytes:
        try:
            with open(self.folder / job / "log", "rb") as log:
                log.seek(start)
                return log.read(most)
        except FileNotFoundError:
            return b""

    def log_size(self, job: str) -> int:
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
                with suppress(ChildProcessError):  # of an earlier service process
                    os.waitpid(process.pid, os.WNOHANG)
                return None
            return process
        except (OSError, ValueError, psutil.NoSuchProcess):
            return None


def _start_keeper(place: Path, command: list[str], env: Mapping[str, str]) -> None:
    """Start the keeper of a job, and store its pid. It outlives this process."""
    log = os.open(place / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    outputs = [(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)]
    nothing = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    try:  # not subprocess, which would wait for it
        keeper = os.posix_spawn(
            sys.executable, command, env, file_actions=[nothing, *outputs], setsid=True, setsigmask=[signal.SIGTERM]
        )  # the keeper unblocks it
    finally:
        os.close(log)
    write_whole(place / "pid", f"{keeper} {psutil.Process(keeper).create_time()}".encode())


def _abandoned(place: Path) -> bool:
    """Whether the creator of the folder died before it started the process, for which a second is ample."""
    return time.time() - place.stat().st_mtime > 10
