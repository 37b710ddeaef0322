"""Schedule-free optimizers as lanes: as a loop by hand over the package, and through checkpoints."""

import copy
from typing import Any

import pytest
import torch

from espalier.core.order import shuffled
from espalier.core.programs.schedule_free import ScheduleFreeAdamW, ScheduleFreeProgram, ScheduleFreeSGD
from espalier.core.tasks.digits import Digits
from espalier.core.training.cohort import Cohort
from espalier.core.training.events import Ended, Event
from espalier.core.training.setup import CohortSetup
from espalier.core.training.trial import Hyperparameters, Structure, Trial

schedulefree: Any = pytest.importorskip("schedulefree")
PROGRAMS = [(ScheduleFreeSGD, 1.0), (ScheduleFreeAdamW, 0.0025)]


def cohort_of(program: type[ScheduleFreeProgram], lr: float, steps: int = 60) -> Cohort:
    task = Digits()
    trial = Trial("0/0", 3, steps, Hyperparameters(lr=lr), reports=3)
    structure = Structure(schedule="constant", batch_size=16)
    made = program(task, structure.optimizer, torch.float32)
    return Cohort(CohortSetup(task, task.data(), structure, [trial], program=made))


def end_of(events: list[Event]) -> Ended:
    (end,) = [event for event in events if isinstance(event, Ended)]
    return end


@pytest.mark.parametrize(("program", "lr"), PROGRAMS)
def test_a_lane_trains_as_the_package_does_in_a_loop_by_hand(program: type[ScheduleFreeProgram], lr: float) -> None:
    cohort = cohort_of(program, lr)
    row = cohort.program.fresh_row(3)
    model = cohort.program.functions.module(row)
    optimizer = getattr(schedulefree, program.name)(model.parameters(), lr=lr, foreach=False)
    task, data = Digits(), cohort.data
    order = shuffled(3, len(data.train[0]), 16)
    for step in range(60):
        optimizer.train()
        batch = tuple(t[order(step, step + 1)[0]] for t in data.train)
        optimizer.zero_grad()
        task.loss(model, batch).backward()
        optimizer.step()
    optimizer.eval()
    model.eval()
    with torch.no_grad():
        loss = float(task.loss(model, data.valid))
    end = end_of(list(cohort.train()))
    assert end.status == "complete"
    assert end.values["valid_loss"] == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize(("program", "lr"), PROGRAMS)
def test_a_resumed_lane_is_the_uninterrupted_one(program: type[ScheduleFreeProgram], lr: float) -> None:
    whole = end_of(list(cohort_of(program, lr).train()))
    first, second = cohort_of(program, lr), cohort_of(program, lr)
    first.turn(most=17)
    second.load_state(copy.deepcopy(first.state()))
    assert end_of(list(second.train())).values == whole.values
