"""Law 1: a lane equals a solo run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from espalier.core.optimizers import SGD
from espalier.core.programs.machine_code import NativeProgram
from espalier.core.task import Task
from espalier.core.training.trial import Hyperparameters, Structure, Trial
from tests.laws.cases import (
    BATCH,
    OPTIMIZERS,
    REPORTS,
    STEPS,
    Case,
    Engine,
    Regression,
    batched,
    crowds,
    every_case,
    lecture_sizes,
    results,
    through,
)
from tests.tiers import examples

pytestmark = pytest.mark.each_value


@batched
@every_case
def test_a_lane_equals_a_solo_run(engine: Engine, case: Case, program: str) -> None:
    """An odd number of lanes with refills and parked branches, and a lane for everyone: the numbers of the solo run."""
    alone = engine.all_alone(case.task, case.structure, case.trials(), program)
    for lanes in (3, 5):
        together = engine.cohort(case.task, case.structure, case.trials(), lanes, program)
        assert results(together.train()) == alone, f"{lanes} lanes"


@examples(40)
@given(crowd=crowds(most=9), lanes=st.integers(1, 9))
def test_any_crowd_in_any_number_of_lanes_equals_its_solo_runs(
    engine: Engine, crowd: tuple[str, Structure, list[Trial]], lanes: int
) -> None:
    task, structure, trials = crowd
    together = results(engine.cohort(task, structure, trials, lanes).train())
    assert together == engine.all_alone(task, structure, trials)


@pytest.mark.sampled(3)
@pytest.mark.sampled(3)
@batched
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_lane_equals_a_solo_run_at_the_sizes_of_the_lecture(
    optimizer: str, program: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Products of other sizes take other kernels: 27 symbols, 200 hidden units, batches of 32, and up to 64 lanes."""
    lecture_sizes(optimizer, program, tmp_path_factory)


class Recurrent(nn.GRU):
    """A GRU that returns its outputs alone."""

    def forward(self, x_BTF: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().forward(x_BTF)[0]


def convolutions(*norm: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 8, 3), *norm, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 3))


MODELS: dict[str, Task] = {
    "sigmoid": Regression(lambda: through(nn.Sigmoid())),
    "softplus": Regression(lambda: through(nn.Softplus())),
    "GELU": Regression(lambda: through(nn.GELU())),
    "SiLU": Regression(lambda: through(nn.SiLU())),
    "ELU": Regression(lambda: through(nn.ELU())),
    "Mish": Regression(lambda: through(nn.Mish())),
    "softmax": Regression(lambda: through(nn.Softmax(-1))),
    "LayerNorm": Regression(lambda: through(nn.LayerNorm(9))),
    "GroupNorm": Regression(lambda: through(nn.GroupNorm(3, 9))),
    "BatchNorm1d": Regression(lambda: through(nn.BatchNorm1d(9))),
    "Conv2d": Regression(convolutions, (1, 8, 8)),
    "BatchNorm2d": Regression(lambda: convolutions(nn.BatchNorm2d(8)), (1, 8, 8)),
    "Transformer": Regression(lambda: nn.TransformerEncoderLayer(6, 2, 13, 0.0, batch_first=True), (5, 6)),
    "GRU": Regression(lambda: Recurrent(5, 7, batch_first=True), (4, 5)),
}

NOT_NATIVE = {"Conv2d": "convolution", "BatchNorm2d": "convolution"}  # and by which operation one sees it


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # of attention under vmap: a loop over the lanes
@pytest.mark.parametrize(
    "model, program",
    [  # vmap loops over the lanes of attention, which takes seconds
        pytest.param(model, program, marks=[pytest.mark.slow] if (model, program) == ("Transformer", "vmap") else [])
        for model in MODELS
        for program in ("vmap", "native")
    ],
)
def test_a_lane_equals_a_solo_run_in_a_model_of_any_kind(model: str, program: str) -> None:
    """The last few elements of a tensor, or the groups of a convolution, may go through other code at another K."""
    engine = Engine({model: MODELS[model]})
    structure = Structure(SGD(), "constant", BATCH)
    if program == "native" and model in NOT_NATIVE:
        made = NativeProgram(MODELS[model], structure.optimizer)
        assert NOT_NATIVE[model] in str(made.why_not(engine.data[model].train, BATCH))
        return
    trials = [Trial(f"t{k}", k % 3, 5, Hyperparameters(lr=0.02 * (k + 1), momentum=0.5), 1) for k in range(9)]
    alone = engine.all_alone(model, structure, trials, program)
    for lanes in (3, 4, 9):
        assert results(engine.cohort(model, structure, trials, lanes, program).train()) == alone, f"{lanes} lanes"


@pytest.mark.parametrize("lanes", (1, 2, 4))
def test_trials_of_different_lengths_give_the_numbers_of_their_solo_runs(engine: Engine, lanes: int) -> None:
    """At a constant rate they share a lane until the shorter ends; neither may see the other's reports."""
    case = Case("names", "momentum", "constant", 0.0)
    trials = [Trial(f"{steps}", 0, steps, case.hyper, REPORTS) for steps in (20, 7, 13, 31)]
    together = results(engine.cohort(case.task, case.structure, trials, lanes).train())
    assert together == engine.all_alone(case.task, case.structure, trials)


@pytest.mark.parametrize("lanes", (1, 2, 4))
def test_trials_that_report_at_different_steps_give_the_numbers_of_their_solo_runs(engine: Engine, lanes: int) -> None:
    case = Case("names", "Adam", "step", 0.0)
    trials = [Trial(f"{reports}", 0, STEPS, case.hyper, reports) for reports in (2, 3, 7, STEPS)]
    together = results(engine.cohort(case.task, case.structure, trials, lanes).train())
    assert together == engine.all_alone(case.task, case.structure, trials)
