"""A loss that depends on Python's state trains by plain PyTorch, and says why."""

import copy
import functools
import itertools
import os
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from espalier.core.checks.checkup import check_up
from espalier.core.errors import BadInput
from espalier.core.optimizers import SGD
from espalier.core.programs import probe
from espalier.core.programs.choose import choose, hidden_state_reason
from espalier.core.programs.plain import PlainProgram
from espalier.core.programs.probe import TaskProbe
from espalier.core.programs.steps import autograd
from espalier.core.programs.task_functions import TaskFunctions
from espalier.core.python_state import detect
from espalier.core.task import Batch
from espalier.core.training.cohort import Cohort
from espalier.core.training.setup import CohortSetup
from espalier.core.training.trial import Hyperparameters, Structure
from tests.core.python_state.counting_tasks import COUNTS, SEEN, Attribute, Global, OfTheModule, reset_globals
from tests.core.python_state.odd_tasks import FromTheBegin
from tests.core.python_state.shared_tasks import APART, FREE, SEEDED, SHARED, Clock, Environment, Flip, Generator, Mixup
from tests.core.python_state.stateful import BATCH, STEPS, Base, batch_of, trials


@pytest.mark.sampled(16)
@pytest.mark.parametrize("make", [*APART, *SHARED, *SEEDED])
def test_a_loss_with_state_in_python_trains_by_plain_and_says_why(make: type[Base]) -> None:
    reset_globals()
    task = make()
    name, why = choose(task, batch_of(task), 8, work=10**7)
    assert name == "plain"
    assert why.startswith("one lane at a time: ") and "loss()" in why and "\n" not in why
    for wanted in ("vmap", "native", "compiled", "captured"):
        assert choose(task, batch_of(task), 8, wanted)[0] == "plain"
        with pytest.raises(BadInput, match=r"loss\(\)"):
            Cohort(CohortSetup(task, task.data(), Structure(batch_size=BATCH), trials(), 8, wanted))


@pytest.mark.parametrize("make", FREE)
def test_a_loss_without_state_in_python_may_be_written_down(make: type[Base]) -> None:
    task = make()
    assert hidden_state_reason(task, batch_of(task)) == ""
    assert choose(task, batch_of(task), 8, work=10**7)[0] == "native"


def test_the_sentence_names_what_is_counted_and_what_to_do_instead() -> None:
    said = hidden_state_reason(Attribute(), batch_of(Attribute()))
    assert said == "loss() counts its calls in self.n; keep the count in a buffer, or take `step`"
    reset_globals()
    assert "COUNTS" in hidden_state_reason(Global(), batch_of(Global()))
    assert "model.calls" in hidden_state_reason(OfTheModule(), batch_of(OfTheModule()))
    assert hidden_state_reason(Flip(), batch_of(Flip())) == "loss() draws from Python's random"
    assert hidden_state_reason(Mixup(), batch_of(Mixup())) == "loss() draws from numpy.random"
    assert "the clock (time.time)" in hidden_state_reason(Clock(), batch_of(Clock()))


@pytest.mark.parametrize("make", [*APART, *SEEDED])
def test_looking_for_state_moves_none(make: type[Base]) -> None:
    reset_globals()
    task = make()
    states = random.getstate(), np.random.get_state(legacy=False)["state"]["key"].tolist(), torch.get_rng_state()

    def looks() -> str:
        return re.sub(" at 0x[0-9a-f]+", "", str(vars(task)) + str((COUNTS, SEEN)))  # an iterator may be another one

    before = looks()
    PlainProgram(task, SGD()).hidden(batch_of(task), task.data().valid)
    assert looks() == before
    assert random.getstate() == states[0]
    assert np.random.get_state(legacy=False)["state"]["key"].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])


class TakesWholeBatches(Attribute):
    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return super().loss(model, tuple(tensor.reshape(BATCH, -1) for tensor in batch))


