"""A replay of Espalier's own search: its asking, planning and halving, with trials that train from a table.

A worker is a core with a cohort of one lane, as machine code trains: a trunk, then its branches, one after another.
Trials of one history cost once. Not replayed: the verdicts, which stop hopeless trials before their rank does.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from optuna.storages import InMemoryStorage

from espalier.core.training.events import Ended, Event, Forked, Reported, Scored, Started, Status, TrialId
from espalier.sweeps.cohorts import rungs
from espalier.sweeps.running.machine import allocate
from espalier.sweeps.running.referee import Referee
from espalier.sweeps.search.cohort_plan import CohortPlan, PlannedTrial
from espalier.sweeps.search.halving import Halving
from espalier.sweeps.search.search import Search
from espalier.sweeps.search.store import SweepStore
from espalier.sweeps.spec.spec import SweepSpec, make_spec
from tests.bench.search import clock
from tests.bench.search.clock import Account, Finish, Work
from tests.bench.search.table import Table

TRIALS = 10_000  # more than any budget pays for
METRIC, DEAR = "valid_loss", 4


@dataclass(frozen=True)
class Product:
    """A sweep as a spec has it. stopping: its fields; None for no stopping. branches: decay points of a trunk."""

    sampler: str = "tpe"
    branches: int = 4
    stopping: dict[str, object] | None = field(default_factory=dict[str, object])
    needs_budget: bool = False

    @property
    def dear(self) -> int:
        """By what the repetitions are divided."""
        return DEAR if self.sampler == "gp" else 1

    def spec(self, table: Table, seed: int) -> SweepSpec:
        """Return the spec of a sweep over a table."""
        low, high = float(table.exponents[0]), float(table.exponents[-1])
        space: dict[str, object] = {"lr_exponent": {"low": low, "high": high}}
        if table.has_decays:
            first, last = float(table.decays[0]), float(table.decays[-1])
            space["decay_points"] = {"low": first, "high": last, "branches": self.branches}
        return make_spec(
            {
                "name": "replay",
                "task": "names",
                "schedule": "step" if table.has_decays else "cosine",
                "budget": {"steps": table.steps},
                "space": space,
                "trials": TRIALS,
                "search": {"sampler": self.sampler, "seed": seed},
                "stopping": self.stopping,
            },
            stored=True,
        )

    def replay(self, table: Table, budget: float, workers: int, seed: int) -> list[Finish]:
        """Search over a table."""
        return Sweep(self.spec(table, seed), table, budget, workers).run()


@dataclass
class Lane:
    """Trials that train as one, and how far they are, in steps."""

    trials: list[PlannedTrial]
    step: int = 0

    @property
    def leader(self) -> str:
        """The id of the first."""
        return key(self.trials[0])


def key(trial: PlannedTrial) -> str:
    """Return the id of a trial's only replicate."""
    return str(TrialId(trial.number))


