"""Update-to-data ratios against numpy and the lecture that made them, and the verdict of every kind of run."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from core.optim import SGD
from core.ratios import constant_guess_loss, log_ratio, median, verdict
from core.task import Task
from core.train import Cohort, Event
from core.trial import Hyperparameters, Structure, Trial


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_ratio_is_the_log_of_two_standard_deviations_with_bessels_correction() -> None:
    change_NP, theta_NP = normal(4, 31) * 1e-3, normal(4, 31, seed=1)
    found = log_ratio(change_NP, theta_NP).numpy()
    for n in range(4):
        change, theta = (np.std(tensor[n].double().numpy(), ddof=1) for tensor in (change_NP, theta_NP))
        assert found[n] == pytest.approx(math.log10(change / theta), abs=1e-6)


@given(lanes=st.integers(1, 9), size=st.integers(2, 300), seed=st.integers(0, 99))
def test_the_ratios_of_a_lane_do_not_depend_on_the_lanes_beside_it(lanes: int, size: int, seed: int) -> None:
    """Bit for bit, one lane alone included: a parameter of ones that has barely moved shows every bit."""
    change_NP = normal(lanes, size, seed=seed) * 1e-3
    theta_NP = 1 + change_NP
    together = log_ratio(change_NP, theta_NP)
    for lane in range(lanes):
        assert torch.equal(log_ratio(change_NP[[lane]], theta_NP[[lane]])[0], together[lane])


def test_no_change_gives_minus_infinity_and_a_constant_parameter_infinity() -> None:
    assert log_ratio(torch.zeros(1, 5), normal(1, 5)).item() == -math.inf
    assert log_ratio(normal(1, 5), torch.zeros(1, 5)).item() == math.inf


def first_ratios(task: Task, lr: float, dtype: str, structure: Structure | None = None) -> list[float]:
    """Return the update ratios of step 0, one for each tensor, as the training function reports them."""
    trial = Trial("t", 0, 1, Hyperparameters(lr=lr), reports=1)
    structure = structure or Structure(SGD(), "constant", 7, dtype)
    *_, end = Cohort(task, task.data(), structure, [trial], 1).train()
    step, *ratios = end.ratios[0]
    assert step == 0
    return list(ratios[: len(ratios) // 2])


@given(lr=st.floats(1e-5, 1e-3), factor=st.floats(1e-2, 1))
def test_at_step_0_of_plain_sgd_the_ratio_moves_by_the_log_of_the_ratio_of_two_rates(
    small_tasks: Mapping[str, Task], lr: float, factor: float
) -> None:
    """To 2e-4 alone, since the parameter is read after the update."""
    high, low = (first_ratios(small_tasks["names"], rate, "float64") for rate in (lr, lr * factor))
    moved = [b - a for a, b in zip(high, low, strict=True)]
    assert moved == pytest.approx([math.log10(factor)] * 3, abs=2e-4)


def test_the_ratio_of_plain_sgd_at_step_0_is_the_rate_times_the_gradients_ratio(
    small_tasks: Mapping[str, Task],
) -> None:
    """The update is the true step lr * gradient, and the gradient's own ratio stands beside it."""
    task = small_tasks["names"]
    trial = Trial("t", 0, 1, Hyperparameters(lr=0.01), reports=1)
    *_, end = Cohort(task, task.data(), Structure(SGD(), "constant", 7, "float64"), [trial], 1).train()
    _, *ratios = end.ratios[0]
    updates, gradients = ratios[:3], ratios[3:]
    assert updates == pytest.approx([gradient - 2 for gradient in gradients], abs=1e-9)


