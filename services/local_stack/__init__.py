"""The real parts of a deployment as processes of this machine: PostgreSQL, S3, MLflow behind a login, a Ray cluster.

Their state lies in one folder, their ports are free ones of loopback, chosen once and kept there, and so are their
secrets, in files that nobody else can read: never on a command line, never in a log.
"""

import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from espalier.services.local_stack.mlflow import MLflow
from espalier.services.local_stack.postgres import Postgres
from espalier.services.local_stack.process import Place
from espalier.services.local_stack.ray import Ray
from espalier.services.local_stack.s3 import S3

__all__ = ["S3", "MLflow", "Parts", "Place", "Postgres", "Ray", "down", "environment", "up"]


@dataclass(frozen=True)
class Parts:
    """The parts of one folder."""

    place: Place
    postgres: Postgres
    s3: S3
    mlflow: MLflow
    ray: Ray

    @classmethod
    def at(cls, folder: Path, cpus: int = 1, gpus: int = 0) -> "Parts":
        """Return the parts of a folder, running or not. `cpus` and `gpus` are what each Ray worker offers."""
        place = Place.at(folder)
        postgres, s3 = Postgres(place), S3(place)
        mlflow = MLflow(place, postgres, s3)
        jobs = {"SWEEP_STORAGE_URL": postgres.url("optuna"), "SWEEP_HOME": str(place.path / "home")} | mlflow.env()
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        return cls(place, postgres, s3, mlflow, Ray(place, cpus, gpus, jobs | {"PATH": path, "OMP_NUM_THREADS": "1"}))

    def env(self) -> dict[str, str]:
        """Return what a driver and a service need: addresses, logins, the home."""
        home = {"SWEEP_HOME": str(self.place.path / "home")}
        return self.postgres.env() | self.mlflow.env() | self.ray.env() | home


def up(folder: Path, workers: int = 2) -> dict[str, str]:
    """Start all parts of a folder, those that run already left alone; return its environment.

    Without workers there is no Ray cluster. Takes 20 to 40 s the first time.
    Raises BadInput if a part cannot start, after stopping what was started.
    """
    parts = Parts.at(folder)
    try:
        ray = [lambda: parts.ray.start(workers)] if workers else []
        _side_by_side([parts.postgres.start, parts.s3.start])
        _side_by_side([parts.mlflow.start, *ray])
    except BaseException:
        down(folder)
        raise
    return parts.env()


def down(folder: Path) -> None:
    """Stop all parts of a folder. What they keep stays; a later `up` goes on with it."""
    parts = Parts.at(folder)
    _side_by_side([parts.ray.stop, parts.mlflow.stop])
    _side_by_side([parts.s3.stop, parts.postgres.stop])


def environment(folder: Path) -> dict[str, str]:
    """Return what a driver and a service need to use the parts of a folder: addresses, logins, the home."""
    return Parts.at(folder).env()


def _side_by_side(calls: Iterable[Callable[[], None]]) -> None:
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(call) for call in calls]:
            done.result()
