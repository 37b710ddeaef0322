"""Law 6: K = 1 is PyTorch."""

from dataclasses import replace

import pytest

from espalier.core.programs import PROGRAMS
from espalier.core.training.cohort import Cohort
from espalier.core.training.setup import CohortSetup
from espalier.core.training.trial import Trial
from tests.laws.cases import Case, Engine, every_case
from tests.laws.pytorch import trained_by_pytorch

pytestmark = pytest.mark.each_value


@every_case
def test_one_lane_is_pytorch(engine: Engine, case: Case) -> None:
    """The same losses at every step and the same validation, by any program, to 1e-6 relative in float64."""
    hyper = replace(case.hyper, decay_points=(0.3, 0.7)) if case.schedule == "step" else case.hyper
    trial = Trial("t", 5, 30, hyper, reports=3)
    task, data = engine.tasks[case.task], engine.data[case.task]
    losses, validation = trained_by_pytorch(task, data, case, trial)
    compiled = str(case) in ("names with BatchNorm, AdamW, cosine after warm-up", "names, Nesterov, step")
    native = case.schedule == "step" and not case.warmup  # each step anew, in float64
    for program in PROGRAMS if compiled else ("plain", "native", "vmap") if native else ("plain", "vmap"):
        cohort = Cohort(CohortSetup(task, data, replace(case.structure, dtype="float64"), [trial], 1, program))
        *_, end = cohort.train()
        assert [step for step, _ in end.curve] == list(range(1, 31))
        assert [loss for _, loss in end.curve] == pytest.approx(losses, rel=1e-6)
        assert end.values["valid_loss"] == pytest.approx(validation, rel=1e-6)
