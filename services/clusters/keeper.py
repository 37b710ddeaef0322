"""The keeper: the parent process of a local job, which confines it and stores its exit code.

`python -m espalier.services.clusters.keeper FOLDER HOME ENTRYPOINT ...`
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from espalier.core.errors import BadInput
from espalier.services.clusters.cluster import STOP_WAIT_S
from espalier.services.clusters.job_folder import READ, unpacked_code, write_whole
from espalier.services.isolation import confine
from espalier.services.settings import read_settings

HOME, CODE = "SWEEP_JOB_HOME", "SWEEP_JOB_CODE"  # the variables for a job's home and its code


@dataclass(frozen=True)
class LocalJob:
    """The paths of a local job: its folder at the service, and the home of its owner or of the service.

    A home that belongs to another user than this process is an owner's, and its jobs run as that user.
    """

    folder: Path
    home: Path

    @property
    def uid(self) -> int:
        """The user id of the home's owner."""
        return self.home.stat().st_uid

    @property
    def confined(self) -> bool:
        """Whether the job runs as a separate user."""
        return self.uid != os.geteuid()

    def code(self) -> Path | None:
        """Return the folder of the job's code, readable by its user, writable by no job."""
        owner = [self.home.name] if self.confined else []
        below = self.folder.parents[1].joinpath("code", *owner)
        place = unpacked_code(self.folder, below, read_settings().unpacked_mib)
        if place is not None and self.confined:
            _give(place, self.uid)
        return place

    def confinement(self, code: Path | None, temporary: Path) -> confine.Confinement:
        """Return the confinement of its process."""
        for name in READ:
            if (self.folder / name).exists():
                _give(self.folder / name, self.uid)
        os.chown(self.folder, self.uid, self.uid)
        readable = ([code] if code else []) + [*confine.python_paths()]
        return confine.Confinement(self.uid, self.folder, (self.home, temporary), tuple(readable))

    def environment(self, code: Path | None, temporary: Path) -> dict[str, str]:
        """Return the job's variables in addition to those that the service passes on."""
        passed = {HOME: str(self.home), "PYTHONDONTWRITEBYTECODE": "1"} | ({CODE: str(code)} if code else {})
        if not self.confined:
            return passed
        own = {"HOME": self.home, "TMPDIR": temporary, "TORCHINDUCTOR_CACHE_DIR": self.home / ".cache" / "inductor"}
        passed |= {name: str(path) for name, path in own.items()}
        return passed | dict.fromkeys(("USER", "LOGNAME"), "sweep-job")


def _give(path: Path, uid: int) -> None:
    """Change the owner of a file, or of a folder with all its contents, without following links."""
    for inner in [path, *path.rglob("*")]:
        os.chown(inner, uid, uid, follow_symlinks=False)


def keep(folder: Path, home: Path, entrypoint: Sequence[str]) -> int:
    """Run a job in a child process, pass one signal on to it, and write its exit code beside its log."""
    os.umask(0o077)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])  # blocked until now: none came too early
    code = 130
    if not stop.is_set():
        try:
            code = _run(LocalJob(folder, home), entrypoint, stop)
        except (BadInput, OSError, subprocess.SubprocessError) as error:
            print(f"sweep: the job cannot start: {error}", file=sys.stderr, flush=True)
            code = 2
    write_whole(folder / "end", str(code).encode())
    return code


def _run(job: LocalJob, entrypoint: Sequence[str], stop: threading.Event) -> int:
    temporary = Path(tempfile.mkdtemp(prefix="sweep-"))  # a short path, for Ray's sockets
    try:
        code = job.code()
        confined = None
        if job.confined:
            os.chown(temporary, job.uid, job.uid)
            confine.set_process(confine.PR_SET_CHILD_SUBREAPER, 1)  # orphans of the job become children of this process
            confined = job.confinement(code, temporary).enter
        env = os.environ | job.environment(code, temporary)
        driver = subprocess.Popen(
            entrypoint, cwd=job.folder, env=env, start_new_session=True, preexec_fn=confined
        )  # there is one thread, so preexec_fn is safe
        return _wait_for(driver, stop)
    finally:
        _end_leftovers()
        shutil.rmtree(temporary, ignore_errors=True)


def _end_leftovers() -> None:
    """Kill the processes that outlive a confined job."""
    for _ in range(100):  # a killed process may have started others
        left = psutil.Process().children(recursive=True)
        for child in left:
            with suppress(psutil.Error):
                child.kill()
        psutil.wait_procs(left, timeout=5)
        if not left:
            return


def _wait_for(driver: subprocess.Popen[bytes], stop: threading.Event) -> int:
    """Wait for a driver. Pass on one stop signal: a second one would end it before its checkpoints."""
    signalled_at = None
    while (code := driver.poll()) is None:
        if signalled_at is None and stop.is_set():
            driver.send_signal(signal.SIGTERM)
            signalled_at = time.monotonic()
        if signalled_at is not None and time.monotonic() - signalled_at > STOP_WAIT_S:
            os.killpg(driver.pid, signal.SIGKILL)
        time.sleep(0.1)
    return code


if __name__ == "__main__":
    sys.exit(keep(Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute(), sys.argv[3:]))
