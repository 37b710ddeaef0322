"""Law 4: a NaN lane stays alone."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from espalier.core.optimizers import SGD, Adam
from espalier.core.order import shuffled
from espalier.core.programs import PROGRAMS
from espalier.core.training.cohort import Cohort
from espalier.core.training.events import Ended, Event
from espalier.core.training.setup import CohortSetup
from espalier.core.training.trial import Hyperparameters, Trial
from tests.laws.cases import (
    BATCH,
    DIVERGENT,
    REPORTS,
    STEPS,
    Case,
    Engine,
    batched,
    every_case,
    every_task,
    results,
    stacked,
)
from tests.laws.pytorch import trained_by_pytorch

pytestmark = pytest.mark.each_value


@every_case
def test_a_lane_that_diverges_does_not_change_its_neighbours(engine: Engine, case: Case) -> None:
    calm = [trial for trial in case.trials() if trial.id != "diverging"]
    wild = [Trial(f"wild {seed}", seed, STEPS, replace(case.hyper, lr=DIVERGENT), REPORTS) for seed in (3, 8)]
    beside = results(engine.cohort(case.task, case.structure, [wild[0], *calm, wild[1]], lanes=6).train())
    assert {trial.id: beside[trial.id] for trial in calm} == results(
        engine.cohort(case.task, case.structure, calm, lanes=4).train()
    )
    assert all(beside[trial.id][-1]["status"] == "diverged" for trial in wild)


LINEAR = Case("linear", "SGD", "constant", 0.0)
WILD = Trial("wild", 0, 150, Hyperparameters(lr=10.0), REPORTS)  # its loss grows at each step until it is infinite


def end_of_the_wild(engine: Engine, program: str) -> Event:
    """Return how it ends beside a calm trial, with a point of its curve for each step."""
    calm = replace(WILD, id="calm", hyper=Hyperparameters(lr=0.01))
    task, data, structure = engine.tasks["linear"], engine.data["linear"], replace(LINEAR.structure, dtype="float64")
    cohort = Cohort(
        CohortSetup(task, data, structure, [calm, WILD], 2, program, ratio_samples=37, curve_points=WILD.steps)
    )
    ends = {event.trial: event for event in cohort.train() if isinstance(event, Ended)}
    assert (ends["calm"].status, ends["wild"].status) == ("complete", "diverged")
    return ends["wild"]


@pytest.mark.parametrize("program", ("plain", "native", "vmap"))
def test_a_diverged_trial_ends_at_the_first_loss_that_is_no_number(engine: Engine, program: str) -> None:
    """As it is in an ordinary training loop, and in the midst of a turn; its curve has every loss before that one."""
    end = end_of_the_wild(engine, program)
    losses, _ = trained_by_pytorch(engine.tasks["linear"], engine.data["linear"], LINEAR, WILD)
    first = next(step for step, loss in enumerate(losses) if not math.isfinite(loss))
    assert end.step == first
    assert first % (WILD.steps // REPORTS) > 1, "in the midst of a turn"
    assert [step for step, _ in end.curve] == list(range(1, first + 1))
    assert [loss for _, loss in end.curve] == pytest.approx(losses[:first], rel=1e-6)


@pytest.mark.parametrize("program", ("plain", "native", "vmap"))
def test_the_ratios_of_a_diverged_trial_are_those_before_its_end(engine: Engine, program: str) -> None:
    end = end_of_the_wild(engine, program)
    assert [row[0] for row in end.ratios] == list(range(0, end.step, 4))
    assert all(math.isfinite(ratio) for row in end.ratios for ratio in row)


@every_task
@pytest.mark.parametrize("lanes", (2, 3, 5))
def test_gradients_beside_rows_of_nan_have_the_same_bits(engine: Engine, task_name: str, lanes: int) -> None:
    program = PROGRAMS["vmap"](engine.tasks[task_name], SGD())
    rows, batch = stacked(program, engine.data[task_name], range(lanes))
    losses, gradients, after = program.gradients(rows, batch)
    for lane in range(lanes):
        broken = {
            name: torch.full_like(tensor, math.inf if name.startswith("buffer.") else math.nan)
            for name, tensor in rows.items()
        }
        for name, tensor in rows.items():
            broken[name][lane] = tensor[lane]
        again = program.gradients(broken, batch)
        assert torch.equal(again[0][lane], losses[lane])
        assert all(torch.equal(again[1][name][lane], gradients[name][lane]) for name in gradients)
        assert all(torch.equal(again[2][name][lane], after[name][lane]) for name in after)
        assert not again[0].isfinite()[[k for k in range(lanes) if k != lane]].any()


@batched
@every_task
@pytest.mark.parametrize("lanes", (2, 3, 5))
def test_a_step_beside_rows_of_nan_has_the_same_bits(engine: Engine, task_name: str, lanes: int, program: str) -> None:
    made, train = PROGRAMS[program](engine.tasks[task_name], Adam()), engine.data[task_name].train
    index_NB = torch.stack([shuffled(k, len(train[0]), BATCH)(0, 1)[0] for k in range(lanes)])
    columns_C1 = torch.tensor([0.1, 0.5, 1e-8, 0.01, 0.1, 0.999, 0.001])[:, None, None]
    fresh, _ = stacked(made, engine.data[task_name], range(lanes))

    def stepped(rows: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        rows = {name: tensor.clone() for name, tensor in rows.items()}
        losses, _ = made.step(rows, train, index_NB, columns_C1.expand(-1, lanes, 1), (0, 0))
        return losses, rows

    losses, after = stepped(fresh)
    for lane in range(lanes):
        broken = {name: torch.full_like(tensor, math.nan) for name, tensor in fresh.items()}
        for name, tensor in fresh.items():
            broken[name][lane] = tensor[lane]
        again, rows = stepped(broken)
        assert torch.equal(again[lane], losses[lane])
        assert all(torch.equal(rows[name][lane], after[name][lane]) for name in rows)
