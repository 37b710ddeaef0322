"""The machine of a sweep: start or join Ray, and allocate its cores and GPUs."""

import io
import json
import logging
import math
import os
import re
import secrets
import socket
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from threading import Event, Thread, current_thread
from threading import enumerate as enumerate_threads
from typing import Any

from espalier.core import own
from espalier.core.errors import BadInput, brief
from espalier.sweeps.spec.spec import SweepSpec

LANES_CPU, LANES_GPU = 64, 512
COHORT_LEAST = 8  # trials of a cohort: with fewer, overhead dominates
LATE_ROUNDS = 4  # of a search that learns: at most a quarter of its trials train at once, even where width is free
STARTING, STARTED = "starting Ray", "Ray"  # names of its thread
QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # opts in to a future default of Ray
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the recorder writes these results
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # the driver has its own handler, which writes checkpoints
    "TUNE_WARN_THRESHOLD_S": "10",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # the driver prints one line instead of a traceback
}
# Ray obeys a hundred variables of a shell: RAY_AUTH_MODE=disabled opens its ports to everybody, RAY_GCS_STORAGE and
# RAY_REDIS_ADDRESS share another's state, RAY_CLIENT_MODE has everything run elsewhere. A cluster of one's own takes
# these alone, and those in small letters, which tune its parts.
RAYS_KEPT = {
    *("RAY_TMPDIR", "RAY_OVERRIDE_RESOURCES", "RAY_OBJECT_STORE_ALLOW_SLOW_STORAGE", "RAY_USAGE_STATS_ENABLED"),
    *("RAY_USE_MULTIPROCESSING_CPU_COUNT", "RAY_DISABLE_DOCKER_CPU_WARNING", "RAY_BACKEND_LOG_LEVEL"),
}
NOT_OURS = ("TUNE_", "RAY_AIR_", "RAY_CLIENT_MODE")  # how variables begin that change what Tune does, wherever it runs


class ToStderr(io.TextIOBase):
    """Replaces stdout while Ray runs: drops Ray's long messages on dead workers, which the driver reports.

    Everything else goes to stderr.
    """

    def __init__(self) -> None:
        self._dropped = False

    def write(self, text: str) -> int:
        ends_it, self._dropped = self._dropped and not text.strip(), "A worker died or was killed" in text
        return len(text) if self._dropped or ends_it else sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


@dataclass(frozen=True)
class Allocation:
    """A sweep's share of the machine: concurrent cohorts, and for each cohort its trials, lanes, cores and GPUs.

    workers: of each trial, see Resources; with more than one the cores and GPUs are theirs.
    """

    cohorts: int
    cohort_trials: int
    lanes: int
    cpus: float
    gpus: float
    workers: int = 1