class Sweep:
    """One replay."""

    def __init__(self, spec: SweepSpec, table: Table, budget: float, workers: int):
        record = SweepStore(InMemoryStorage()).create("replay-20260101-abcd", spec, {"created": "2026-01-01"})
        shares = allocate(spec, workers, 0)
        self.search = Search(record, shares.cohorts, shares.cohort_trials)
        self.spec, self.table, self.budget, self.workers = spec, table, budget, workers
        self.steps, self.rungs = spec.budget.steps, rungs(spec)
        self.rule = Halving(spec.stopping) if spec.stopping else None
        self.reports = {round(self.steps * k / spec.budget.reports) for k in range(1, spec.budget.reports + 1)}
        self.account = Account()

    def run(self) -> list[Finish]:
        """Search until the budget is spent."""
        clock.run(self.workers, self._next_cohort)
        return self.account.finishes()

    @property
    def spent(self) -> bool:
        """Whether no more is begun."""
        return self.account.total >= self.budget - clock.EPSILON

    def _next_cohort(self) -> Work | None:
        plan = None if self.spent else self.search.next_cohort()
        return self._train_cohort(plan) if plan else None

    def _train_cohort(self, plan: CohortPlan) -> Work:
        referee = Referee(self.rungs, METRIC, 1.0, 1, self.rule.judge) if self.rule else None
        trials = list(plan.trials)
        while trials and not self.spent:
            trunk, trials = trials[: self.spec.branches], trials[self.spec.branches :]
            yield from self._train_trunk(trunk, referee)
            if not trials and not self.spent:
                trials = self.search.more_trials(plan.id, lanes=1)
        self.search.cohort_over(plan.id)

    def _train_trunk(self, trunk: Sequence[PlannedTrial], referee: Referee | None) -> Work:
        """Train the trials of a trunk in one lane: its first trial, then each branch from where it was parked."""
        unit = self.account.begin()
        self.search.take_events(Started(key(trial), 0) for trial in trunk)
        parked = [Lane(list(trunk))]
        while parked:
            lane = parked.pop(0)
            while lane.trials:
                parked += self._fork(lane)
                stop = self._next_stop(lane)
                yield self.account.spend(unit, (stop - lane.step) / self.steps)
                lane.step = stop
                events = list(self._events(lane))
                self.search.take_events(events)
                for end in (event for event in events if isinstance(event, Ended) and event.status == "complete"):
                    self.account.finish(unit, end.values[METRIC])
                over = {event.trial for event in events if isinstance(event, Ended)}
                reasons = referee.rule(events) if referee else {}
                for trial in lane.trials:
                    if key(trial) in reasons and key(trial) not in over:
                        stop_event = self._end(trial, lane, "stopped", {}, reasons[key(trial)])
                        self.search.take_events([stop_event])
                lane.trials = [trial for trial in lane.trials if key(trial) not in over | reasons.keys()]

    def _decay(self, trial: PlannedTrial) -> int:
        """Return the step of a trial's decay point; that of its end where the schedule has none."""
        points = trial.point.get("decay_points") or [1.0]
        return round(points[0] * self.steps)

    def _fork(self, lane: Lane) -> list[Lane]:
        """Let the trials of a lane part that have come to their decay point; the first trial keeps the lane."""
        due = [trial for trial in lane.trials if self._decay(trial) == lane.step]
        others = [trial for trial in lane.trials if self._decay(trial) != lane.step]
        if not due or not others:
            return []
        lane.trials, parted = (due, others) if lane.trials[0] in due else (others, due)
        self.search.take_events(Forked(key(trial), lane.step, lane.leader) for trial in parted)
        return [Lane(parted, lane.step)]

    def _next_stop(self, lane: Lane) -> int:
        marks = {*self.rungs, *self.reports, self.steps, *map(self._decay, lane.trials)}
        return min(mark for mark in marks if mark > lane.step)

    def _events(self, lane: Lane) -> Iterator[Event]:
        """Yield what the engine would report of a lane after a stretch."""
        share = lane.step / self.steps
        for trial in lane.trials:
            exponent, decay = trial.point["lr_exponent"], self._decay(trial) / self.steps
            last = lane.step == self.steps
            loss = self.table.final(exponent, decay) if last else self.table.value(share, exponent, decay)
            if not math.isfinite(loss):
                yield self._end(trial, lane, "diverged", {})
                continue
            if lane.step in self.reports:
                yield Reported(key(trial), lane.step, {METRIC: loss})
            if last:
                yield self._end(trial, lane, "complete", {METRIC: loss})
            elif self.spec.stopping and lane.step in self.rungs:
                score = self.table.score(self.spec.stopping.score, share, exponent, decay)
                values = {METRIC: score} if math.isfinite(score) else {}
                yield Scored(key(trial), lane.step, values, self.spec.stopping.score, lane.leader)

    def _end(
        self, trial: PlannedTrial, lane: Lane, status: Status, values: dict[str, float], evidence: str = ""
    ) -> Ended:
        verdict = "diverged" if status == "diverged" else "healthy"
        return Ended(key(trial), lane.step, status, values, verdict, evidence, leader=lane.leader)
