"""A loss that takes the step, or the share of the budget, gets it in every program."""

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor, nn

from espalier.core.checks import preflight
from espalier.core.checks.checkup import check_up
from espalier.core.programs import PROGRAMS
from espalier.core.task import Batch, Task
from espalier.core.training.cohort import Cohort
from espalier.core.training.events import Ended
from espalier.core.training.setup import CohortSetup
from espalier.core.training.trial import Hyperparameters, Structure
from tests.core.python_state.stateful import BATCH, PLAIN_SGD, STEPS, Base, F, ends, trials
from tests.core.pytorch import by_pytorch


class Annealed(Base):
    def loss(self, model: nn.Module, batch: Batch, step: Tensor) -> Tensor:  # type: ignore[override]
        return F.mse_loss(model(batch[0]), batch[1]) * (1 + (step / 40).clamp(max=1))


class Shared(Base):
    def loss(self, model: nn.Module, batch: Batch, step: Tensor, share: Tensor) -> Tensor:  # type: ignore[override]
        return F.mse_loss(model(batch[0]), batch[1]) * (1 + share + 0 * step)


class ByName(Base):
    def loss(self, model: nn.Module, batch: Batch, share: Any) -> Tensor:  # type: ignore[override]
        return F.mse_loss(model(batch[0]), batch[1]) * (1 + share)


class FromNothing(Base):
    """Its weight is zero at the first step."""

    def loss(self, model: nn.Module, batch: Batch, step: Tensor) -> Tensor:  # type: ignore[override]
        return F.mse_loss(model(batch[0]), batch[1]) * (step / 40).clamp(max=1)


def test_a_loss_that_begins_at_zero_is_no_loss_that_cannot_fall() -> None:
    assert preflight.check(FromNothing(), BATCH).first_loss == 0
    found = check_up(FromNothing(), Structure(batch_size=BATCH), Hyperparameters(lr=0.1), STEPS, [-2.0, -1.0, 0.0])
    assert found.passed
    assert ends(FromNothing(), trials(1), "native")["0"].status == "complete"


class NoMetrics(Annealed):
    metrics = Task.metrics


CLOCKED = [(Annealed, lambda s: min(1, s / 40)), (Shared, lambda s: s / STEPS), (ByName, lambda s: s / STEPS)]


@pytest.mark.each_value
@pytest.mark.parametrize("program", [name for name in PROGRAMS if name != "compiled"])
@pytest.mark.parametrize(("make", "weight"), CLOCKED)
def test_a_loss_gets_the_step_and_the_share_in_every_program(
    make: type[Base], weight: Callable[[int], float], program: str
) -> None:
    class Told(Base):
        def __init__(self) -> None:
            self.n = -1

        def share(self, model: nn.Module) -> float:
            self.n += 1
            return weight(self.n)

    for trial in trials():
        expected = by_pytorch(Told(), trial, BATCH)
        found = ends(make(), trials(), program, curve_points=STEPS)[trial.id]
        assert [loss for _, loss in found.curve] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("program", [name for name in PROGRAMS if name != "compiled"])
def test_a_validation_by_the_loss_gets_the_steps_that_were_trained(program: str) -> None:
    found = ends(NoMetrics(), trials(1), program)["0"]
    task = Annealed()
    cohort = Cohort(CohortSetup(task, task.data(), PLAIN_SGD, trials(1), 1))
    end = next(event for event in cohort.train() if isinstance(event, Ended))
    plain = {step: values["valid_loss"] for step, values in end.reports}
    for step, values in found.reports:
        assert values["valid_loss"] == pytest.approx(plain[step] * (1 + min(1, step / 40)), rel=1e-4)
