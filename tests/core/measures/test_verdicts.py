"""The verdict of every kind of run, and the exact stability limit that it must agree with."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from espalier.core.measures.guesses import entropy, is_classification
from espalier.core.measures.verdicts import VERDICTS, Thresholds, no_better, stuck, verdict, while_learning
from espalier.core.optimizers import SGD
from espalier.core.tasks.thermometer import Thermometer
from espalier.core.training.cohort import Cohort
from espalier.core.training.events import Reported
from espalier.core.training.setup import CohortSetup
from espalier.core.training.trial import Hyperparameters, Structure, Trial

FALLING = [3.3, 2.8, 2.5, 2.3]
GUESS = 2.9

RUNS = {
    "a fall at an ordinary ratio": ("healthy", (FALLING, [-2.0, -2.5, -1.8], None, GUESS)),
    "no parameter with a ratio": ("healthy", (FALLING, [], None, GUESS)),
    "no known guess": ("healthy", (FALLING, [-2.0], None, math.nan)),
    "NaN at step 11": ("diverged", (FALLING, [-2.0], 11, GUESS)),
    "NaN before anything was measured": ("diverged", ([], [], 0, GUESS)),
    "an end far above the start": ("diverged", ([3.3, 3.0, 12.0, 80.0], [-2.0], None, GUESS)),
    "a rise from a low place, still below its start": ("diverged", ([80.0, 3.0, 9.0, 27.0], [-2.0], None, math.nan)),
    "a tremble at the bottom": ("healthy", ([2.3, 0.1, 0.001, 0.002, 0.004], [-2.0], None, 2.3)),
    "a peak that has passed": ("healthy", ([3.3, 2.0, 9.0, 8.0, 7.5], [-2.0], None, math.nan)),
    "a rise, then a fall below the start": ("catapult", ([3.3, 9.0, 3.5, 2.2], [-2.0], None, GUESS)),
    "an end at the constant guess": ("collapsed", ([3.3, 3.0, 2.91, 2.905], [-2.0], None, GUESS)),
    "updates a third of the parameters": ("hot", (FALLING, [-0.5, -0.6, -0.4], None, GUESS)),
    "updates of a hundred-thousandth": ("frozen", ([3.3, 3.299, 3.298], [-5.0, -5.1, -4.9], None, GUESS)),
    "no update at all": ("frozen", ([3.3, 3.3, 3.3], [-math.inf] * 3, None, GUESS)),
}


START = 3.3
ENDED = {
    "exploded before its first block was over": ("collapsed", ([22.9, 20.0, 18.0, 3.05], [-2.0])),
    "worse than a guess, steadily": ("collapsed", ([51.6, 30.0, 12.0, 5.8], [-2.0])),
    "exploded at once, and came back": ("catapult", ([22.9, 20.0, 5.0, 2.4], [-2.0])),
    "rose, and ended at a guess": ("collapsed", ([3.3, 70.0, 9.0, 2.91], [-2.0])),
    "rose from a start that the first block does not show": ("diverged", ([9.0, 30.0, 90.0, 270.0], [-2.0])),
    "has broken and moves no more": ("collapsed", ([9.0, 2.95, 2.95, 2.95], [-0.5, -7.0, -7.0, -7.0])),
    "never moved": ("frozen", ([3.3, 3.3, 3.3, 3.299], [-5.0, -5.0, -5.0, -5.0])),
}


@given(st.lists(st.floats(0.1, 1e3), min_size=2, max_size=60), st.floats(1.1, 10))
def test_a_rise_is_held_against_the_lowest_block_of_a_tenth(losses: list[float], times: float) -> None:
    tail = max(1, len(losses) // 10)
    means = [math.fsum(losses[end - tail : end]) / tail for end in range(tail, len(losses) + 1)]
    now, before, best = means[-1], math.fsum(losses[-2 * tail : -tail]) / tail, min(means)
    risen = now > times * best and now > before and now > math.sqrt(losses[0] * best)
    found = verdict(losses, [], None, math.nan, Thresholds(diverged=times))
    assert (found.name == "diverged") == risen or math.isclose(now, times * best, rel_tol=1e-9)


def test_losses_whose_sum_is_none_are_judged() -> None:
    assert verdict([1e308] * 40, [], None).name == "healthy"
    assert verdict([*[1e300] * 36, 1e305, 1e306, 1e307, 1.7e308], [], None).name == "diverged"


@pytest.mark.parametrize("what", ENDED)
def test_the_loss_before_training_and_a_guess_are_what_an_end_is_held_against(what: str) -> None:
    name, (losses, ratios) = ENDED[what]
    found = verdict(losses, ratios, None, GUESS, start=START)
    assert found.name == name, found.evidence


def test_a_run_that_goes_on_has_not_collapsed_because_it_stands_above_a_guess() -> None:
    """It may be starting, or recovering: what ends trials early is a loss at that of a guess, in two reports."""
    for losses in ([27.0, 22.0, 17.0], [22.9, 20.0, 18.0]):
        assert verdict(losses, [-2.0], None, GUESS, over=False).name == "healthy"
        assert verdict(losses, [-2.0], None, GUESS, over=True).name == "collapsed"
    assert verdict([27.0, 2.91, 2.9], [-2.0], None, GUESS, over=False).name == "collapsed"


def test_an_objective_that_ended_no_better_is_collapsed_or_frozen_whatever_the_loss() -> None:
    beaten = no_better("valid_accuracy", 0.086, 0.1, math.nan, "max")
    assert verdict(FALLING, [-2.0], None, GUESS, beaten=beaten).evidence == beaten
    assert verdict(FALLING, [-5.0], None, GUESS, beaten=beaten).name == "frozen"


@pytest.mark.parametrize("mode", ["min", "max"])
def test_no_better_is_said_of_whatever_is_not_better(mode: str) -> None:
    sign = 1.0 if mode == "min" else -1.0
    guess, before = sign * 2.0, sign * 3.0
    assert no_better("m", sign * 1.0, guess, before, mode) == ""
    assert "a constant guess (" in no_better("m", sign * 2.0, guess, before, mode)
    assert "a constant guess (" in no_better("m", sign * 2.5, guess, before, mode)
    assert "before training (" in no_better("m", sign * 3.0, math.nan, before, mode)
    assert "before training (" in no_better("m", sign * 1.5, guess, sign * 1.0, mode), "it began better"
    assert no_better("m", sign * 9.0, math.nan, math.nan, mode) == "", "of an unknown nothing is said"
    assert no_better("m", math.nan, guess, before, mode) == ""


def test_the_steps_of_a_loss_that_is_learnt_do_not_count() -> None:
    """Eight thousand steps at a good rate: the gradients vanish with the loss, and nothing is wrong."""
    curve = [(100 * k, 2.3 * 0.5**k) for k in range(1, 81)]
    ratios = [(160 * k, -2.0 if 160 * k < 400 else -6.0) for k in range(50)]
    learning = while_learning(curve, ratios, 2.3)
    assert verdict([loss for _, loss in curve], learning, None, 2.3, start=2.3).name == "healthy"
    slow = [(100 * k, 2.3 - 0.001 * k) for k in range(1, 81)]
    assert len(while_learning(slow, ratios, 2.3)) > 40, "a loss that falls to the end is learnt to the end"


@pytest.mark.parametrize("what", RUNS)
def test_the_verdict_of_a_run(what: str) -> None:
    name, run = RUNS[what]
    assert verdict(*run).name == name


@pytest.mark.parametrize("what", RUNS)
def test_a_verdict_gives_its_evidence_in_numbers(what: str) -> None:
    evidence = verdict(*RUNS[what][1]).evidence
    assert evidence and " nan" not in evidence and evidence[0].islower() and not evidence.endswith(".")


def test_a_ratio_of_minus_three_is_evidence_and_not_a_gate() -> None:
    """Good runs of the names network sit between -1.3 and -2.7, above the lecture's line."""
    assert {verdict(FALLING, [ratio], None, GUESS).name for ratio in (-1.3, -2.0, -2.7, -3.0, -3.5)} == {"healthy"}


