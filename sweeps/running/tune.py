"""The seam to Ray Tune: Tune calls its searcher and its stopper, and each call becomes one of the sweep's loop.

With trainable.py the only file that imports ray.tune. Nothing of Tune's own state is needed to resume: a resumed sweep
is a new Tune run over the unfinished cohorts. So nothing pickled is ever read.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ray import tune
from ray.tune.search import Searcher

from espalier.sweeps.home import attempt_name, blaming_the_disk
from espalier.sweeps.running.board import open_board
from espalier.sweeps.running.display import in_notebook
from espalier.sweeps.running.loop import Loop
from espalier.sweeps.running.machine import Allocation
from espalier.sweeps.running.messages import Assignment, Turn
from espalier.sweeps.running.trainable import CohortTrainable
from espalier.sweeps.search.halving import Halving

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

CHECKPOINTS_KEPT = 2
T = TypeVar("T")


class _NoReporter(tune.ProgressReporter):
    """Shows nothing. Tune's own way in a notebook would clear the cell, in which the sweep's progress stands."""

    def should_report(self, trials: object, done: bool = False) -> bool:
        return False

    def report(self, trials: object, done: bool, *sys_info: object) -> None:
        """Nothing is shown."""


class CohortSearcher(Searcher):
    """Gives Tune a cohort for each of its trials, and the loop what Tune says of them.

    It has no state of its own: Optuna's storage has it. What the loop raises stops all cohorts, and is kept: Tune
    would blame it on one of them. From then on nothing is written: trials may be further than what stands on disk.
    """

    def __init__(self, loop: Loop):
        super().__init__()
        self.loop = loop
        self.cohorts: dict[str, str] = {}  # of Tune's trials
        self.error: Exception | None = None

    def __getstate__(self) -> dict[str, None]:
        return {}

    def suggest(self, trial_id: str) -> dict[str, str] | str | None:
        if self.loop.finished:
            return Searcher.FINISHED
        assignment = self.tried(self.loop.next_cohort)
        if assignment is None:
            return Searcher.FINISHED if self.error else None
        self.cohorts[trial_id] = assignment.plan.id
        return assignment.to_config()

    def on_trial_result(self, trial_id: str, result: dict[str, object]) -> None:
        self.tried(lambda: self.loop.take_turn(self.cohorts[trial_id], Turn.from_result(result)))

    def on_trial_complete(self, trial_id: str, result: dict[str, object] | None = None, error: bool = False) -> None:
        self.tried(lambda: self._complete(self.cohorts[trial_id], result, error))

    def _complete(self, cohort: str, result: dict[str, object] | None, error: bool) -> None:
        if error:
            self.loop.lose_worker(cohort)
            return
        if result:
            self.loop.take_turn(cohort, Turn.from_result(result))
        self.loop.end_cohort(cohort)

    def tried(self, call: Callable[[], T]) -> T | None:
        """Do it, unless something has failed before."""
        if self.error:
            return None
        try:
            return call()
        except Exception as error:
            self.error = error
            self.loop.interrupt.asked.set()
            return None

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


class StopWhenAsked(tune.Stopper):
    """Stops each cohort at its next report, after a checkpoint, once an interrupt has come; and all, if that is late.

    Tune asks `stop_all` at every turn of its own loop, ten times a second and more.
    """

    def __init__(self, searcher: CohortSearcher):
        self.searcher: CohortSearcher | None = searcher

    def __getstate__(self) -> dict[str, None]:
        return {"searcher": None}

    def __call__(self, trial_id: str, result: dict[str, object]) -> bool:
        return self.searcher is not None and self.searcher.loop.interrupt.asked.is_set()

    def stop_all(self) -> bool:
        if self.searcher is None:
            return False
        self.searcher.tried(self.searcher.loop.take_links)
        return self.searcher.loop.check()


def _trial_folder(trial: "Trial") -> str:
    plan = Assignment.from_config(trial.config).plan
    return attempt_name(plan.id, plan.attempt)


def run_tune(loop: Loop, allocation: Allocation, folder: Path, sweep: str, rule: Halving | None) -> None:
    """Run the loop to its end, or until an interrupt has been obeyed: each cohort stops after a checkpoint.

    folder: of Tune's experiment. rule: who stops early, None where nobody does.
    Raises what the loop raises, after all cohorts have stopped. A cohort that is lost Tune does not try again: the
    loop may give it out once more.
    """
    for name in ("execution.experiment_state", "tune"):  # that state is not needed; what failed is printed elsewhere
        logging.getLogger(f"ray.tune.{name}").setLevel(logging.CRITICAL)
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(allocation.cohorts)  # else each worker waits for the one before it
    searcher = CohortSearcher(loop)
    tuner = tune.Tuner(
        tune.with_resources(CohortTrainable, {"cpu": allocation.cpus, "gpu": allocation.gpus}),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            reuse_actors=True,
            trial_dirname_creator=_trial_folder,
        ),
        run_config=tune.RunConfig(
            name=folder.name,
            storage_path=str(folder.parent),
            stop=StopWhenAsked(searcher),
            verbose=0,
            progress_reporter=_NoReporter() if in_notebook() else None,
            checkpoint_config=tune.CheckpointConfig(num_to_keep=CHECKPOINTS_KEPT, checkpoint_at_end=True),
        ),
    )
    board = open_board(sweep, rule) if rule else None
    try:
        with blaming_the_disk(folder.parent):
            tuner.fit()
    except Exception:
        if not searcher.error:
            raise
    del board  # it lives as long as somebody holds it
    if searcher.error:
        raise searcher.error
