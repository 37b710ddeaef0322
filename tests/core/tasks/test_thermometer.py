"""The thermometer of "Deep Learning with PyTorch", chapter 5: every published number, through the training function."""

import math

import pytest
import torch
from torch import Tensor

from espalier.core.errors import BadInput
from espalier.core.optimizers import SGD, Optimizer
from espalier.core.order import shuffled
from espalier.core.programs import PROGRAMS
from espalier.core.programs.plain import PlainProgram
from espalier.core.tasks.thermometer import CELSIUS, UNKNOWN, Thermometer
from espalier.core.training.cohort import Cohort
from espalier.core.training.events import Event
from espalier.core.training.setup import CohortSetup
from espalier.core.training.trial import Hyperparameters, Structure, Trial

PLAIN: Optimizer = SGD(momentum=False)
RAW, SCALED = 1.0, 0.1
ROUNDING = 3e-7  # the book's sums are float32, whose last bit depends on the processor
LIMITS = {RAW: 3.3994e-4, SCALED: 0.032978}  # 2 / lambda_max


def cohort(scale: float, lr: float, steps: int, reports: int = 10, program: str = "plain", **more: int) -> Cohort:
    task = Thermometer(scale)
    trial = Trial("t", 0, steps, Hyperparameters(lr), reports)
    structure = Structure(PLAIN, "constant", batch_size=11)
    return Cohort(CohortSetup(task, task.data(), structure, [trial], 1, program, **more))


def end(running: Cohort) -> Event:
    *_, last = running.train()
    return last


def parameters(running: Cohort) -> Tensor:
    """Return (w, b) of the only lane."""
    row = running.pool.rows.row(0)
    return torch.cat([row["theta.w"].flatten(), row["theta.b"].flatten()])


def after_steps(running: Cohort, steps: int) -> list[Tensor]:
    """Return (w, b) after each of the first steps of a run that reports at every step and goes on for longer."""
    found = []
    for _ in range(steps):
        running.turn()
        found.append(parameters(running))
    return found


def first_gradient(scale: float) -> tuple[float, list[float]]:
    task = Thermometer(scale)
    program = PlainProgram(task, PLAIN)
    batch = tuple(tensor[None] for tensor in task.data().train)
    rows = {name: tensor[None] for name, tensor in program.fresh_row(0).items()}
    loss_1, grads, _ = program.gradients(rows, batch)
    return loss_1.item(), [grads[name].item() for name in ("w", "b")]


def test_the_readings_are_the_books() -> None:
    assert CELSIUS == (0.5, 14, 15, 28, 11, 8, 3, -4, 6, 13, 21)
    assert UNKNOWN == (35.7, 55.9, 58.2, 81.9, 56.3, 48.9, 33.9, 21.8, 48.4, 60.4, 68.4)
    data = Thermometer().data()
    assert data.train is data.valid or all(map(torch.equal, data.train, data.valid))
    assert torch.equal(shuffled(0, 11, 11)(0, 1)[0], torch.arange(11)), "the whole data each step"


def test_the_first_loss_and_gradient_of_the_raw_readings() -> None:
    loss, gradient = first_gradient(RAW)
    assert loss == pytest.approx(1763.884644, rel=ROUNDING)
    assert gradient == pytest.approx([4517.2969, 82.6000], abs=5e-5)


def test_the_first_loss_and_gradient_of_the_scaled_readings() -> None:
    loss, gradient = first_gradient(SCALED)
    assert loss == pytest.approx(80.364342, abs=5e-7)
    assert gradient == pytest.approx([-77.6140, -10.6400], abs=5e-5)


@pytest.mark.parametrize("program", PROGRAMS)
def test_raw_readings_diverge_as_published(program: str) -> None:
    first, second = after_steps(cohort(RAW, 1e-2, 100, reports=100, program=program), 2)
    assert first.tolist() == pytest.approx([-44.1730, -0.8260], abs=5e-5)
    assert second.tolist() == pytest.approx([2568.4014, 45.1637], rel=ROUNDING, abs=5e-5)