def test_a_steep_but_finite_start_is_no_divergence() -> None:
    assert verdict([27.0, 5.0, 2.6, 2.2], [-2.0], None, GUESS).name == "healthy"


def test_the_loss_of_a_constant_guess_is_the_entropy_of_the_classes() -> None:
    assert entropy(torch.arange(27), torch.arange(27)) == pytest.approx(math.log(27))
    assert entropy(torch.arange(10).repeat(3), torch.arange(10).repeat(3)) == pytest.approx(2.302585, abs=1e-6)
    assert entropy(torch.tensor([0, 0, 0, 2]), torch.tensor([0, 0, 0, 2])) == pytest.approx(
        -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    )


@pytest.mark.parametrize("target", (torch.ones(5), torch.ones(5, 2).long(), torch.tensor([-1, 2])))
def test_targets_that_are_no_classes_have_no_constant_guess(target: Tensor) -> None:
    assert not is_classification(torch.zeros(len(target), 3), target)


def test_other_thresholds_give_other_verdicts() -> None:
    assert verdict(FALLING, [-2.0], None, GUESS, Thresholds(hot=-2.5)).name == "hot"
    assert verdict(FALLING, [-2.0], None, GUESS, Thresholds(frozen=-1.5)).name == "frozen"
    assert verdict([3.0, 2.8, 2.7], [-2.0], None, GUESS, Thresholds(collapsed=0.1)).name == "collapsed"
    assert verdict([3.0, 5.0, 2.0], [-2.0], None, GUESS, Thresholds(catapult=2.0)).name == "healthy"
    assert verdict([1.0, 2.0, 4.0], [-2.0], None, math.nan, Thresholds(diverged=5.0)).name == "healthy"


