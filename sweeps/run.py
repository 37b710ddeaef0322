"""A run of cohorts on Ray Tune.

With trainable.py the only file that imports ray.tune. Nothing of Tune's own state is needed to resume: a resumed sweep
is a new Tune run over the cohorts that were not finished, so nothing pickled is ever read.
"""

import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from sweeps.board import open_board
from sweeps.machine import Shape
from sweeps.search import Search, Suggestion
from sweeps.trainable import CohortTrainable

CHECKPOINTS_KEPT = 2
WORKER_RESTARTS = 3

Configure = Callable[[Suggestion], dict[str, Any]]
"""Makes of a suggested cohort what its worker is told."""

Watch = Callable[[str, Mapping[str, Any]], None]
"""Hears each result of a cohort, by the cohort's id."""


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
    logging.getLogger("ray.tune.execution.experiment_state").setLevel(logging.CRITICAL)  # that state is not needed
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(layout.cohorts)  # else each worker waits for the one before it
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
    rule = search.rule()
    board = open_board(search.study.study_name, rule) if rule else None
    tuner.fit()
    del board  # it lives as long as somebody holds it
