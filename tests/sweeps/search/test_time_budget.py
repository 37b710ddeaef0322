"""A budget in time: what cannot end in time does not begin, and the time of all processes counts together."""

import math
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial

from espalier.core.training.events import Event, Started
from espalier.sweeps.running.deadline import Deadline
from espalier.sweeps.search.cohort_plan import PlannedTrial
from espalier.sweeps.search.study import SweepRecord
from espalier.sweeps.search.time_budget import TIME_UP, TimeBudget
from espalier.sweeps.search.trial_events import Outcome, Start
from espalier.sweeps.spec.spec import SweepSpec
from tests.sweeps.made import end, report
from tests.sweeps.search.desk import Desk
from tests.sweeps.search.test_pieces import BUDGET, STEPS, Crew, by_pieces, loss_of, piece_events

TRAINING_S = 3600.0  # what a training takes
WHOLE = ["random", "tpe"]


@dataclass
class Clock:
    """A clock that a test moves, and the time of a sweep by it."""

    now: float = 1000.0

    def time_of(self, record: SweepRecord) -> TimeBudget:
        used_s, training_s = record.time
        return TimeBudget(record.spec.budget.seconds or 0.0, STEPS, used_s, training_s, now=lambda: self.now)


@dataclass
class TimedCrew(Crew):
    """Workers that take their time for each piece, or trial."""

    clock: Clock = field(default_factory=Clock)
    slower: float = 1.0
    ends_at: dict[str, float] = field(default_factory=dict[str, float])
    ended: list[float] = field(default_factory=list[float])  # when trials ended

    def begin(self) -> bool:
        works = super().begin()
        for cohort in self.working.keys() - self.ends_at.keys():
            self.ends_at[cohort] = self.clock.now + self.slower * TRAINING_S * _cost(self.working[cohort][0])
        return works

    def train_one(self) -> None:
        """Have the worker that is done first report its piece, and ask for another."""
        cohort = min(self.ends_at, key=lambda cohort: self.ends_at[cohort])
        self.clock.now = self.ends_at.pop(cohort)
        trial = self.working[cohort].pop(0)
        self.trained.append((cohort, trial))
        events = piece_events(trial) if trial.piece else _whole_events(trial)
        for event in events:
            self.events += self.search.take_events([event])
        self.ended.append(self.clock.now)
        self.working[cohort] += self.search.more_trials(cohort, lanes=1)
        self.events += self.search.parked_events()
        if not self.working[cohort]:
            self.search.cohort_over(cohort)
            del self.working[cohort]


def _cost(trial: PlannedTrial) -> float:
    return 1.0 if trial.piece is None else ((trial.piece.until or STEPS) - trial.piece.begin) / STEPS


def _whole_events(trial: PlannedTrial) -> list[Event]:
    name, loss = f"{trial.number}/0", loss_of(trial, 1.0)
    return [Started(name, 0), report(name, STEPS, loss), end(name, STEPS, loss)]


def spec_of(sampler: str, hours: float, **more: Any) -> SweepSpec:
    return by_pieces(search={"sampler": sampler}, budget=dict(BUDGET, hours=hours), **more)


def desk_of(sampler: str, hours: float, folder: Path, clock: Clock, cohorts: int = 1, **more: Any) -> Desk:
    return Desk(folder, spec_of(sampler, hours, **more), cohorts, time_of=clock.time_of)


def complete(desk: Desk) -> list[FrozenTrial]:
    return [trial for trial in desk.trials if trial.state.name == "COMPLETE"]


@pytest.mark.parametrize("sampler", ["thaw", *WHOLE])
@pytest.mark.parametrize("workers", [1, 3])
def test_all_that_begins_ends_in_time_and_the_time_is_used(sampler: str, workers: int, tmp_path: Path) -> None:
    clock, hours = Clock(), 6.5
    desk = desk_of(sampler, hours, tmp_path, clock, workers, trials=3)
    crew = TimedCrew(desk, random.Random(0), clock=clock)
    crew.finish()
    assert max(crew.ended) - 1000 <= hours * 3600 + 1e-6
    assert max(crew.ended) - 1000 > (hours - 1) * 3600
    assert len(complete(desk)) >= 3
    assert desk.search.record.search_over
    if sampler != "thaw":
        assert len(complete(desk)) == 6 * workers, "however many trials the spec names"


