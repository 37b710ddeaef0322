"""Whatever a task does to its batch, its model and its parameters: a program trains as PyTorch would, or refuses."""

from collections.abc import Mapping

import pytest
import torch

from espalier.core.checks import preflight
from espalier.core.errors import BadInput, Differs
from espalier.core.native.tensor_refs import NotNative
from espalier.core.optimizers import SGD
from espalier.core.programs import PROGRAMS
from espalier.core.programs.choose import choose
from espalier.core.task import Task
from espalier.core.training.cohort import Cohort
from espalier.core.training.events import Ended
from espalier.core.training.setup import CohortSetup
from espalier.core.training.trial import Hyperparameters, Structure, Trial
from espalier.core.training.watch import Look, Watcher
from tests.core.programs.liberties import TASKS, Base
from tests.core.pytorch import by_pytorch, trained_by_pytorch, validation_loss

pytestmark = [
    pytest.mark.each_value,
    pytest.mark.filterwarnings("ignore:There is a performance drop"),  # vmap's, of its own rules
]
STEPS, BATCH = 30, 12
REFUSALS = (BadInput, NotNative, Differs, RuntimeError)  # never other numbers


def trials() -> list[Trial]:
    return [Trial(str(k), k % 2, STEPS, Hyperparameters(lr=0.1 / (k + 1)), 3) for k in range(3)]


SLOW = ("compiled", "captured")  # the one compiles for minutes, the other is vmap's list of operations


@pytest.mark.sampled(16)
@pytest.mark.parametrize(
    "program", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in PROGRAMS]
)
@pytest.mark.parametrize("make", TASKS)
def test_a_program_trains_as_pytorch_would_or_refuses(make: type[Task], program: str) -> None:
    task = make()
    data = task.data()
    before = [tensor.clone() for tensor in (*data.train, *data.valid)]
    structure = Structure(SGD(momentum=False), "constant", BATCH)
    try:
        cohort = Cohort(CohortSetup(task, data, structure, trials(), 4, program, curve_points=STEPS))
        ends = {event.trial: event for event in cohort.train() if isinstance(event, Ended)}
    except REFUSALS:
        assert program != "plain"
        return
    for trial in trials():
        reference = make()
        losses, model = trained_by_pytorch(reference, trial, BATCH)
        valid = validation_loss(reference, model, reference.data())
        assert [loss for _, loss in ends[trial.id].curve] == pytest.approx(losses, rel=2e-5, abs=1e-7)
        assert ends[trial.id].values["valid_loss"] == pytest.approx(valid, rel=2e-5)
    for tensor, was in zip((*data.train, *data.valid), before, strict=True):
        assert torch.equal(tensor, was), "the data belong to all trials"


@pytest.mark.sampled(8)
@pytest.mark.parametrize("make", TASKS)
def test_what_is_chosen_by_itself_trains_it(make: type[Task]) -> None:
    task = make()
    data = task.data()
    before = [tensor.clone() for tensor in (*data.train, *data.valid)]
    preflight.check(task, BATCH)
    program, _ = choose(task, tuple(tensor[:BATCH] for tensor in data.train), 4, work=30_000)
    structure = Structure(SGD(momentum=False), "constant", BATCH)
    cohort = Cohort(CohortSetup(task, data, structure, trials(), 4, program, curve_points=STEPS))
    ends = {event.trial: event for event in cohort.train() if isinstance(event, Ended)}
    for trial in trials():
        losses = by_pytorch(make(), trial, BATCH)
        assert [loss for _, loss in ends[trial.id].curve] == pytest.approx(losses, rel=2e-5, abs=1e-7)
    for tensor, was in zip((*data.train, *data.valid), before, strict=True):
        assert torch.equal(tensor, was)


def test_a_watcher_that_changes_its_examples_changes_nobody_elses() -> None:
    class Doubles(Watcher):
        def measure(self, look: Look) -> Mapping[str, float]:
            return {"sum": float(look.batch[0].mul_(2).sum())}

    task = Base()
    data = task.data()
    before = data.valid[0].clone()
    cohort = Cohort(CohortSetup(task, data, Structure(batch_size=BATCH), trials(), 4, "vmap", watchers=(Doubles(),)))
    ends = [event for event in cohort.train() if isinstance(event, Ended)]
    assert len({event.values["sum"] for event in ends}) == 1
    assert torch.equal(data.valid[0], before)
