"""The search of one sweep: which cohorts train next, and how their trials end.

Optuna's storage is the only state of trials. A resumed sweep is rebuilt from it: trials that are running there
continue in their cohorts. Missing ones are asked for.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from espalier.core.training.events import Compared, Event, Forked, Repeated, Started
from espalier.sweeps.references import Reference, reference_spec
from espalier.sweeps.search.asking import Asker, Ends
from espalier.sweeps.search.cohort_plan import CohortPlan, PlannedTrial, Provenance
from espalier.sweeps.search.confirming import all_confirmed, unconfirmed
from espalier.sweeps.search.measurements import Measurements
from espalier.sweeps.search.parking import FindEnds, Parking, none_known
from espalier.sweeps.search.piece_planning import PiecePlanner
from espalier.sweeps.search.planning import Planner, Plans
from espalier.sweeps.search.replicates import Replicates
from espalier.sweeps.search.study import SweepRecord
from espalier.sweeps.search.time_budget import TimeBudget
from espalier.sweeps.search.timed_planning import TimedPlanner
from espalier.sweeps.search.trial_events import Fork, Outcome, Park, Report, Score, Start, TrialEvent
from espalier.sweeps.spec.space import Point
from espalier.sweeps.spec.spec import SweepSpec

DIED_TOO_OFTEN = "its cohort's worker failed too often"


class Search:
    """Makes cohorts of Optuna's trials, and stores their results. It calls nobody back: methods return events."""

    def __init__(
        self,
        record: SweepRecord,
        cohorts: int,
        cohort_trials: int,
        checkpoints: Mapping[str, str] | None = None,
        provenance: Mapping[str, Provenance] | None = None,
        find_ends: FindEnds = none_known,
        time: TimeBudget | None = None,
    ):
        """Start with a new or interrupted sweep.

        cohorts: how many train at once. cohort_trials: trials of a cohort.
        checkpoints: by interrupted cohort, the folder of its last checkpoint.
        provenance: how each cohort trains; the driver adds to it.
        find_ends: of trials that earlier processes have parked. time: where it limits the search.
        """
        self.record, self.spec, self.cohorts, self.time = record, record.spec, cohorts, time
        self.asker = Asker(record)
        self.live: dict[str, CohortPlan] = {}
        self.merging: dict[int, Replicates] = {}  # of trials that have not ended
        self.begun: set[int] = set()  # trials that have begun
        self.references = record.references_left()
        self.ends = Ends(self.asker, record)
        trials = record.trials()
        whole = (self.asker, cohorts, cohort_trials)
        self.planner: Plans = TimedPlanner(*whole, time, record) if time else Planner(*whole)
        self.parking: Parking | None = None
        if self.spec.search.by_pieces:
            self.planner, self.parking = _pieces(self.asker, record, provenance or {}, find_ends, time)
        self.measurements = Measurements(self.asker, self.spec.objective.metric, trials)
        self.confirmed = not self.spec.confirm or all_confirmed(self.spec, trials, record.searched())  # or asked for
        self._open(trial.number for trial in trials if trial.running)
        self.waiting: list[CohortPlan] = self.planner.resume(trials, checkpoints or {})
        if self.planner.round_is_open:
            self.waiting += self._ask()

    # --- cohorts -----------------------------------------------------------------------------------------------------

    @property
    def exhausted(self) -> bool:
        """Whether every trial has been scheduled. A running cohort may have to be scheduled again."""
        waits = self.waiting or self.references or (self.parking and self.parking.any)
        return not waits and self.planner.all_asked and self.confirmed

    @property
    def wanted(self) -> int:
        """How many trials there are to be, with confirmations."""
        more = 0 if self.confirmed else self.spec.confirm
        return self.planner.wanted + len(self.asker.confirmations) + more

    @property
    def asks_next(self) -> bool:
        """Whether `next_cohort` will ask Optuna for trials, after telling it all that have ended."""
        room = len(self.live) < self.cohorts and not self.waiting
        return room and not self.planner.all_asked and not self._round_trains()

    @property
    def references_next(self) -> bool:
        """Whether the next cohort is a reference, if there is one: all trials have been given out, a core is free."""
        return len(self.live) < self.cohorts and not self.waiting and self.planner.all_asked

    @property
    def asks_late(self) -> bool:
        """Whether cohorts that train ask for more, so that nothing is proposed before it must be."""
        return self.spec.asks_late

    def more_trials(self, cohort: str, lanes: int) -> list[PlannedTrial]:
        """Return more trials for a cohort that trains, to fill so many lanes; none if it is to end with what it has."""
        plan = self.live.get(cohort)
        if plan is None or self.waiting or not self.asks_late:
            return []
        self.settle(everything=True)
        added, self.waiting = self.planner.more(plan, max(1, lanes // self.spec.replicates))
        self._begin([*added, *(t for other in self.waiting for t in other.trials)])
        self.live[cohort] = plan.joined_by(added)
        return added

    def parked_events(self) -> list[TrialEvent]:
        """Return what has become of parked trials: some go on, or all end where nothing is left to be trained."""
        events: list[TrialEvent] = []
        if self.parking:
            events += [self._start(number) for number in self.parking.take_continued()]
            events += [self._end(outcome) for outcome in self.parking.take_ends()] if self.planner.all_asked else []
        return events

    def next_cohort(self, runs: Mapping[int, str] | None = None) -> CohortPlan | None:
        """Return a cohort to train; None while enough of them train, or when all have been scheduled.

        runs: the known MLflow runs of trials.
        """
        if len(self.live) >= self.cohorts:
            return None
        if self.asks_next:
            self.settle(runs, everything=True)
            self.waiting = self._ask()
        elif self.references and self.references_next:
            self.waiting = [reference_plan(self.spec, self.references.pop(0))]  # where no trial is left to train
        elif self._confirms_next:
            self.settle(runs, everything=True)
            self.waiting = self._confirm()
        if not self.waiting:
            return None
        plan = self.waiting.pop(0)
        self.live[plan.id] = plan
        return plan

    def cohort_over(self, cohort: str) -> None:
        """Handle a cohort that has finished or was interrupted."""
        self.live.pop(cohort, None)

    def replan_unreached(self, cohort: str) -> None:
        """Plan anew what was given to a cohort that is about to finish, and never reached its worker."""
        if cohort in self.live:
            self.waiting += self.planner.replan(self.live[cohort], self.merging.keys() - self.begun)

    def cohort_failed(self, cohort: str, why: str = DIED_TOO_OFTEN) -> list[TrialEvent]:
        """Fail the unfinished trials of a cohort that cannot be retried."""
        plan = self.live.pop(cohort, None)
        return self.fail([trial.number for trial in self.planner.again(plan)], why) if plan else []

    def cohort_again(self, cohort: str, suspects: Mapping[str, int], checkpoint: str | None = None) -> None:
        """Schedule a cohort whose worker died again, from its last checkpoint, without the failed trials."""
        before = self.live.pop(cohort)
        if before.reference:
            self.waiting.insert(0, replace(before, attempt=before.attempt + 1))
            return
        trials = [trial for trial in self.planner.again(before) if checkpoint or trial.number in self.merging]
        without = [
            t.number for t in trials if t.number not in self.merging and _failed(t.number, self.ends, self.record)
        ]
        if any(trial.number in self.merging for trial in trials):
            again = replace(before, trials=tuple(trials), resume_from=checkpoint, without=tuple(without))
            self.waiting.insert(0, replace(again, suspects=suspects, attempt=before.attempt + 1))

    def _round_trains(self) -> bool:
        """Whether a repeatable search has to wait for trials of the last round."""
        return bool(self.planner.in_rounds and self.live and self.merging)

    @property
    def _confirms_next(self) -> bool:
        """Whether all trials of the search have ended, and the best of them are to be confirmed."""
        return not (self.confirmed or self.waiting or self.merging) and self.planner.all_asked

    def _confirm(self) -> list[CohortPlan]:
        plans = self.planner.confirm(unconfirmed(self.spec, self.record.trials()))
        self._open(number for plan in plans for number in plan.numbers)
        self.confirmed = True
        return plans

    def _ask(self) -> list[CohortPlan]:
        plans = self.planner.ask()
        self._begin([trial for plan in plans for trial in plan.trials])
        return plans

    def _begin(self, trials: Iterable[PlannedTrial]) -> None:
        """Expect events of trials, or pieces of them, that have just been asked for."""
        for trial in trials:
            self._open([trial.number])
            if self.time:
                self.time.begin(trial.number, trial.piece.begin if trial.piece else 0)

    def _open(self, trials: Iterable[int]) -> None:
        """Merge the events of these trials until they end."""
        for number in trials:
            self.merging.setdefault(number, Replicates(number, self.spec.replicates))

    # --- trials ------------------------------------------------------------------------------------------------------

    def take_events(self, events: Iterable[Event]) -> list[TrialEvent]:
        """Merge the events of a cohort's replicates, in order; return the events of trials.

        Repeated events change nothing.
        """
        return [trial_event for event in events for trial_event in self._take_event(event)]

    def fail(self, trials: Iterable[int], why: str, step: int = 0) -> list[TrialEvent]:
        """End the trials that have not ended, as failed; first start those that have not begun."""
        events: list[TrialEvent] = []
        for number in trials:
            if number in self.merging:
                if number not in self.begun:
                    events.append(self._start(number))
                events.append(self._end(Outcome(number, "failed", step, {}, "", why, [])))
        return events

    def settle(self, runs: Mapping[int, str] | None = None, everything: bool = False) -> None:
        """Tell Optuna the ended trials whose runs are known, since no attributes can be added afterwards.

        runs: the MLflow runs of trials. everything: also trials without a run yet; it is stored later. If a crash
        comes first, the events of an untold trial are replayed from its cohort's checkpoint.
        """
        self.ends.settle(runs or {}, everything, self.merging)

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
            return []  # it ended before a crash, and is replayed from the checkpoint
        if isinstance(event, Started):
            return [self._start(number)]
        if isinstance(event, Forked):
            return [_fork_of(event, self.asker)]
        merged = self.merging[number].merge(event)
        if isinstance(merged, Report):
            self.measurements.report(merged)
        elif isinstance(merged, Score):
            self.measurements.score(merged)
            if self.parking:
                self.parking.score(merged)
        elif isinstance(event, Repeated) and self.parking:
            self.parking.pieces.repeat(event)
        elif isinstance(event, Compared) and self.parking:
            self.parking.pieces.compare(event)
        elif isinstance(merged, Park) and self.parking:
            if self.time:
                self.time.end(number, merged.step)
            self.parking.park(merged)
        elif isinstance(merged, Outcome):
            unbegun = merged.status == "stopped" and number not in self.begun  # before its first step
            return [*([self._start(number)] if unbegun else []), self._end(merged)]
        return [merged] if merged else []

    def _start(self, number: int) -> Start:
        self.begun.add(number)
        return Start(number, self.point_of(number), self.asker.trunk_of(number), self.asker.confirms(number))

    def _end(self, outcome: Outcome) -> Outcome:
        if self.time:
            self.time.end(outcome.trial, outcome.step)
        if outcome.status == "stopped":
            self.measurements.stop(outcome)
        elif outcome.status == "complete" and self.spec.objective.metric not in outcome.values:
            why = f"{self.spec.objective.metric} was no number at step {outcome.step}"
            outcome = replace(outcome, status="failed", evidence=why)
        if self.parking:
            self.parking.pieces.end(outcome)
        self.ends.untold[outcome.trial] = outcome
        del self.merging[outcome.trial]
        return outcome


def _pieces(
    asker: Asker,
    record: SweepRecord,
    provenance: Mapping[str, Provenance],
    find_ends: FindEnds,
    time: TimeBudget | None,
) -> tuple[PiecePlanner, Parking]:
    """Return how pieces become cohorts, and the parked trials."""
    planner = PiecePlanner(asker, record.trials(), provenance, record.search_over, time)
    return planner, Parking(planner.pieces, record, find_ends)


def _failed(number: int, ends: Ends, record: SweepRecord) -> bool:
    """Whether a trial has ended as failed."""
    untold = ends.untold.get(number)
    return (untold.status if untold else record.trials()[number].status) == "failed"


def _fork_of(event: Forked, asker: Asker) -> Fork:
    """Return a fork, with the trunk that the trial shares: as proposed, else as it happened.

    After the first step of a warm-up, whose rate is 0, any two trials of a seed fork: that does not count as a
    trunk.
    """
    number, parted_from = event.trial_id.number, event.trunk_id.number
    as_proposed = asker.spec.branches > 1 or event.step < 2
    return Fork(number, event.step, parted_from, asker.trunk_of(number) if as_proposed else parted_from)


def reference_plan(spec: SweepSpec, reference: Reference) -> CohortPlan:
    """Return the cohort of a reference."""
    point = reference_spec(spec, reference).space.resolve({})
    return CohortPlan(f"reference-{reference.name}", (PlannedTrial(reference.number, point),), reference=reference.name)
