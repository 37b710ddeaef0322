"""Cohorts on Ray Tune: how they are laid out on a machine, and a run of them.

With trainable.py the only file that imports ray.tune. Nothing of Tune's own state is needed to resume: a resumed sweep
is a new Tune run over the cohorts that were not finished, so nothing pickled is ever read.
"""

import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"  # Ray's own wish for what it does by default in future
os.environ.setdefault("RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("TUNE_WARN_THRESHOLD_S", "10")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")

import ray
from ray import tune
from ray.tune.search import Searcher

from core.errors import BadInput
from sweeps.search import Search, Suggestion
from sweeps.spec import SweepSpec
from sweeps.trainable import CohortTrainable

CHECKPOINTS_KEPT = 2
WORKER_RESTARTS = 3
LANES_CPU, LANES_GPU = 64, 512
COHORT_LEAST = 8  # trials: narrower programs spend their time on overhead

Configure = Callable[[Suggestion], dict[str, Any]]
"""Makes of a suggested cohort what its worker is told."""

Watch = Callable[[str, Mapping[str, Any]], None]
"""Hears each result of a cohort, by the cohort's id."""


@dataclass(frozen=True)
class Shape:
    """How a sweep is laid out on the machine: cohorts at once, trials and lanes of each, and what each gets."""

    cohorts: int
    cohort_trials: int
    lanes: int
    cpus: float
    gpus: float


def shape(spec: SweepSpec, cpus: float, gpus: float) -> Shape:
    """Lay a sweep out on so many cores and GPUs. One cohort a GPU, or one a core, with one thread each."""
    wanted = spec.resources
    per_gpus = (1.0 if gpus >= 1 else 0.0) if wanted.gpus == "auto" else wanted.gpus
    per_cpus = 1.0 if wanted.cpus == "auto" else wanted.cpus
    room = int(gpus / per_gpus) if per_gpus else int(cpus / per_cpus)
    if room < 1:
        raise BadInput(
            f"resources: a cohort of {per_cpus:g} cpus and {per_gpus:g} gpus does not fit; "
            f"there are {cpus:g} cpus and {gpus:g} gpus"
        )
    cohorts = min(room, spec.trials) if wanted.cohorts == "auto" else wanted.cohorts
    adaptive = spec.search.sampler in ("tpe", "gp")
    rounds = 2 if adaptive else 1  # a search that learns needs results before its last proposals
    widest = LANES_GPU if per_gpus else LANES_CPU
    trials = -(-spec.trials // (cohorts * rounds))
    trials = max(min(trials, max(1, widest // spec.replicates)), min(COHORT_LEAST, -(-spec.trials // cohorts)))
    trials = -(-trials // spec.space.branches) * spec.space.branches
    lanes = min(widest, trials * spec.replicates) if wanted.lanes == "auto" else wanted.lanes
    return Shape(cohorts, trials, lanes, per_cpus, per_gpus)


def ray_resources(address: str | None) -> tuple[float, float]:
    """Start Ray inside this process, or join the cluster at `address`; return its cores and GPUs."""
    packages = os.pathsep.join(
        [str(Path(__file__).resolve().parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    # one thread a process: spinning threads on busy cores cost more than they give
    worker_env = {
        "OMP_NUM_THREADS": "1",
        "MKL_CBWR": "AUTO,STRICT",
        "PYTHONPATH": packages,
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
    }
    common = {"log_to_driver": False, "logging_level": logging.ERROR, "runtime_env": {"env_vars": worker_env}}
    try:
        if address:
            ray.init(address=address, **common)
        else:
            ray.init(address="local", include_dashboard=False, **common)
    except Exception as error:
        raise BadInput(
            f"--address {address}: no Ray cluster can be joined there ({str(error).splitlines()[0]})"
        ) from error
    total = ray.cluster_resources()
    return total.get("CPU", 0.0), total.get("GPU", 0.0)


class CohortSearcher(Searcher):
    """Search, as Ray Tune asks for it. It has no state of its own: Optuna's storage has it."""

    def __init__(self, search: Search, configure: Configure, watch: Watch, stop: Event):
        super().__init__()
        self.search, self.configure, self.watch, self.stop = search, configure, watch, stop
        self.cohorts: dict[str, str] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self.stop.is_set() or self.search.exhausted:
            return Searcher.FINISHED
        suggestion = self.search.next_cohort()
        if suggestion is None:
            return None
        self.cohorts[trial_id] = suggestion["id"]
        return {"cohort": json.dumps(self.configure(suggestion))}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self.watch(self.cohorts[trial_id], result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if result and not error:
            self.watch(self.cohorts[trial_id], result)
        self.search.cohort_over(self.cohorts[trial_id], failed=error)

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


class StopWhenAsked(tune.Stopper):
    """Stops each cohort at its next report, after a checkpoint, once an interrupt has come."""

    def __init__(self, stop: Event):
        self.stop: Event | None = stop

    def __getstate__(self) -> dict[str, Any]:
        return {"stop": None}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return self.stop is not None and self.stop.is_set()

    def stop_all(self) -> bool:
        return False


def run_tune(search: Search, configure: Configure, layout: Shape, folder: Path, stop: Event, watch: Watch) -> None:
    """Run the search to its end, or until `stop` has been obeyed: each cohort stops after a checkpoint."""
    trainable = tune.with_resources(CohortTrainable, {"cpu": layout.cpus, "gpu": layout.gpus})
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=CohortSearcher(search, configure, watch, stop),
            num_samples=-1,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: json.loads(trial.config["cohort"])["id"],
        ),
        run_config=tune.RunConfig(
            name=folder.name,
            storage_path=str(folder.parent),
            stop=StopWhenAsked(stop),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=WORKER_RESTARTS),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=CHECKPOINTS_KEPT, checkpoint_at_end=True),
        ),
    )
    tuner.fit()