def allocate(spec: SweepSpec, cpus: float, gpus: float) -> Allocation:
    """Divide cores and GPUs among cohorts: one cohort for each GPU, or for each core, with one thread each."""
    wanted = spec.resources
    per_cpus, per_gpus = wanted.shares(gpus)
    if why := spec.budget.why_not_on(per_gpus):
        raise BadInput(why)
    room = int(gpus / per_gpus) if per_gpus else int(cpus / per_cpus)
    if wanted.workers > 1:
        room = min(room, int(cpus / per_cpus))
    if room < 1:
        whose = "cohort" if wanted.workers == 1 else f"trial of {wanted.workers} workers"
        raise BadInput(
            f"resources: a {whose} with {per_cpus:g} cpus and {per_gpus:g} gpus does not fit; "
            f"there are {cpus:g} cpus and {gpus:g} gpus"
        )
    cohorts = min(room, _most_at_once(spec)) if wanted.cohorts == "auto" else wanted.cohorts
    widest = LANES_GPU if per_gpus else LANES_CPU
    share = -(-spec.trials_wanted // cohorts)
    trials = max(min(share, max(1, widest // spec.replicates)), min(COHORT_LEAST, share))
    trials = -(-trials // spec.branches) * spec.branches
    at_once = trials
    if spec.asks_late:
        at_once = -(-_most_at_once(spec) // cohorts) if spec.search.by_pieces else -(-share // LATE_ROUNDS)
    lanes = min(widest, at_once * spec.replicates) if wanted.lanes == "auto" else wanted.lanes
    lanes = 1 if spec.is_foreign else lanes
    return Allocation(cohorts, trials, lanes, per_cpus, per_gpus, wanted.workers)


def _most_at_once(spec: SweepSpec) -> int:
    """Return how many trials of a sweep train at once at most, whatever the machine."""
    if not spec.search.by_pieces or spec.budget.seconds is not None:
        return spec.trials_wanted
    from espalier.sweeps.thaw.thaw import PACE

    return max(1, math.ceil(PACE * spec.trainings))


def check_address(address: str | None) -> None:
    """Raise BadInput if nothing listens at a cluster's address; Ray itself would wait for minutes."""
    if address == "auto" and os.environ.get("RAY_ADDRESS", "").startswith("ray://"):
        address = os.environ["RAY_ADDRESS"]
    if address is None or address == "auto":
        return
    if address.startswith("ray://"):
        raise BadInput(
            f"--address {address}: no sweep can be driven through Ray Client; write HOST:PORT of the Ray head, on a "
            "node of the cluster, or hand the sweep in to a service: sweep submit"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise BadInput(f"--address {address}: no address; write HOST:PORT of a Ray head, or auto")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise BadInput(
            f"--address {address}: no Ray head answers there ({error}); `ray start --head` starts one"
        ) from error


def check_resources() -> None:
    """Raise BadInput if Ray cannot start with the value of RAY_OVERRIDE_RESOURCES."""
    if not (text := os.environ.get("RAY_OVERRIDE_RESOURCES")):
        return
    try:
        amounts = json.loads(text)
    except (ValueError, RecursionError):
        amounts = None
    if not isinstance(amounts, dict) or not all(_is_amount(amount) for amount in amounts.values()):
        raise BadInput(
            f"RAY_OVERRIDE_RESOURCES: {brief(text)} is no JSON object of amounts; "
            'write for example {"CPU": 4}, or unset it'
        )


def _is_amount(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < float("inf")


class GivenUp(Exception):
    """The wait for Ray was given up."""


class RaySession:
    """Ray: started by this process, or the cluster at `address`, joined.

    A thread starts Ray while the main thread imports. It lives as long as Ray, whose processes die with the thread
    that started them. Raises BadInput if no cluster answers.
    """

    def __init__(self, address: str | None) -> None:
        check_address(address)
        if address is None:
            check_resources()
        self.address = address
        self._resources: Future[tuple[float, float]] = Future()
        self._over = Event()
        self._thread: Thread | None = None

    def __enter__(self) -> "RaySession":
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def start(self) -> None:
        """Start or join Ray in the background. Does nothing if that has been done."""
        if self._thread is None:
            _forget(name for name in [*os.environ] if name.startswith(NOT_OURS))
            if self.address is None:
                _forget(name for name in [*os.environ] if _is_of_others(name))
            os.environ.update(QUIET)
            logging.getLogger("ray.widgets.util").setLevel(logging.WARNING)  # else it asks users to install widgets
            import ray  # noqa: F401 - here and now: two threads that import at once may wait for one another

            for thread in _threads():
                thread.join()  # a process can have one Ray at a time
            self._thread = Thread(target=self._live, name=STARTING)
            self._thread.start()

    def resources(self, given_up: Callable[[], bool] = lambda: False) -> tuple[float, float]:
        """Wait for the cluster; return its cores and GPUs. Raises BadInput if it cannot start.

        given_up: polled meanwhile; if it returns True, GivenUp is raised.
        """
        while not given_up():
            with suppress(TimeoutError):
                return self._resources.result(timeout=0.2)
        raise GivenUp

    def dead(self) -> bool:
        """Return whether the Ray that was started here has lost its node, so that nothing can train."""
        import ray

        with suppress(Exception):  # any error of the query
            return self.address is None and not any(node["Alive"] for node in ray.nodes())
        return False

    def leave(self) -> None:
        """Stop Ray, or leave the cluster, without waiting."""
        self._over.set()

    def end(self) -> None:
        """Leave, and wait until Ray has stopped.

        To release a handle of Ray while another thread shuts Ray down would crash the process.
        """
        self.leave()
        if self._thread and not starting():
            self._thread.join()

    def _live(self) -> None:
        import ray

        try:
            self._resources.set_result(_joined(self.address))
        except BaseException as error:
            self._resources.set_exception(error)
        else:
            current_thread().name = STARTED
            self._over.wait()
            ray.shutdown()


def address_here() -> str:
    """Return the address of the Ray that this process belongs to."""
    import ray

    return str(ray.get_runtime_context().gcs_address)


def starting() -> bool:
    """Return whether this process waits for Ray's start, which cannot be cancelled."""
    return any(thread.name == STARTING for thread in _threads())


def _threads() -> list[Thread]:
    return [thread for thread in enumerate_threads() if thread.name in (STARTING, STARTED)]


def _token_hint() -> str:
    """Return a hint if a cluster may require a token that this process does not send; Ray does not mention it."""
    offered = "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ
    if os.environ.get("RAY_AUTH_MODE") == "token" and offered:
        return ""
    return "; if it asks for a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH to the token's file"


def _is_of_others(name: str) -> bool:
    """Whether an environment variable would connect Ray to other processes, or open it to others.

    >>> [_is_of_others(name) for name in ("RAY_AUTH_MODE", "RAY_TMPDIR", "RAY_memory_usage_threshold", "RAYLIB")]
    [True, False, False, False]
    """
    return bool(re.match("RAY_[A-Z]", name)) and name not in RAYS_KEPT and "NOSET" not in name


def _forget(names: Iterable[str]) -> None:
    """Remove variables from this process's environment."""
    for name in names:
        os.environ.pop(name, None)


@lru_cache(maxsize=1)
def _own_token() -> str:
    """Return the token of all clusters that this process starts: Ray caches the first one it sees."""
    return secrets.token_hex(32)


def _joined(address: str | None) -> tuple[float, float]:
    """Start Ray, or join it; return its cores and GPUs."""
    import ray

    join(address, log_to_driver=False, logging_level=logging.CRITICAL)  # errors are also raised
    total = ray.cluster_resources()
    return total.get("CPU", 0.0), total.get("GPU", 0.0)


def join(address: str | None, **options: Any) -> None:
    """Join the Ray cluster at an address; None: start one of this process. options: for ray.init.

    Raises BadInput if that fails.
    """
    import ray

    worker_env = {
        "OMP_NUM_THREADS": "1",  # spinning threads on busy cores cost more than they give
        "MKL_CBWR": os.environ["MKL_CBWR"],
        "PYTHONPATH": own.python_path(os.environ.get("PYTHONPATH")),
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
    }
    try:
        if address:
            ray.init(address=address, runtime_env={"env_vars": worker_env}, **options)
        else:
            os.environ.update(worker_env)  # workers inherit it: a runtime environment would restart them
            # a private cluster: its token is in no file
            os.environ["RAY_AUTH_TOKEN"] = _own_token()
            # prestarted workers are never used: each actor starts its own process, and would wait for them
            os.environ.update({"RAY_prestart_worker_first_driver": "0"})
            ray.init(address="local", include_dashboard=False, **options)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise BadInput(
            f"--address {address}: no Ray cluster can be joined there ({reason}){_token_hint()}"
            if address
            else f"Ray cannot start: {reason}"
        ) from error
