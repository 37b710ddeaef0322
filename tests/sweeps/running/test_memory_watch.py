"""The memory of a sweep of processes: one line where there is too little of it, and what trials took in the results."""

import csv
import io
from pathlib import Path

import pytest

from espalier.core.training.events import Event, Parked
from espalier.core.training.memory import Memory
from espalier.sweeps.results.figures import table_csv
from espalier.sweeps.running.memory_watch import MemoryWatch
from espalier.sweeps.running.progress import Progress
from espalier.sweeps.spec.parts import Resources
from tests.sweeps.made import end, row, spec_with
from tests.sweeps.search.desk import Desk

GIB = 1 << 30


def watched(events: list[Event], at_once: int = 4, machine: int = 64 * GIB, **resources: float) -> list[str]:
    progress = Progress.of("warm", spec_with(), 0.0)
    watch = MemoryWatch(Resources.model_validate(resources), at_once, True, progress)
    watch.machine = machine
    for event in events:
        watch.take([event])
    return progress.notes


def ended(number: int, **memory: int) -> Event:
    return end(f"{number}/0", 40, 1.0, memory=memory)


def test_the_first_trial_that_shows_too_little_memory_is_one_line() -> None:
    trials = [ended(0, main=10 * GIB), ended(1, main=20 * GIB), ended(2, main=30 * GIB)]
    line = "memory: a trial takes 20 GiB, and 4 train at once: 80 GiB, of 64 GiB here; write resources.cohorts: 3"
    assert watched(trials) == [line]
    assert watched(trials, at_once=2) == []
    assert watched(trials, machine=0) == [], "on other machines nobody knows it"
    parked = Parked("1/0", 20, end("1/0", 20, 1.0, "stopped", memory={"main": 20 * GIB}))
    assert watched([parked]) == [line]
    assert watched([end("1/0", 40, 1.0)]) == []


@pytest.mark.parametrize(("gpus", "warned"), [(0.25, True), (0.5, False), (1, False), (0, False)])
def test_more_than_the_part_of_a_gpu_is_one_line(gpus: float, warned: bool) -> None:
    trials = [ended(k, main=GIB, gpu=30 * GIB, gpu_total=80 * GIB) for k in range(2)]
    line = "memory: a trial takes 30 GiB of a GPU of 80 GiB, of which resources.gpus, 0.25, is 20 GiB; write gpus: 0.5"
    assert watched(trials, gpus=gpus) == [line] * warned


def test_what_a_trial_took_is_kept_with_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path, spec_with(trials=2))
    while plan := desk.search.next_cohort():
        desk.hear([ended(trial.number, main=(trial.number + 1) * GIB) for trial in plan.trials])
        desk.search.cohort_over(plan.id)
    desk.settle()
    results = desk.take_up().record.results()
    assert [trial.memory for trial in results] == [Memory(GIB), Memory(2 * GIB)]


def test_the_table_has_what_is_known_of_memory() -> None:
    assert "memory" not in table_csv([row(0, 1.0)])
    trials = [row(0, 1.0, memory=Memory(3 * GIB, GIB // 2, GIB)), row(1, 1.0)]
    known = list(csv.DictReader(io.StringIO(table_csv(trials))))
    assert [(each["memory_gib"], each["gpu_memory_gib"]) for each in known] == [("3.000", "0.500"), ("", "")]