@pytest.mark.parametrize("make", [Attribute, FromTheBegin, Mixup, TakesWholeBatches, Base])
def test_a_slow_loss_is_looked_at_with_few_examples_and_shows_the_same(
    make: type[Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = hidden_state_reason(make(), batch_of(make()))
    sizes = list[int]()

    def counted(functions: TaskFunctions, rows: Any, batch: Batch, *more: Any) -> Any:
        sizes.append(batch[0].shape[1])
        return autograd(functions, rows, batch, *more)

    monkeypatch.setattr(probe, "autograd", counted)
    task = make()
    looked = TaskProbe(TaskFunctions(task), slow_s=0.0)
    assert looked.hidden(batch_of(task), task.data().valid).reason == reason
    assert sizes[0] == BATCH and probe.FEW_OF_SLOW in sizes
    assert getattr(task, "n", 0) == 0 and getattr(task, "start", None) is None


def test_a_first_call_that_takes_long_makes_no_loss_slow() -> None:
    """As the first call in a process does, which imports and compiles."""
    for times, step_s in (
        (itertools.chain([0.0, 1.0], itertools.count(1.0, 0.001)), 0.001),
        (itertools.count(0.0, 1.0), 1.0),
    ):
        looked = TaskProbe(TaskFunctions(Base()), clock=functools.partial(next, times))
        looked.hidden(batch_of(Base()), Base().data().valid)
        assert looked.step_s == pytest.approx(step_s)


def test_the_check_says_it() -> None:
    task = Attribute()
    found = check_up(task, Structure(batch_size=BATCH), Hyperparameters(lr=0.1), STEPS, [-2.0, -1.0, 0.0])
    states = [finding for finding in found.findings if finding.what == "state"]
    assert [state.level for state in states] == ["warn"] and "self.n" in states[0].sentence
    free = check_up(Base(), Structure(batch_size=BATCH), Hyperparameters(lr=0.1), STEPS, [-2.0, -1.0, 0.0])
    assert {finding.what: finding.level for finding in free.findings}["state"] == "pass"


class Opaque(Base):
    """Holds what cannot be looked at."""

    def __init__(self) -> None:
        class Closed:
            @property
            def __dict__(self) -> Any:  # type: ignore[override]
                raise RuntimeError("nobody looks in here")

        self.closed = Closed()


def test_what_cannot_be_looked_at_trains_by_plain() -> None:
    assert hidden_state_reason(Opaque(), batch_of(Opaque())) == (
        "what loss() keeps in Python cannot be looked at (RuntimeError: nobody looks in here)"
    )


def test_a_task_that_raises_has_no_state_to_be_told_of() -> None:
    class Raises(Base):
        def share(self, model: nn.Module) -> float:
            raise RuntimeError("no")

    assert hidden_state_reason(Raises(), batch_of(Raises())) == ""


@pytest.mark.parametrize("what", ["environment", "random", "numpy"])
def test_what_another_thread_does_to_the_process_is_no_state_of_the_loss(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Ray does while it starts; here just while the one call is watched that tells."""
    clocks = detect.recording_reads

    @contextmanager
    def beside() -> Iterator[list[str]]:
        with clocks() as asked:
            if what == "environment":
                monkeypatch.setenv("SOMEBODY_ELSES", os.environ.get("SOMEBODY_ELSES", "") + "x")
            random.random() if what == "random" else np.random.random()
            yield asked

    monkeypatch.setattr(detect, "recording_reads", beside)
    assert hidden_state_reason(Base(), batch_of(Base())) == ""
    for make, words in ((Environment, "the environment"), (Flip, "Python's random"), (Mixup, "numpy.random")):
        assert words in hidden_state_reason(make(), batch_of(make()))


def test_what_python_notes_on_a_class_that_is_copied_is_no_state() -> None:
    class Fresh(Attribute):
        """Nothing has copied one of these yet: the first copy sets __slotnames__ on the class."""

    task = Fresh()
    state = PlainProgram(task, SGD()).hidden(*(split[:2] for split in (task.data().train, task.data().valid)))
    assert state.reason and "__slotnames__" not in vars(Fresh)
    copy.copy(task)
    assert "__slotnames__" in vars(Fresh) and state.take_new_variables() == {}


def test_what_a_snapshot_cannot_keep_apart_is_named() -> None:
    task = Generator()
    hidden = PlainProgram(task, SGD()).hidden(batch_of(task), task.data().valid)
    assert hidden.shared == ["self.weights"] and not hidden.variables and "share self.weights" in hidden.reason
