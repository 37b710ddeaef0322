"""The end of a search whose budget is in time, as its driver sees it."""

import random
from pathlib import Path

import pytest

from espalier.sweeps.running.deadline import KEEP_S, Deadline
from tests.sweeps.search.desk import Desk
from tests.sweeps.search.test_time_budget import Clock, TimedCrew, desk_of


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the search, and of the driver."""
    clock = Clock()
    monkeypatch.setattr("espalier.sweeps.running.deadline.monotonic", lambda: clock.now)
    return clock


def deadline_of(desk: Desk, folder: Path) -> Deadline:
    assert desk.search.time
    return Deadline(desk.search.record, desk.search, desk.search.time, folder / "time")


@pytest.mark.parametrize("sampler", ["thaw", "random"])
def test_workers_are_asked_to_end_when_the_time_is_up_and_not_before(
    sampler: str, tmp_path: Path, clock: Clock
) -> None:
    desk = desk_of(sampler, 3.0, tmp_path, clock)
    deadline = deadline_of(desk, tmp_path)
    assert desk.search.next_cohort()
    clock.now += 2.9 * 3600
    deadline.check()
    assert not deadline.file.exists()
    assert deadline.why_over == ""
    clock.now += 0.2 * 3600
    deadline.check()
    assert deadline.file.exists()
    assert desk.search.record.time[0] == pytest.approx(3.1 * 3600)
    assert desk.search.next_cohort() is None


def test_where_nothing_trains_when_the_time_is_up_nobody_is_asked(tmp_path: Path, clock: Clock) -> None:
    desk = desk_of("random", 2.5, tmp_path, clock)
    deadline = deadline_of(desk, tmp_path)
    TimedCrew(desk, random.Random(0), clock=clock).finish()
    deadline.check()
    assert not deadline.searching
    assert deadline.why_over == "the budget of 2.5 hours is spent, but for 30:00 in which nothing more would have ended"
    used_s = desk.search.record.time[0]
    clock.now += 1e6
    deadline.check()
    assert not deadline.file.exists()
    assert desk.search.record.time[0] == used_s, "confirmations and references take none of it"


def test_a_search_that_ends_for_another_reason_does_not_name_its_time(tmp_path: Path, clock: Clock) -> None:
    desk = desk_of("grid", 100, tmp_path, clock, space={"lr_exponent": [-3.0, -2.0]})
    TimedCrew(desk, random.Random(0), clock=clock).finish()
    deadline = deadline_of(desk, tmp_path)
    assert not deadline.searching
    assert deadline.why_over == ""


def test_what_is_used_is_stored_from_time_to_time(tmp_path: Path, clock: Clock) -> None:
    desk = desk_of("random", 2.5, tmp_path, clock)
    deadline = deadline_of(desk, tmp_path)
    assert desk.search.next_cohort()
    stored = set[float]()
    for _ in range(1000):
        clock.now += 0.1
        deadline.check()
        stored.add(desk.search.record.time[0])
    assert len(stored) == pytest.approx(100 / KEEP_S, abs=1)


def test_the_start_of_a_worker_is_no_part_of_the_speed(tmp_path: Path, clock: Clock) -> None:
    desk = desk_of("random", 2.5, tmp_path, clock)
    deadline = deadline_of(desk, tmp_path)
    plan = desk.search.next_cohort()
    assert plan
    clock.now += 600
    deadline.begin(plan.id, ago_s=1.0)
    clock.now += 99
    deadline.time.end(plan.numbers[0], 200)
    assert deadline.time.training_s == pytest.approx(200)