def test_ratios_are_taken_at_equal_shares_of_the_budget(small_tasks: Mapping[str, Task]) -> None:
    """For parameters of two or more axes alone; none where none are wanted, or where the model has none."""

    def sampled(task: str, samples: int) -> Event:
        trial = Trial("t", 0, 40, Hyperparameters(lr=0.01), reports=3)
        structure = Structure(SGD(), "constant", 7)
        *_, end = Cohort(
            small_tasks[task], small_tasks[task].data(), structure, [trial], 1, ratio_samples=samples
        ).train()
        return end

    end = sampled("names", 10)
    assert [row[0] for row in end.ratios] == list(range(0, 40, 4))
    assert {len(row) for row in end.ratios} == {1 + 2 * len(("C", "W1", "W2"))}
    assert sampled("names", 0).ratios == []
    assert sampled("thermometer", 10).ratios == []


@given(values=st.lists(st.floats(), max_size=9))
def test_the_median_is_that_of_the_finite_values(values: Sequence[float]) -> None:
    finite = [value for value in values if math.isfinite(value)]
    expected = float(np.median(np.array(finite, dtype=np.longdouble))) if finite else math.nan
    assert median(values) == pytest.approx(expected, nan_ok=True)


FALLING = [3.3, 2.8, 2.5, 2.3]
GUESS = 2.9

VERDICTS = {
    "a fall at an ordinary ratio": ("healthy", (FALLING, [-2.0, -2.5, -1.8], None, GUESS)),
    "no parameter with a ratio": ("healthy", (FALLING, [], None, GUESS)),
    "no known guess": ("healthy", (FALLING, [-2.0], None, math.nan)),
    "NaN at step 11": ("diverged", (FALLING, [-2.0], 11, GUESS)),
    "NaN before anything was measured": ("diverged", ([], [], 0, GUESS)),
    "an end far above the start": ("diverged", ([3.3, 3.0, 12.0, 80.0], [-2.0], None, GUESS)),
    "a rise, then a fall below the start": ("catapult", ([3.3, 9.0, 3.5, 2.2], [-2.0], None, GUESS)),
    "an end at the constant guess": ("collapsed", ([3.3, 3.0, 2.91, 2.905], [-2.0], None, GUESS)),
    "updates a third of the parameters": ("hot", (FALLING, [-0.5, -0.6, -0.4], None, GUESS)),
    "updates of a hundred-thousandth": ("frozen", ([3.3, 3.299, 3.298], [-5.0, -5.1, -4.9], None, GUESS)),
    "no update at all": ("frozen", ([3.3, 3.3, 3.3], [-math.inf] * 3, None, GUESS)),
}


@pytest.mark.parametrize("what", VERDICTS)
def test_the_verdict_of_a_run(what: str) -> None:
    name, run = VERDICTS[what]
    assert verdict(*run).name == name


@pytest.mark.parametrize("what", VERDICTS)
def test_a_verdict_gives_its_evidence_in_numbers(what: str) -> None:
    evidence = verdict(*VERDICTS[what][1]).evidence
    assert evidence and " nan" not in evidence and evidence[0].islower() and not evidence.endswith(".")


def test_a_ratio_of_minus_three_is_evidence_and_not_a_gate() -> None:
    """Good runs of the names network sit between -1.3 and -2.7, above the lecture's line."""
    assert {verdict(FALLING, [ratio], None, GUESS).name for ratio in (-1.3, -2.0, -2.7, -3.0, -3.5)} == {"healthy"}


def test_a_steep_but_finite_start_is_no_divergence() -> None:
    assert verdict([27.0, 5.0, 2.6, 2.2], [-2.0], None, GUESS).name == "healthy"


def test_the_loss_of_a_constant_guess_is_the_entropy_of_the_classes() -> None:
    assert constant_guess_loss(torch.arange(27)) == pytest.approx(math.log(27))
    assert constant_guess_loss(torch.arange(10).repeat(3)) == pytest.approx(2.302585, abs=1e-6)
    assert constant_guess_loss(torch.tensor([0, 0, 0, 2])) == pytest.approx(
        -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    )


@pytest.mark.parametrize("target", (torch.ones(5), torch.ones(5, 2).long(), torch.tensor([-1, 2])))
def test_targets_that_are_no_classes_have_no_constant_guess(target: Tensor) -> None:
    assert math.isnan(constant_guess_loss(target))
