"""Parked trials of a search by pieces: which go on, and how those end that never do."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from espalier.core.training.events import Ended
from espalier.sweeps.results.coverage import COVERED, fewer
from espalier.sweeps.search.pieces import PieceSearch
from espalier.sweeps.search.replicates import outcome_of
from espalier.sweeps.search.study import SweepRecord
from espalier.sweeps.search.time_budget import TIME_UP
from espalier.sweeps.search.trial_events import Outcome, Park, Score
from espalier.sweeps.search.trial_record import TrialRecord

FindEnds = Callable[[int, int, int], Sequence[Ended]]
"""Takes a trial, the step where it is parked, and how many replicates it has; returns how these would end, if known."""


def none_known(trial: int, step: int, replicates: int) -> Sequence[Ended]:
    """Return that the ends of parked trials of earlier processes are not known."""
    return ()


class Parking:
    """The trials that are parked. They are running in Optuna, since they may go on."""

    def __init__(self, pieces: PieceSearch, record: SweepRecord, find_ends: FindEnds = none_known):
        """find_ends: of trials that earlier processes have parked."""
        self.pieces, self.record = pieces, record
        self.metric = record.spec.objective.metric
        running = {trial.number: trial for trial in record.trials() if trial.running and trial.pieces}
        self.ends: dict[int, Outcome] = {  # of parked trials, should they never go on
            number: _so_far(trial, find_ends, record.spec.replicates)
            for number, trial in running.items()
            if number not in pieces.training
        }

    def score(self, score: Score) -> None:
        """Take a score at a rung."""
        self.pieces.score(score.trial, score.step, score.values.get(self.metric))

    def park(self, park: Park) -> None:
        """Take a trial that has been parked."""
        outcome = outcome_of(park.trial, park.so_far) if park.so_far else None
        end = outcome or Outcome(park.trial, "stopped", park.step, {}, "", "", [])
        self.pieces.asker.trials[park.trial].set_parked(park.step, end.verdict, end.evidence)
        self.ends[park.trial] = end
        self.pieces.park(park.trial, park.lost)

    @property
    def share_paid(self) -> float:
        """The share of the budget that has been given out; trials that are begun beyond it do not count."""
        return min(1.0, self.pieces.model.spent / self.pieces.model.budget)

    @property
    def why_over(self) -> str:
        """Why the search has ended before its budget was spent; "" while it has not."""
        model, spec = self.pieces.model, self.record.spec
        if self.pieces.settled:
            spent = f"{model.spent:.1f} of {model.budget:g} trainings"
            return f"the search has settled after {spent}: nothing left is expected to be better by more than the noise"
        begun = self.pieces.asker.asked
        if self.pieces.over and spec.counts_trials and begun < spec.trials:
            spent = f"the search has ended after {model.spent:.1f} of {model.budget:g} trainings"
            return fewer(begun, spec.trials, COVERED if model.exhausted else spent)
        return ""

    @property
    def any(self) -> bool:
        """Whether trials are parked."""
        return bool(self.ends)

    def take_continued(self) -> list[int]:
        """Return the trials that were parked until now, and train again."""
        continued = [number for number in self.ends if number in self.pieces.training]
        for number in continued:
            del self.ends[number]
        return continued

    def take_ends(self) -> list[Outcome]:
        """Return the ends of all parked trials: the search is over, and none was worth what it would cost."""
        self.record.set_search_over()
        time = self.pieces.time
        why = f"when {TIME_UP}" if time and time.over else "where it was not worth the rest of its training"
        ends, self.ends = [_stopped(end, why) for end in self.ends.values()], {}
        return ends


def _so_far(trial: TrialRecord, find_ends: FindEnds, replicates: int) -> Outcome:
    """Return how a parked trial of an earlier process would end."""
    step, verdict, evidence = trial.parked or (max(trial.scores, default=0), "", "")
    ends = find_ends(trial.number, step, replicates)
    return outcome_of(trial.number, ends) if ends else Outcome(trial.number, "stopped", step, {}, verdict, evidence, [])


def _stopped(end: Outcome, why: str) -> Outcome:
    """Return how a parked trial ends that never goes on."""
    evidence = "; ".join(filter(None, [f"parked at step {end.step}, {why}", end.evidence]))
    return replace(end, status="stopped", evidence=evidence)