@pytest.mark.parametrize("program", PROGRAMS)
def test_raw_readings_are_infinite_at_step_11(program: str) -> None:
    """Ten finite losses; the eleventh is not."""
    last = end(cohort(RAW, 1e-2, 100, reports=100, program=program))
    assert (last.kind, last.status, last.verdict, last.step) == ("finish", "diverged", "diverged", 10)
    assert len(last.curve) == 10
    assert last.curve[0][1] == pytest.approx(1763.884644, rel=ROUNDING)
    assert last.curve[1][1] == pytest.approx(5802485.5, rel=ROUNDING)
    assert all(math.isfinite(loss) for _, loss in last.curve)
    assert last.values["train_loss"] == last.curve[-1][1]


def test_scaled_readings_after_one_step() -> None:
    (first,) = after_steps(cohort(SCALED, 1e-2, 5000, reports=5000), 1)
    assert first.tolist() == pytest.approx([1.7761, 0.1064], abs=5e-5)


def test_scaled_readings_fall_as_published() -> None:
    """Losses at their printed digits, and the parameters after 5,000 steps; the first loss is that of step 1."""
    running = cohort(SCALED, 1e-2, 5000, reports=2, curve_points=5000, ratio_samples=0)
    last = end(running)
    losses, theta = dict(last.curve), parameters(running)
    assert last.step == 5000
    published = {1: 80.364342, 500: 7.860116, 1000: 3.828538, 2000: 2.957697, 3000: 2.928648, 5000: 2.927647}
    assert {step: losses[step] for step in published} == pytest.approx(published, abs=1.1e-6)
    assert theta.tolist() == pytest.approx([5.3671, -17.3012], abs=2e-4)


def quadratic(scale: float) -> tuple[Tensor, Tensor]:
    """Return the Hessian of the mean squared error in (w, b), and its minimum."""
    t = torch.tensor(UNKNOWN, dtype=torch.float64) * scale
    design = torch.stack([t, torch.ones_like(t)], 1)
    celsius = torch.tensor(CELSIUS, dtype=torch.float64)
    return 2 * design.T @ design / len(t), torch.linalg.lstsq(design, celsius[:, None]).solution[:, 0]


@pytest.mark.parametrize("scale", LIMITS)
def test_the_stability_limit_is_that_of_the_quadratic(scale: float) -> None:
    hessian, _ = quadratic(scale)
    limit = 2 / torch.linalg.eigvalsh(hessian)[-1].item()
    assert limit == pytest.approx(LIMITS[scale], rel=2e-5)
    assert math.log10(limit) == pytest.approx({RAW: -3.4686, SCALED: -1.4818}[scale], abs=5e-5)


@pytest.mark.each_value
@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("scale", LIMITS)
def test_just_above_the_stability_limit_training_diverges_and_just_below_it_does_not(
    scale: float, program: str
) -> None:
    below, above = (end(cohort(scale, LIMITS[scale] * share, 400, program=program)) for share in (0.97, 1.03))
    assert above.verdict == "diverged"
    assert below.verdict != "diverged" and below.curve[-1][1] < below.curve[0][1]


def test_a_rate_of_a_hundredth_is_divergent_on_the_raw_readings_and_safe_on_the_scaled() -> None:
    assert end(cohort(RAW, 1e-2, 1000)).verdict == "diverged"
    assert end(cohort(SCALED, 1e-2, 1000)).verdict == "healthy"


def test_the_optimum() -> None:
    _, (w, b) = quadratic(SCALED)
    assert [w.item(), b.item()] == pytest.approx([5.367719, -17.304785], abs=6e-7)
    task, structure = Thermometer(SCALED), Structure(SGD(), "constant", batch_size=11, dtype="float64")
    trial = Trial("t", 0, 800, Hyperparameters(0.03, momentum=0.95))
    last = end(Cohort(CohortSetup(task, task.data(), structure, [trial], 1, "plain")))
    assert last.values["valid_loss"] == pytest.approx(2.927645479, abs=1e-6), "the readings are stored as float32"


@pytest.mark.parametrize("scale", (0.0, -1.0, math.nan))
def test_a_scale_that_is_not_positive_is_refused_with_those_that_work(scale: float) -> None:
    with pytest.raises(BadInput, match=r"^task_options\.scale: .* is not positive; 0\.1 is the book's, 1 leaves"):
        Thermometer(scale)
