"""The servers of a deployment as processes of this machine: PostgreSQL, S3, MLflow behind a login, a Ray cluster.

Their state is in one folder. Ports are free ones of loopback, chosen once and stored there.
Secrets are stored there too, in files that nobody else can read: never on a command line, never in a log.
"""

import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from espalier.services.local_stack.mlflow import MLflow
from espalier.services.local_stack.postgres import Postgres
from espalier.services.local_stack.process import StateFolder
from espalier.services.local_stack.ray import Ray
from espalier.services.local_stack.s3 import S3

__all__ = ["S3", "LocalStack", "MLflow", "Postgres", "Ray", "StateFolder", "down", "environment", "up"]


@dataclass(frozen=True)
class LocalStack:
    """The servers whose state is in one folder."""

    state: StateFolder
    postgres: Postgres
    s3: S3
    mlflow: MLflow
    ray: Ray

    @classmethod
    def at(cls, folder: Path, cpus: int = 1, gpus: int = 0) -> "LocalStack":
        """Return the servers of a folder, running or not. `cpus` and `gpus` are what each Ray worker offers."""
        state = StateFolder.at(folder)
        postgres, s3 = Postgres(state), S3(state)
        mlflow = MLflow(state, postgres, s3)
        jobs = {"SWEEP_STORAGE_URL": postgres.url("optuna"), "SWEEP_HOME": str(state.path / "home")} | mlflow.env()
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        return cls(state, postgres, s3, mlflow, Ray(state, cpus, gpus, jobs | {"PATH": path, "OMP_NUM_THREADS": "1"}))

    def env(self) -> dict[str, str]:
        """Return the environment variables that a driver and a service need: addresses, logins, the home."""
        home = {"SWEEP_HOME": str(self.state.path / "home")}
        return self.postgres.env() | self.mlflow.env() | self.ray.env() | home


def up(folder: Path, workers: int = 2) -> dict[str, str]:
    """Start all servers of a folder that do not run yet; return its environment.

    Without workers there is no Ray cluster. Takes 20 to 40 s the first time.
    Raises BadInput if a server cannot start, after stopping those that were started.
    """
    stack = LocalStack.at(folder)
    try:
        ray = [lambda: stack.ray.start(workers)] if workers else []
        _side_by_side([stack.postgres.start, stack.s3.start])
        _side_by_side([stack.mlflow.start, *ray])
    except BaseException:
        down(folder)
        raise
    return stack.env()


def down(folder: Path) -> None:
    """Stop all servers of a folder. Their data stay; a later `up` uses them again."""
    stack = LocalStack.at(folder)
    _side_by_side([stack.ray.stop, stack.mlflow.stop])
    _side_by_side([stack.s3.stop, stack.postgres.stop])


def environment(folder: Path) -> dict[str, str]:
    """Return the environment variables that a driver and a service need: addresses, logins, the home."""
    return LocalStack.at(folder).env()


def _side_by_side(calls: Iterable[Callable[[], None]]) -> None:
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(call) for call in calls]:
            done.result()
