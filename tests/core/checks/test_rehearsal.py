"""The rehearsal of watchers: a fault of any method is found on a trial of one step, and a sound watcher passes it."""

from collections.abc import Mapping
from typing import Any

import pytest
from torch import Tensor, nn

from espalier.core.checks.rehearsal import REHEARSED, rehearse
from espalier.core.errors import BadInput
from espalier.core.measures.verdicts import Verdict
from espalier.core.task import Batch
from espalier.core.tasks.thermometer import Thermometer
from espalier.core.training.cohort import Cohort
from espalier.core.training.events import Ended, Event, Reported, Started
from espalier.core.training.setup import CohortSetup
from espalier.core.training.trial import Hyperparameters, Structure, Trial
from espalier.core.training.watch import Look, Stops, Watcher

TRIAL = Trial("0/0", 3, 400, Hyperparameters(lr=0.001), reports=4)
STRUCTURE = Structure(batch_size=11)


class Notes(Watcher):
    """Writes down what it is shown, in shapes and steps."""

    def __init__(self) -> None:
        self.notes: list[tuple[Any, ...]] = []

    def note(self, what: str, *values: Any) -> None:
        self.notes.append((what, *values))

    def measure(self, look: Look) -> Mapping[str, float]:
        self.note("measure", *shape(look))
        return {"mine": 1.0}

    def judge(self, look: Look) -> Verdict | None:
        self.note("judge", *shape(look))
        return None

    def start(self, event: Started, cohort: Stops) -> None:
        self.note("start", event.step)

    def report(self, event: Reported, cohort: Stops) -> None:
        assert event.values["mine"] == 1.0
        self.note("report", event.step, len(event.curve), [len(row) for row in event.ratios])
        cohort.stop(event.trial, "to see that it does nothing")

    def finish(self, event: Ended, cohort: Stops) -> None:
        self.note("finish", event.step, event.status, len(event.curve), len(event.ratios), len(event.reports))
        assert cohort.leader(event.trial) == event.trial


def shape(look: Look) -> tuple[Any, ...]:
    assert look.model()(look.batch[0][:, None]).shape[0] == len(look.batch[0])
    ratios = [list(look.ratio_steps), [len(row) for row in look.update_ratios]]
    return look.step, [step for step, _ in look.curve], *ratios, look.over, sorted({*look.values} - {"mine"})


class Layers(Thermometer):
    """The same with matrices, whose ratios are sampled."""

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1))

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return ((model(batch[0][:, None])[:, 0] - batch[1]) ** 2).mean()


def tried(*watchers: Watcher, task: Thermometer | None = None) -> None:
    task = task or Layers()
    rehearse(watchers, task, task.data(), STRUCTURE, TRIAL, samples=20)


@pytest.mark.parametrize("task", [Layers(), Thermometer()])
def test_a_watcher_is_shown_what_it_is_shown_in_a_sweep_at_the_first_report_and_at_the_end(task: Thermometer) -> None:
    rehearsed, real = Notes(), Notes()
    tried(rehearsed, task=task)
    unstopped = Cohort(CohortSetup(task, task.data(), STRUCTURE, [TRIAL], 1, "plain", "cpu", 20, watchers=[real]))
    unstopped.stop = lambda trial, reason: None  # type: ignore[method-assign]
    unstopped.leader = lambda trial: trial  # type: ignore[method-assign]
    list(unstopped.train())
    steps = 100
    early = [note for note in real.notes if note[0] == "start" or note[1] == steps]
    late = [note for note in real.notes if note[0] in ("judge", "finish") and note[1] == TRIAL.steps and True in note]
    finish = [note for note in real.notes if note[0] == "finish"]
    assert rehearsed.notes == [*early, *late, *finish]


def test_its_trial_is_none_of_the_sweep() -> None:
    trials: list[str] = []

    class Asks(Watcher):
        def start(self, event: Event, cohort: Stops) -> None:
            trials.append(event.trial)

    tried(Asks())
    assert trials == [str(REHEARSED)] == ["-1/0"]


class Raises(Watcher):
    """Raises in one of its methods."""

    def __init__(self, method: str):
        def fails(*_: object) -> None:
            self.lacking  # type: ignore[attr-defined]  # noqa: B018

        setattr(self, method, fails)


@pytest.mark.parametrize("method", ["start", "measure", "judge", "report", "finish"])
def test_a_method_that_raises_is_named(method: str) -> None:
    with pytest.raises(BadInput) as refusal:
        tried(Notes(), Raises(method))
    named = method if method in ("measure", "judge") else "handle"
    assert f"watchers: Raises.{named}() raised AttributeError: 'Raises' object has no attribute" in str(refusal.value)
    assert "test_rehearsal.py, line" in str(refusal.value)


class Wrong(Watcher):
    """Returns no numbers."""

    def measure(self, look: Look) -> Mapping[str, float]:
        return 3  # type: ignore[return-value]


class LateTrouble(Watcher):
    """Needs what only a later turn has, or a disk with room."""

    def report(self, event: Event, cohort: Stops) -> None:
        raise OSError(28, "No space left on device")


def test_what_is_no_number_is_refused_and_a_full_disk_is_not() -> None:
    with pytest.raises(BadInput, match="must return numbers by name"):
        tried(Wrong())
    tried(LateTrouble())


def test_a_task_that_cannot_train_is_left_to_the_checks_of_the_task() -> None:
    class Broken(Thermometer):
        def loss(self, model: Any, batch: Any) -> Any:
            raise ValueError("no")

    tried(Raises("report"), task=Broken())
