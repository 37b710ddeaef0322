"""Watchers: they hear the same events, add to reports, judge and stop, and change no trial's numbers."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from espalier.core import checkpoint
from espalier.core.errors import UserFault
from espalier.core.measures.verdicts import Verdict
from espalier.core.optimizers import SGD
from espalier.core.task import Batch, Data, Task
from espalier.core.training.cohort import Cohort
from espalier.core.training.events import Ended, Event, Reported
from espalier.core.training.setup import CohortSetup
from espalier.core.training.trial import Hyperparameters, Structure, Trial
from espalier.core.training.watch import Activations, Health, Look, Ratios, Stops, Watcher

STRUCTURE = Structure(SGD(), "step", 7)


def trials(count: int = 3) -> list[Trial]:
    """Return trials of which the first two share a trunk for half of their steps."""
    points = [(0.5,), (0.9,), (0.9,)]
    rates = [0.1, 0.1, 0.02]
    return [Trial(f"{k}", 0, 40, Hyperparameters(rates[k], points[k]), 4) for k in range(count)]


def cohort(task: Task, *watchers: Watcher, count: int = 3, program: str = "vmap") -> Cohort:
    own = [*watchers, Ratios(), Health()]
    return Cohort(CohortSetup(task, task.data(), STRUCTURE, trials(count), 2, program, watchers=own))


class Listener(Watcher):
    """Writes down what it hears, by the method that heard it."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Event]] = []

    def start(self, event: Event, cohort: Stops) -> None:
        self.heard.append(("start", event))

    def fork(self, event: Event, cohort: Stops) -> None:
        self.heard.append(("fork", event))

    def report(self, event: Event, cohort: Stops) -> None:
        self.heard.append(("report", event))

    def finish(self, event: Event, cohort: Stops) -> None:
        self.heard.append(("finish", event))

    def stop(self, event: Event, cohort: Stops) -> None:
        self.heard.append(("stop", event))


def test_a_watcher_hears_every_event_once_and_in_order(small_tasks: Mapping[str, Task]) -> None:
    listener = Listener()
    events = list(cohort(small_tasks["names"], listener).train())
    assert [event for _, event in listener.heard] == events
    assert all(kind == event.kind for kind, event in listener.heard)
    assert Counter(kind for kind, _ in listener.heard) == {"start": 3, "fork": 1, "report": 12, "finish": 3}


class Norm(Watcher):
    """Adds the norm of the weights, in ten lines."""

    def measure(self, look: Look) -> Mapping[str, float]:
        parameters = look.model().parameters()
        return {"weight_norm": torch.cat([p.flatten() for p in parameters]).norm().item()}


@pytest.mark.parametrize("program", ["plain", "vmap"])
def test_what_a_watcher_measures_is_part_of_the_report(small_tasks: Mapping[str, Task], program: str) -> None:
    task = small_tasks["names"]
    running = cohort(task, Norm(), count=1, program=program)
    *_, last, end = running.train()
    assert isinstance(last, Reported)
    row = running.pool.rows.row(0)
    expected = torch.cat([t.flatten() for name, t in row.items() if name.startswith("theta.")]).norm().item()
    assert last.values["weight_norm"] == pytest.approx(expected, rel=1e-5)
    assert end.reports[-1][1]["weight_norm"] == end.values["weight_norm"] == last.values["weight_norm"]


def test_watchers_change_no_numbers(small_tasks: Mapping[str, Task]) -> None:
    task = small_tasks["names with BatchNorm"]

    def stripped(events: list[Event]) -> list[Event]:
        mine = ("weight_norm", "activation_saturated")

        def others(values: Mapping[str, float]) -> dict[str, float]:
            return {name: value for name, value in values.items() if name not in mine}

        def of(event: Event) -> Event:
            if isinstance(event, Ended):
                reports = [(step, others(values)) for step, values in event.reports]
                return replace(event, values=others(event.values), reports=reports)
            return replace(event, values=others(event.values)) if isinstance(event, Reported) else event

        return [of(event) for event in events]

    watched = list(cohort(task, Norm(), Activations()).train())
    assert 0 <= watched[-1].values["activation_saturated"] <= 1, "tanh is called as a function here"
    assert stripped(watched) == stripped(list(cohort(task).train()))


class Impatient(Watcher):
    """Stops whoever reports a loss above a line."""

    def report(self, event: Event, cohort: Stops) -> None:
        if event.trial == "2":
            cohort.stop(event.trial, "it was the third")


def test_a_watcher_may_stop_a_trial(small_tasks: Mapping[str, Task]) -> None:
    ends = {e.trial: e for e in cohort(small_tasks["names"], Impatient()).train() if isinstance(e, Ended)}
    assert {trial: end.status for trial, end in ends.items()} == {"0": "complete", "1": "complete", "2": "stopped"}
    assert ends["2"].evidence == "it was the third"
    assert ends["2"].step == 10


