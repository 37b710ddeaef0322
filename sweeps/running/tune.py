"""The interface to Ray Tune: Tune calls its searcher and its stopper, and each call is passed to the sweep's loop.

Only this file and trainable.py import ray.tune. Tune's own state is not needed to resume: a resumed sweep is a new
Tune run over the unfinished cohorts. So no pickle is ever read.
"""

import logging
import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, TypeVar

from ray import tune
from ray.tune.search import Searcher

from espalier.sweeps.home import attempt_name, raising_disk_errors
from espalier.sweeps.running.board import Request, answering, open_board, trials_text
from espalier.sweeps.running.display import in_notebook
from espalier.sweeps.running.loop import Loop
from espalier.sweeps.running.machine import Allocation
from espalier.sweeps.running.messages import Assignment, Turn
from espalier.sweeps.running.trainable import CohortTrainable
from espalier.sweeps.search.halving import Halving

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

CHECKPOINTS_KEPT = 2
NO_TRIALS = trials_text([])
T = TypeVar("T")


class _NoReporter(tune.ProgressReporter):
    """A reporter that shows nothing. Tune's own would clear the notebook cell with the sweep's progress."""

    def should_report(self, trials: object, done: bool = False) -> bool:
        return False

    def report(self, trials: object, done: bool, *sys_info: object) -> None:
        """Show nothing."""


class CohortSearcher(Searcher):
    """Gives Tune a cohort for each Tune trial, and passes Tune's results to the loop.

    It has no state of its own: that is in Optuna's storage. An error of the loop is stored and stops all cohorts:
    Tune would attribute it to one of them. After that nothing is written: trials may be ahead of the state on disk.
    Tune's thread calls the loop, and so does the one that answers cohorts: a lock keeps them apart.
    """

    def __init__(self, loop: Loop):
        super().__init__()
        self.loop, self.lock = loop, RLock()
        self.cohorts: dict[str, str] = {}  # by Tune's trial ids
        self.error: Exception | None = None

    def __getstate__(self) -> dict[str, None]:
        return {}

    def answer(self, request: Request) -> str:
        """Return trials for a cohort that asks, as JSON; none after an error, so that its worker does not wait."""
        return self.tried(lambda: self._more_trials(request)) or NO_TRIALS

    def _more_trials(self, request: Request) -> str:
        return trials_text(self.loop.more_trials(request.cohort, Turn.from_text(request.turn), request.lanes))

    def suggest(self, trial_id: str) -> dict[str, str] | str | None:
        if self.tried(lambda: self.loop.finished) is not False:
            return Searcher.FINISHED
        assignment = self.tried(self.loop.next_cohort)
        if assignment is None:
            return None if self.tried(lambda: self.loop.finished) is False else Searcher.FINISHED
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
        """Call a function and store its error, unless something has failed before."""
        with self.lock:
            if self.error:
                return None
            try:
                return call()
            except Exception as error:
                self.fail(error)
                return None

    def fail(self, error: Exception) -> None:
        """Store the first error, and stop all cohorts."""
        self.error = self.error or error
        self.loop.interrupt.asked.set()

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: there is no state."""


class StopWhenAsked(tune.Stopper):
    """After an interrupt, stops each cohort at its next report, after a checkpoint; after a timeout, stops all.

    Tune calls `stop_all` in every iteration of its own loop, at least ten times a second.
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
        with self.searcher.lock:
            return self.searcher.loop.check()


def _trial_folder(trial: "Trial") -> str:
    plan = Assignment.from_config(trial.config).plan
    return attempt_name(plan.id, plan.attempt)


def reserved(allocation: Allocation) -> dict[str, float]:
    """Return what Ray reserves for the process of a cohort: not what several workers of its trials reserve themselves.

    Tune does not take nothing at all.
    """
    if allocation.workers > 1:
        return {"cpu": 0.0, "gpu": 0.0, "memory": float(1 << 20)}
    return {"cpu": allocation.cpus, "gpu": allocation.gpus}


def run_tune(loop: Loop, allocation: Allocation, folder: Path, sweep: str, rule: Halving | None) -> None:
    """Run the loop to its end, or to the end of an interrupt: each cohort stops after a checkpoint.

    folder: of Tune's experiment. rule: of early stopping, None without. Raises an error of the loop after all cohorts
    have stopped. Tune does not retry a lost cohort: the loop may schedule it again.
    """
    for name in ("execution.experiment_state", "tune"):  # that state is not needed; errors are printed elsewhere
        logging.getLogger(f"ray.tune.{name}").setLevel(logging.CRITICAL)
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(allocation.cohorts)  # else each worker waits for the previous one
    searcher = CohortSearcher(loop)
    tuner = tune.Tuner(
        tune.with_resources(CohortTrainable, reserved(allocation)),
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
    asks = loop.search.asks_late
    board = open_board(sweep, rule) if rule or asks else None
    try:
        asking = answering(board, searcher.answer, searcher.fail) if asks else nullcontext()
        with raising_disk_errors(folder.parent), asking:
            tuner.fit()
    except Exception:
        if not searcher.error:
            raise
    del board  # it lives as long as this reference
    if searcher.error:
        raise searcher.error