def test_a_grid_ends_with_its_points(tmp_path: Path) -> None:
    clock = Clock()
    desk = desk_of("grid", 100, tmp_path, clock, space={"lr_exponent": [-3.0, -2.0, -1.0]})
    TimedCrew(desk, random.Random(0), clock=clock).finish()
    assert len(complete(desk)) == 3
    assert clock.now == 1000 + 3 * TRAINING_S


@pytest.mark.parametrize("sampler", ["thaw", "random"])
def test_the_next_process_goes_on_with_what_is_left_and_time_between_processes_does_not_count(
    sampler: str, tmp_path: Path
) -> None:
    clock, dice = Clock(), random.Random(1)
    desk = desk_of(sampler, 5.5, tmp_path, clock)
    trained = 0.0
    crew = TimedCrew(desk, dice, clock=clock)
    while crew.begin():
        before = clock.now
        crew.train_one()
        trained += clock.now - before
        if dice.random() < 0.4:
            time = desk.search.time
            assert time
            desk.search.record.set_time(time.state())
            clock.now += 1e6
            desk.take_up()
            crew = TimedCrew(desk, dice, clock=clock)
    assert 4.5 * 3600 < trained <= 5.5 * 3600 + 1e-6
    desk.settle()
    again = desk.take_up()
    assert again.exhausted
    assert again.next_cohort() is None


@pytest.mark.parametrize("sampler", ["thaw", "random"])
def test_what_trains_when_the_time_is_up_is_stopped_and_no_more_begins(sampler: str, tmp_path: Path) -> None:
    """A worker ends it; here the search takes what it reports then."""
    clock = Clock()
    desk = desk_of(sampler, 4.0, tmp_path, clock, cohorts=2)
    crew = TimedCrew(desk, random.Random(0), clock=clock)
    while len(crew.ended) < 20 and clock.now < 1000 + 2.5 * 3600 and crew.begin():
        crew.train_one()
    crew.begin()
    assert crew.working, "something trains"
    clock.now = 1000 + 4.0 * 3600
    time = desk.search.time
    assert time
    assert time.over
    desk.search.planner.close()
    for cohort, trials in crew.working.items():
        assert not desk.search.more_trials(cohort, 1)
        for trial in trials:
            begin = trial.piece.begin if trial.piece else 0
            name, stop = f"{trial.number}/0", TIME_UP
            stopped = end(name, begin + 7, 3.0, "stopped", evidence=stop)
            crew.events += desk.search.take_events([stopped])
        desk.search.cohort_over(cohort)
    started = {event.trial for event in crew.events if isinstance(event, Start)}
    assert started == {trial.number for trial in desk.trials}, "also what was stopped before its first step"
    assert desk.search.next_cohort() is None
    crew.events += desk.search.parked_events()
    assert desk.search.exhausted
    assert not Deadline(desk.search.record, desk.search, time, tmp_path / "time").searching
    desk.settle()
    assert desk.search.record.search_over
    assert set(desk.states()) <= {"COMPLETE", "PRUNED"}
    evidence = [e.evidence for e in crew.events if isinstance(e, Outcome) and e.status == "stopped"]
    assert evidence
    assert all(TIME_UP in text for text in evidence)
    assert desk.take_up().exhausted


def test_the_speed_is_measured_from_what_has_been_trained() -> None:
    clock = Clock(0.0)
    time = TimeBudget(1000.0, 100, now=lambda: clock.now)
    assert (time.training_s, time.reach, time.left({})) == (None, math.inf, math.inf)
    time.begin(0, 0)
    time.begin(1, 50)
    clock.now = 40.0
    time.end(0, 20)
    time.end(1, 70)
    assert time.training_s == 200.0
    assert time.reach == 960 / 200
    assert time.left({}) == pytest.approx(2 * 960 / 200), "two trained at once"
    time.begin(2, 0)
    clock.now = 60.0
    assert time.left({2: 0.5}) == pytest.approx((940 - 80 + 940) / 200), "one is to train for 80 s more"
    again = TimeBudget(1000.0, 100, *time.state(), now=lambda: clock.now)  # type: ignore[arg-type]
    assert (again.used_s, again.training_s) == (60.0, 200.0)


def test_a_budget_of_gpus_is_used_by_all_of_them() -> None:
    clock = Clock(0.0)
    time = TimeBudget(3600.0, 100, weight=4.0, now=lambda: clock.now)
    assert time.left_s == 900
    clock.now = 450.0
    assert (time.used_s, time.left_s, time.share) == (1800, 450, 0.5)
    time.stop()
    clock.now = 1e6
    assert time.used_s == 1800