class Gloomy(Watcher):
    def judge(self, look: Look) -> Verdict | None:
        return Verdict("frozen", "it is cold") if look.trial.id == "1" else None


def test_the_first_watcher_with_a_verdict_gives_it(small_tasks: Mapping[str, Task]) -> None:
    ends = {event.trial: event for event in cohort(small_tasks["names"], Gloomy()).train() if isinstance(event, Ended)}
    assert (ends["1"].verdict, ends["1"].evidence) == ("frozen", "it is cold")
    assert ends["0"].verdict not in ("", "frozen")


class Counting(Watcher):
    """Remembers, trial by trial, how often it was asked."""

    def measure(self, look: Look) -> Mapping[str, float]:
        look.memory["asked"] = look.memory.get("asked", 0) + 1
        return {"asked": look.memory["asked"]}


def test_what_a_watcher_remembers_survives_a_checkpoint(small_tasks: Mapping[str, Task], tmp_path: Path) -> None:
    task = small_tasks["names"]
    whole = list(cohort(task, Counting()).train())
    first = cohort(task, Counting())
    events = [event for _ in range(3) for event in first.turn()]
    checkpoint.save(tmp_path / "cohort.pt", first.state())
    second = cohort(task, Counting())
    second.load_state(checkpoint.load(tmp_path / "cohort.pt"))
    events += list(second.train())
    assert events == whole
    assert [event.values["asked"] for event in events if isinstance(event, Ended)] == [4.0] * 3


class Deep(Task):
    """Two hidden layers whose activations are known: saturated tanh, dead ReLU."""

    def model(self) -> nn.Module:
        linear, dead = nn.Linear(4, 3), nn.Linear(3, 2)
        with torch.no_grad():
            linear.weight.mul_(0)
            linear.bias.copy_(torch.tensor([9.0, 0.1, -9.0]))
            dead.weight.mul_(0)
            dead.bias.copy_(torch.tensor([-1.0, 1.0]))
        return nn.Sequential(linear, nn.Tanh(), dead, nn.ReLU(), nn.Linear(2, 1))

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return model(batch[0]).square().mean() * 1e-6

    def data(self) -> Data:
        return Data((torch.ones(21, 4),), (torch.ones(9, 4),))


def test_saturated_and_dead_activations_are_counted() -> None:
    *_, end = cohort(Deep(), Activations(), count=1).train()
    assert end.values["activation_saturated"] == pytest.approx(2 / 3)
    assert end.values["activation_dead"] == pytest.approx(1 / 2)


class Wrong(Watcher):
    """Raises, or returns something, in one of its methods."""

    def __init__(self, method: str, answer: object):
        self.method, self.answer = method, answer

    def _answer(self, method: str, otherwise: Any) -> Any:
        if self.method != method:
            return otherwise
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def measure(self, look: Look) -> Mapping[str, float]:
        return self._answer("measure", {})

    def judge(self, look: Look) -> Verdict | None:
        return None if look.over else self._answer("judge", None)

    def report(self, event: Event, cohort: Stops) -> None:
        self._answer("report", None)


RAISED = ZeroDivisionError("division by zero")


@pytest.mark.parametrize(
    ("method", "answer", "words"),
    [
        ("measure", RAISED, r"raised ZeroDivisionError: division by zero \(test_watch.py, line \d+\)"),
        ("measure", 3, "returned 3; it must return numbers by name"),
        ("measure", {"a": "x"}, "returned 'x' as a; it must return a number"),
        ("measure", {"a": torch.ones(1)}, r"returned tensor\(\[1.\]\) as a; it must return a number"),
        ("judge", RAISED, r"raised ZeroDivisionError: division by zero \(test_watch.py, line \d+\)"),
        ("judge", "hot", "returned 'hot'; it must return a Verdict or None"),
    ],
)
def test_a_watcher_that_is_wrong_fails_the_trial_and_is_named_with_its_method(
    small_tasks: Mapping[str, Task], method: str, answer: object, words: str
) -> None:
    ends = [e for e in cohort(small_tasks["thermometer"], Wrong(method, answer)).train() if isinstance(e, Ended)]
    assert [end.status for end in ends] == ["failed"] * 3
    assert re.fullmatch(rf"watchers: Wrong.{method}\(\) {words}, at step 10", ends[0].evidence), ends[0].evidence


def test_a_watcher_that_raises_over_events_is_named_too(small_tasks: Mapping[str, Task]) -> None:
    with pytest.raises(UserFault, match=r"^watchers: Wrong.handle\(\) raised ZeroDivisionError: .*test_watch.py, line"):
        list(cohort(small_tasks["thermometer"], Wrong("report", RAISED)).train())


def test_numbers_of_numpy_become_plain_ones(small_tasks: Mapping[str, Task]) -> None:
    events = cohort(small_tasks["thermometer"], Wrong("measure", {"a": np.float32(0.5), "b": 3})).train()
    values = next(event.values for event in events if isinstance(event, Reported))
    assert (values["a"], type(values["a"])) == (0.5, float) and values["b"] == 3
