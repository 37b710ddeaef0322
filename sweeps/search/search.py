"""The search of one sweep: which cohorts train next, and what became of their trials.

Optuna's storage alone has which trials exist and how they ended. A resumed sweep is rebuilt from it: trials that are
running there go on in their cohorts. Those that are missing are asked for.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from espalier.core.training.events import Event, Forked, Started
from espalier.sweeps.search.asking import Asker
from espalier.sweeps.search.cohort_plan import CohortPlan
from espalier.sweeps.search.planning import Planner
from espalier.sweeps.search.replicates import Replicates
from espalier.sweeps.search.study import SweepRecord
from espalier.sweeps.search.trial_events import Fork, Outcome, Report, Score, Start, TrialEvent
from espalier.sweeps.search.trial_record import RungScore
from espalier.sweeps.spec.space import Point

DIED_TOO_OFTEN = "its cohort's worker failed too often"


class Search:
    """Cohorts to train, out of Optuna's trials, and what became of them.

    It calls nobody back: what a call makes of events it returns.
    """

    def __init__(
        self, record: SweepRecord, cohorts: int, cohort_trials: int, checkpoints: Mapping[str, str] | None = None
    ):
        """Take up a sweep, new or interrupted.

        cohorts: how many train at once. cohort_trials: how many trials one gets.
        checkpoints: the folder of the last one of each interrupted cohort that has one.
        """
        self.record, self.spec, self.cohorts = record, record.spec, cohorts
        self.asker = Asker(record)
        self.planner = Planner(self.asker, cohorts, cohort_trials)
        self.live: dict[str, CohortPlan] = {}
        self.merging: dict[int, Replicates] = {}  # of trials that have not ended
        self.ended: dict[int, Outcome] = {}  # of which Optuna has not been told
        self.begun: set[int] = set()  # trials that train, or have trained
        self.linked: dict[int, str] = {}  # trial -> its MLflow run, once that is written
        trials = record.trials()
        self.reported = {(trial.number, step) for trial in trials for step in trial.reports}
        self.scored = {(trial.number, rung) for trial in trials for rung in trial.scores}
        self._open(trial.number for trial in trials if trial.running)
        self.waiting = self.planner.resume(trials, checkpoints or {})
        if self.planner.round_is_open:
            self.waiting += self._ask()

    # --- cohorts -----------------------------------------------------------------------------------------------------

    @property
    def exhausted(self) -> bool:
        """Whether every trial has been given out. A cohort that trains may have to be given out again."""
        return not self.waiting and self.planner.all_asked

    @property
    def asks_next(self) -> bool:
        """Whether `next_cohort` is about to ask Optuna for trials, and to tell it of all that have ended before."""
        room = len(self.live) < self.cohorts and not self.waiting
        return room and not self.planner.all_asked and not self._round_trains()

    def unlinked(self, runs: Mapping[int, str]) -> set[int]:
        """Return the trials that have ended, are not told, and have no MLflow run among `runs`."""
        return set(self.ended) - set(runs)

    def next_cohort(self, runs: Mapping[int, str] | None = None) -> CohortPlan | None:
        """Return a cohort to train, or None while enough of them train or when all are given out.

        runs: the MLflow runs of trials, as far as they are known.
        """
        if len(self.live) >= self.cohorts:
            return None
        if self.asks_next:
            self.settle(runs, everything=True)
            self.waiting = self._ask()
        if not self.waiting:
            return None
        plan = self.waiting.pop(0)
        self.live[plan.id] = plan
        return plan

    def cohort_over(self, cohort: str) -> None:
        """Take note that a cohort has left, finished or interrupted."""
        self.live.pop(cohort, None)

    def cohort_failed(self, cohort: str, why: str = DIED_TOO_OFTEN) -> list[TrialEvent]:
        """End a cohort that failed for good: the trials that it had not finished fail."""
        plan = self.live.pop(cohort, None)
        return self.fail(plan.numbers, why) if plan else []

    def cohort_again(self, cohort: str, suspects: Mapping[str, int], checkpoint: str | None = None) -> None:
        """Give a cohort whose worker died out again, from its last checkpoint, without the trials that have failed."""
        before = self.live.pop(cohort)
        trials = [trial for trial in before.trials if checkpoint or trial.number in self.merging]
        without = [t.number for t in trials if t.number not in self.merging and self._failed(t.number)]
        if any(trial.number in self.merging for trial in trials):
            self.waiting.insert(
                0, CohortPlan(cohort, tuple(trials), checkpoint, tuple(without), suspects, before.attempt + 1)
            )

    def _failed(self, number: int) -> bool:
        """Whether a trial has ended as failed."""
        if untold := self.ended.get(number):
            return untold.status == "failed"
        return self.record.trials()[number].status == "failed"

    def _round_trains(self) -> bool:
        """Whether a search that must repeat has to wait for trials of the last round."""
        return bool(self.planner.round and self.live and self.merging)

    def _ask(self) -> list[CohortPlan]:
        plans = self.planner.ask()
        self._open(number for plan in plans for number in plan.numbers)
        return plans

    def _open(self, trials: Iterable[int]) -> None:
        """Have the events of some trials merged until they end."""
        self.merging |= {number: Replicates(number, self.spec.replicates) for number in trials}

    # --- trials ------------------------------------------------------------------------------------------------------

    def take_events(self, events: Iterable[Event]) -> list[TrialEvent]:
        """Take the events of a cohort's replicates, in order; return what they mean for trials.

        Events that were taken before change nothing.
        """
        return [trial_event for event in events for trial_event in self._take_event(event)]

    def fail(self, trials: Iterable[int], why: str, step: int = 0) -> list[TrialEvent]:
        """End those of some trials that have not ended, as failed; begin first those that have not begun."""
        events: list[TrialEvent] = []
        for number in trials:
            if number in self.merging:
                if number not in self.begun:
                    events.append(self._start(number))
                events.append(self._end(Outcome(number, "failed", step, {}, "", why, [])))
        return events

    def settle(self, runs: Mapping[int, str] | None = None, everything: bool = False) -> None:
        """Tell Optuna of trials that have ended, once their runs are known, since it takes no attribute afterwards.

        runs: the MLflow runs of trials. everything: also of trials whose run MLflow has not made yet; it is written
        when it has. The events of a trial that a crash leaves untold come again from its cohort's checkpoint.
        """
        runs = runs or {}
        for number in [number for number in self.ended if everything or number in runs]:
            self.asker.tell(self.asker.trials[number], self.ended.pop(number), runs.get(number))
            if number in runs:
                self.linked[number] = runs[number]
        late = {number: run for number, run in runs.items() if self.linked.get(number) != run and self._is_told(number)}
        if late:
            self.record.set_late_runs(late)
            self.linked |= late

    def _is_told(self, number: int) -> bool:
        """Whether Optuna knows how a trial has ended."""
        return number not in self.merging and number not in self.ended

    def point_of(self, number: int) -> Point:
        """Return the whole configuration of a trial."""
        return self.asker.point_of(number)

    def cohort_of(self, number: int) -> str | None:
        """Return the cohort of a trial."""
        return self.asker.trials[number].cohort

    # --- events ------------------------------------------------------------------------------------------------------

    def _take_event(self, event: Event) -> list[TrialEvent]:
        number = event.trial_id.number
        if number not in self.merging:
            return []  # ended before a crash, and replayed from the checkpoint
        if isinstance(event, Started):
            return [self._start(number)]
        if isinstance(event, Forked):
            return [self._fork(event)]
        merged = self.merging[number].merge(event)
        if isinstance(merged, Report):
            self._write_report(merged)
        elif isinstance(merged, Score):
            self._write_score(merged)
        elif isinstance(merged, Outcome):
            merged = self._end(merged)
        return [merged] if merged else []

    def _start(self, number: int) -> Start:
        self.begun.add(number)
        return Start(number, self.point_of(number), self.asker.trunk_of(number))

    def _fork(self, event: Forked) -> Fork:
        """Return a fork, with the trunk that the trial shares: as proposed, or where nothing is, as it turned out.

        After a warm-up's first step, whose rate is 0, any two of a seed part: that is no trunk.
        """
        number, parted_from = event.trial_id.number, event.trunk_id.number
        as_proposed = self.spec.branches > 1 or event.step < 2
        return Fork(number, event.step, parted_from, self.asker.trunk_of(number) if as_proposed else parted_from)

    def _write_report(self, report: Report) -> None:
        value = report.values.get(self.spec.objective.metric)
        if value is not None and (report.trial, report.step) not in self.reported:
            self.reported.add((report.trial, report.step))
            self.asker.trials[report.trial].report(value, report.step)

    def _write_score(self, score: Score) -> None:
        if (score.trial, score.step) not in self.scored:
            self.scored.add((score.trial, score.step))
            value = score.values.get(self.spec.objective.metric)
            self.asker.trials[score.trial].set_score(score.step, RungScore(value, score.leader))

    def _end(self, outcome: Outcome) -> Outcome:
        if outcome.status == "stopped":
            self._write_stop(outcome)
        elif outcome.status == "complete" and self.spec.objective.metric not in outcome.values:
            why = f"{self.spec.objective.metric} was no number at step {outcome.step}"
            outcome = replace(outcome, status="failed", evidence=why)
        self.ended[outcome.trial] = outcome
        del self.merging[outcome.trial]
        return outcome

    def _write_stop(self, outcome: Outcome) -> None:
        """Write why a trial stops. What it was worth at its last rung is its value where it has reported none."""
        trial = self.asker.trials[outcome.trial]
        worth = {rung: score.value for rung, score in trial.scores().items() if score.value is not None}
        if worth and not any(number == outcome.trial for number, _ in self.reported):
            trial.report(worth[max(worth)], max(worth))
        trial.set_stop(outcome)
