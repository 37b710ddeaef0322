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
from typing import Any, TypeVar

from ray import tune
from ray.tune.search import Searcher

from espalier.sweeps.home import attempt_name, blaming_the_disk
from espalier.sweeps.running.board import open_board
from espalier.sweeps.running.display import in_notebook
from espalier.sweeps.running.machine import Shape
from espalier.sweeps.running.trainable import CohortTrainable
from espalier.sweeps.search.rule import stopping_rule
from espalier.sweeps.search.search import Search

CHECKPOINTS_KEPT = 2
T = TypeVar("T")

Configure = Callable[[], dict[str, Any] | None]
"""Returns what the worker of the next cohort is told; None while there is none to train."""

Watch = Callable[[str, Mapping[str, Any]], None]
"""Hears each result of a cohort, by the cohort's id."""

Lost = Callable[[str], None]
"""Hears of a cohort whose worker has died, or could not go on."""


class _Silent(tune.ProgressReporter):
    """Shows nothing. Tune's own way in a notebook would clear the cell, in which the sweep's progress stands."""

    def should_report(self, trials: Any, done: bool = False) -> bool:
        return False

    def report(self, trials: Any, done: bool, *sys_info: Any) -> None:
        """Nothing is shown."""


class CohortSearcher(Searcher):
    """Search, as Ray Tune asks for it. It has no state of its own: Optuna's storage has it."""

    def __init__(self, search: Search, configure: Configure, watch: Watch, lost: Lost, stop: Event):
        super().__init__()
        self.search, self.configure, self.watch, self.lost, self.stop = search, configure, watch, lost, stop
        self.cohorts: dict[str, str] = {}
        self.error: Exception | None = None  # of this process: then the cohorts stop, and nobody hears of them any more

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self.stop.is_set() or (self.search.exhausted and not self.search.live):
            return Searcher.FINISHED
        configured = self._tried(self.configure)
        if not configured:
            return Searcher.FINISHED if self.error else None
        self.cohorts[trial_id] = configured["id"]
        return {"cohort": json.dumps(configured)}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self._tried(lambda: self.watch(self.cohorts[trial_id], result))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self._tried(lambda: self._on_complete(self.cohorts[trial_id], result, error))

    def _on_complete(self, cohort: str, result: dict[str, Any] | None, error: bool) -> None:
        if error:
            self.lost(cohort)
            return
        if result:
            self.watch(cohort, result)
        self.search.cohort_over(cohort)

    def _tried(self, call: Callable[[], T]) -> T | None:
        """Do it, unless something has failed before. What fails stops all cohorts: Tune would blame it on one of them.

        From then on nothing is written, since the trials may be further than what stands on disk.
        """
        if self.error:
            return None
        try:
            return call()
        except Exception as error:
            self.error = error
            self.stop.set()
            return None

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


class StopWhenAsked(tune.Stopper):
    """Stops each cohort at its next report, after a checkpoint, once an interrupt has come; and all, if that is late.

    look: called at every turn of Tune's loop, ten times a second and more; returns whether that is so.
    """

    def __init__(self, stop: Event, look: Callable[[], bool]):
        self.stop: Event | None = stop
        self.look = look

    def __getstate__(self) -> dict[str, Any]:
        return {"stop": None, "look": None}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return self.stop is not None and self.stop.is_set()

    def stop_all(self) -> bool:
        return self.stop is not None and self.look()


def _trial_folder(trial: Any) -> str:
    cohort = json.loads(trial.config["cohort"])
    return attempt_name(cohort["id"], cohort["attempt"])


def run_tune(
    search: Search,
    configure: Configure,
    layout: Shape,
    folder: Path,
    stop: Event,
    look: Callable[[], bool],
    lost: Lost,
    watch: Watch,
) -> None:
    """Run the search to its end, or until `stop` has been obeyed: each cohort stops after a checkpoint.

    look: see StopWhenAsked. lost, watch: hear what becomes of cohorts. A cohort that is lost Tune does not try again:
    `search` may give it out once more.
    Raises what search, configure, lost and watch raise, after all cohorts have stopped.
    """
    for name in ("execution.experiment_state", "tune"):  # that state is not needed, and what failed is said elsewhere
        logging.getLogger(f"ray.tune.{name}").setLevel(logging.CRITICAL)
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(layout.cohorts)  # else each worker waits for the one before it
    trainable = tune.with_resources(CohortTrainable, {"cpu": layout.cpus, "gpu": layout.gpus})
    searcher = CohortSearcher(search, configure, watch, lost, stop)
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            reuse_actors=True,
            trial_dirname_creator=_trial_folder,
        ),
        run_config=tune.RunConfig(
            name=folder.name,
            storage_path=str(folder.parent),
            stop=StopWhenAsked(stop, look),
            verbose=0,
            progress_reporter=_Silent() if in_notebook() else None,
            checkpoint_config=tune.CheckpointConfig(num_to_keep=CHECKPOINTS_KEPT, checkpoint_at_end=True),
        ),
    )
    rule = stopping_rule(search.record)
    board = open_board(search.record.id, rule) if rule else None
    try:
        with blaming_the_disk(folder.parent):
            tuner.fit()
    except Exception:
        if not searcher.error:
            raise
    del board  # it lives as long as somebody holds it
    if searcher.error:
        raise searcher.error
