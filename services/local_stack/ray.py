"""Ray: a head without cores, with the job server, and workers that may join and leave; all behind a token."""

import json
import shutil
import tempfile
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from espalier.core.errors import BadInput
from espalier.services.local_stack.process import LOOPBACK, Daemon, StateFolder, python, write_secret

HEAD = "ray-head"
TEMPORARY_MOST = 40  # characters: Ray's sockets lie 67 deeper, and a socket's path has 107 at most
STARTS = 3  # Ray gives a node 30 s to start, which a loaded machine sometimes exceeds
STORE_BYTES = 100 * 2**20  # results are sent as reports, so little is stored


@dataclass(frozen=True)
class Ray:
    """A cluster on loopback: each node has its own address there, 127.0.0.2 and up.

    Ray's internal ports still listen on every interface of the machine; only the token protects them.

    cpus, gpus: what each worker offers. On a machine without GPUs, `gpus` are only counted: trials train on the CPU.
    """

    state: StateFolder
    cpus: int = 1
    gpus: int = 0
    jobs_env: Mapping[str, str] = field(default_factory=dict)  # of every process on its nodes, jobs included

    @property
    def address(self) -> str:
        """What `sweep run --address` takes."""
        return f"127.0.0.2:{self.state.port('ray')}"

    @property
    def jobs(self) -> str:
        """The address of the job server."""
        return f"http://{LOOPBACK}:{self.state.port('ray-jobs')}"

    def env(self) -> dict[str, str]:
        """Return the environment variables with its addresses and token."""
        return {
            "SWEEP_RAY_ADDRESS": self.jobs,
            "RAY_ADDRESS": self.address,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self._token()),
        }

    def start(self, workers: int = 2) -> None:
        """Start the head and `workers` workers."""
        options = {
            "--port": self.state.port("ray"),
            "--dashboard-host": LOOPBACK,
            "--dashboard-port": self.state.port("ray-jobs"),
            "--dashboard-agent-listen-port": self.state.port("ray-agent"),  # the usual one may be another cluster's
            "--node-ip-address": "127.0.0.2",
            "--num-cpus": 0,
            "--num-gpus": 0,
            "--temp-dir": self._temporary(),
        }
        self._node(HEAD, ["--head", "--include-dashboard=true", *_words(options)], self._healthy)
        missing = range(len(self.workers()), workers)
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._start_worker, [self._free_number() + k for k in range(len(missing))]))

    def add_worker(self) -> None:
        """Start one more worker; a running sweep will use it."""
        self._start_worker(self._free_number())

    def workers(self) -> list[Daemon]:
        """Return the workers that run."""
        files = sorted(self.state.path.glob("ray-worker-*.pid"))
        daemons = [Daemon(self.state, file.stem) for file in files]
        return [daemon for daemon in daemons if daemon.process]

    def stop(self) -> None:
        """Stop the workers, then the head. Does nothing if they do not run."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(Daemon.stop, self.workers()))
        Daemon(self.state, HEAD).stop()
        if not self._temporary().is_relative_to(self.state.path):
            shutil.rmtree(self._temporary(), ignore_errors=True)
        (self.state.path / "ray.temporary").unlink(missing_ok=True)

    def _start_worker(self, number: int) -> None:
        options = {
            "--address": self.address,
            "--node-ip-address": f"127.0.0.{number + 3}",
            "--dashboard-agent-listen-port": self.state.port(f"ray-agent-{number}"),
            "--num-cpus": self.cpus,
            "--num-gpus": self.gpus,
        }
        self._node(f"ray-worker-{number}", _words(options), lambda: True)

    def _free_number(self) -> int:
        taken = [int(daemon.name.rpartition("-")[2]) for daemon in self.workers()]
        return max(taken, default=-1) + 1

    def _node(self, name: str, options: list[str], ready: Callable[[], bool]) -> None:
        log = self.state.log(name)
        before = log.stat().st_size if log.exists() else 0

        def started() -> bool:
            return b"Ray runtime started" in log.read_bytes()[before:] and ready()

        daemon = Daemon(self.state, name)
        command = [*python("ray.scripts.scripts", "start", "--block", "--disable-usage-stats"), *options]
        command += ["--object-store-memory", str(STORE_BYTES)]
        for attempt in range(STARTS if daemon.process is None else 0):
            try:
                daemon.start(
                    command, dict(self.jobs_env) | self.env() | {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"}, started
                )
                break
            except BadInput:
                if attempt + 1 == STARTS:
                    raise

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.jobs}/api/gcs_healthz", timeout=5) as page:
                return page.status == 200
        except OSError:
            return False

    def _token(self) -> Path:
        path = self.state.path / "ray.token"
        if not path.exists():
            write_secret(path, self.state.secret("ray"))
        return path

    def _temporary(self) -> Path:
        """Return the folder of Ray's sockets and logs: in ours, unless its path is too long for a socket."""
        note = self.state.path / "ray.temporary"
        if not note.exists():
            own = self.state.path / "ray"
            deep = len(str(own)) > TEMPORARY_MOST
            note.write_text(json.dumps(tempfile.mkdtemp(prefix="ray-") if deep else str(own)))
        return Path(json.loads(note.read_text()))


def _words(options: dict[str, object]) -> list[str]:
    return [f"{name}={value}" for name, value in options.items()]
