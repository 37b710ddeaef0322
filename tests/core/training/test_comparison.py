"""A program whose steps are PyTorch's no more is found out; comparing changes no number."""

from typing import Any

import pytest
from torch import nn

from espalier.core.errors import Differs
from espalier.core.optimizers import SGD, Adam
from espalier.core.programs import PROGRAMS
from espalier.core.training.cohort import Cohort
from espalier.core.training.events import Ended
from espalier.core.training.setup import CohortSetup
from espalier.core.training.trial import Hyperparameters, Structure, Trial
from tests.core.python_state.stateful import BATCH, STEPS, Base, trials


class Drifts(Base):
    """Somebody changes what the loss looks at, long after a step was written down."""

    weight = 1.0

    def share(self, model: nn.Module) -> float:
        return self.weight


@pytest.mark.parametrize("program", [name for name in PROGRAMS if name not in ("plain", "compiled")])
def test_a_program_whose_steps_are_pytorchs_no_more_is_found_out(program: str) -> None:
    task = Drifts()
    cohort = Cohort(CohortSetup(task, task.data(), Structure(batch_size=BATCH), trials(), 8, program))
    cohort.comparison.due, cohort.comparison.every = [0], 20
    for _ in range(3):
        cohort.turn(10)
    task.weight = 1.01
    with pytest.raises(Differs, match="by PyTorch"):
        list(cohort.train())


@pytest.mark.parametrize("optimizer", [SGD(), Adam()])
@pytest.mark.parametrize("program", [name for name in PROGRAMS if name not in ("plain", "compiled")])
def test_comparing_changes_no_number_and_rounding_is_no_difference(program: str, optimizer: Any) -> None:
    def curves(at_every_stretch: bool) -> dict[str, Any]:
        task = Base()
        of = [*trials(), *(Trial(f"{lr}", 0, STEPS, Hyperparameters(lr=lr), 3) for lr in (3.0, 1e12))]
        cohort = Cohort(CohortSetup(task, task.data(), Structure(optimizer, "constant", BATCH), of, 8, program))
        if at_every_stretch:
            cohort.comparison.due, cohort.comparison.every = [0], 0
        return {e.trial: (e.status, e.curve, e.reports) for e in cohort.train() if isinstance(e, Ended)}

    assert str(curves(True)) == str(curves(False))