@given(
    losses=st.lists(st.floats(-10, 1e6), max_size=30),
    ratios=st.lists(st.floats(allow_nan=True), max_size=9),
    guess=st.sampled_from((math.nan, 2.3)),
)
def test_every_run_has_a_verdict(losses: list[float], ratios: list[float], guess: float) -> None:
    found = verdict(losses, ratios, None, guess)
    assert found.name in VERDICTS and found.name != "stuck"
    assert found.evidence


# --- beside others ----------------------------------------------------------------------------------------------------


def test_a_flat_loss_far_above_a_neighbours_is_stuck() -> None:
    found = stuck([60.0, 29.1, 29.05, 29.02, 29.0], "trial 7", 2.93)
    assert found and found.name == "stuck"
    assert "trial 7" in found.evidence and "2.93" in found.evidence


@pytest.mark.parametrize(
    ("values", "reached"),
    [
        ([60.0, 50.0, 40.0, 30.0], 2.93),  # falling
        ([5.0, 3.1, 3.0, 3.0], 2.93),  # near
        ([29.0], 2.93),  # nothing to compare
        ([29.0, math.inf], 2.93),
        ([29.0, 29.0, 29.0], -1.0),  # a loss that may be negative has no "times"
    ],
)
def test_what_falls_or_is_near_is_not_stuck(values: list[float], reached: float) -> None:
    assert stuck(values, "trial 7", reached) is None


@pytest.mark.slow
def test_the_raw_thermometer_at_a_ten_thousandth_is_stuck_beside_the_scaled_one() -> None:
    """The book's own example: at 1e-4 the raw readings end near 29, the scaled ones at 1e-2 near 2.9."""
    raw, scaled = (_trained(scale, exponent, 5000) for scale, exponent in ((1.0, -4.0), (0.1, -2.0)))
    assert raw[1] == scaled[1] == "healthy", "by itself it is a falling, finite loss"
    assert raw[0][-1] > 20 and scaled[0][-1] == pytest.approx(2.9276, abs=1e-3)
    found = stuck(raw[0], "the scaled one", scaled[0][-1])
    assert found and found.name == "stuck"


# --- beside the exact limit -------------------------------------------------------------------------------------------


def _trained(scale: float, exponent: float, steps: int) -> tuple[list[float], str]:
    """Return the validation losses of a thermometer under plain gradient descent, and the verdict."""
    task = Thermometer(scale)
    trial = Trial("t", 0, steps, Hyperparameters(10.0**exponent), 20)
    *events, end = Cohort(
        CohortSetup(task, task.data(), Structure(SGD(momentum=False), "constant", 11), [trial], 1, "plain")
    ).train()
    return [event.values["valid_loss"] for event in events if isinstance(event, Reported)], end.verdict


@pytest.mark.each_value
@pytest.mark.parametrize("distance", (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 1.5))
@pytest.mark.parametrize(("scale", "limit"), [(1.0, -3.4686), (0.1, -1.4818)], ids=["raw", "scaled"])
def test_on_the_thermometer_the_verdict_is_divergence_above_the_exact_limit_and_only_there(
    scale: float, limit: float, distance: float
) -> None:
    """2 / lambda_max of the quadratic, from both sides and up to a hundredth of a decade near."""
    assert _trained(scale, limit - distance, 1000)[1] != "diverged"
    assert _trained(scale, limit + distance, 1000)[1] == "diverged"


@pytest.mark.parametrize("seed", range(20))
def test_a_loss_that_trembles_from_batch_to_batch_is_no_catapult(seed: int) -> None:
    losses = 0.3 * np.exp(np.random.default_rng(seed).normal(0, 0.35, 100))
    assert verdict(losses.tolist(), [-2.0], None, GUESS, start=0.3).name == "healthy"
    settled = [0.3, *losses[:40].tolist(), 9.0, 5.0, 2.0, *(losses[40:] / 4).tolist()]
    assert verdict(settled, [-2.0], None, GUESS, start=0.3).name == "catapult"
