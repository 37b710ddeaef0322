"""The learning-rate range test: every published rule beside the package it comes from, and curves of every sort."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from espalier.core.checks.lr_range import Ramp, RangeTest, range_test, read_curves
from espalier.core.checks.lr_rules import RULES
from espalier.core.errors import BadInput
from espalier.core.optimizers import SGD
from espalier.core.rows import seeded
from espalier.core.task import Task
from espalier.core.tasks.thermometer import Thermometer
from espalier.core.training.cohort import Cohort
from espalier.core.training.setup import CohortSetup
from espalier.core.training.trial import Hyperparameters, Structure, Trial
from tests.core.training.test_failing import BAD, BATCH, Leaves, Raises, Sound
from tests.tiers import examples

STRUCTURE = Structure(SGD(momentum=False), "constant", 11)


def curve(steps: int, seed: int = 0, noise: float = 0.02, turn: float = 0.7, spike: int | None = None) -> np.ndarray:
    """Return losses like those of a range test: flat, falling, then rising steeply after the share `turn`."""
    u = np.arange(steps) / steps
    losses = 3.3 - 1.2 / (1 + np.exp(-18 * (u - 0.45))) + np.exp(np.clip(40 * (u - turn), None, 6)) * 0.05
    losses = losses + np.random.default_rng(seed).normal(0, noise, steps)
    if spike is not None:
        losses[spike] = 40.0
    return losses


def rates(steps: int) -> np.ndarray:
    return 10.0 ** (-6 + 7 * np.arange(steps) / steps)


curves = st.builds(
    curve,
    steps=st.sampled_from((100, 150, 300)),
    seed=st.integers(0, 10_000),
    noise=st.sampled_from((0.0, 0.02, 0.2)),
    turn=st.sampled_from((0.5, 0.7, 2.0)),
    spike=st.none() | st.integers(0, 99),
)


# --- beside the packages ----------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning")
@given(losses=curves)
def test_fastais_rules_are_those_of_its_package(losses: np.ndarray) -> None:
    """Smoothed, stopped and trimmed by fastai's own meter and its own lines, then judged by its own functions."""
    schedule = pytest.importorskip("fastai.callback.schedule")
    meter = pytest.importorskip("fastai.learner").AvgSmoothLoss()
    meter.reset()
    meter.val = torch.tensor(0.0, dtype=torch.float64)
    steps, smooth, best = len(losses), [], math.inf
    for loss in losses:
        meter.accumulate(type("Learn", (), {"loss": torch.tensor(loss, dtype=torch.float64)}))
        smooth.append(meter.value.item())
        best = min(best, smooth[-1])
        if smooth[-1] > 4 * best:
            break
    lrs = torch.tensor(rates(steps)[: len(smooth)])[steps // 10 : -5]
    kept = torch.tensor(smooth, dtype=torch.float64)[steps // 10 : -5]
    for name in ("valley", "slide", "minimum", "steep"):
        if len(kept) < 17:
            continue
        theirs = float(getattr(schedule, name)(lrs, kept, steps)[0])
        assert RULES[f"fastai {name}"](rates(steps), losses, steps) == pytest.approx(theirs, rel=1e-9), name


@examples(8)
@given(losses=curves)
def test_torch_lr_finders_rule_is_that_of_its_package(losses: np.ndarray) -> None:
    """A whole range test by the package itself, over a model whose loss is the curve."""
    package = pytest.importorskip("torch_lr_finder")
    import matplotlib.pyplot as plt

    class Player(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
            self.step = 0

        def forward(self, x: Any) -> Any:
            self.step += 1
            return 0 * self.weight.sum() + losses[self.step - 1]

    steps, model = len(losses), Player()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    finder = package.LRFinder(model, optimizer, lambda out, target: out, device="cpu")
    batches = torch.utils.data.DataLoader([(torch.zeros(1), torch.zeros(1))] * steps, batch_size=1)
    finder.range_test(batches, end_lr=10, num_iter=steps, step_mode="exp")
    if len(finder.history["lr"]) < 17:
        return
    figure, axes = plt.subplots()
    _, theirs = finder.plot(ax=axes, suggest_lr=True)
    plt.close(figure)
    own_rates = 1e-6 * 1e7 ** (np.arange(steps) / (steps - 1))
    assert RULES["torch-lr-finder"](own_rates, losses, steps) == pytest.approx(theirs, rel=1e-9)


def test_lightnings_rule_is_its_own_lines_on_a_curve_of_two_slopes() -> None:
    """torch.gradient against the rate itself, as its suggestion() computes it, after its own smoothing."""
    losses, lrs = curve(200, seed=3), rates(200)
    average, smooth = 0.0, []
    for step, loss in enumerate(losses, start=1):
        average = 0.98 * average + 0.02 * loss
        smooth.append(average / (1 - 0.98 ** (step + 1)))
        if step > 1 and smooth[-1] > 4 * min(smooth[:-1]):
            break
    kept = torch.tensor(smooth, dtype=torch.float64)[10:-1]
    at = torch.tensor(lrs[: len(smooth)])[10:-1]
    slope = torch.gradient(kept, spacing=(at,))[0]
    assert RULES["Lightning"](lrs, losses, 200) == pytest.approx(at[slope.argmin()].item())


# --- what curves say --------------------------------------------------------------------------------------------------


def many(noise: float = 0.05, seeds: int = 16, **changed: Any) -> np.ndarray:
    return np.stack([curve(400, seed, noise, **changed) for seed in range(seeds)])


EXPONENTS = -6 + 7 * np.arange(400) / 400


def test_the_interval_lies_between_the_fall_and_the_least_loss() -> None:
    found = read_curves(EXPONENTS, many())
    assert found.interval is not None
    low, high = found.interval
    true_least = EXPONENTS[np.argmin(curve(400, noise=0.0))]
    assert -3.6 < low < -2.6, "where the curve has begun to fall"
    assert abs(high - true_least) < 0.5
    assert low < found.rules["binned minimum"].median <= high
    assert set(found.rules) == {*RULES, "binned minimum"}
    for spread in found.rules.values():
        assert spread.low <= spread.median <= spread.high
        assert spread.silent == 0
    assert found.notes == []


def test_the_band_holds_the_middle_half_of_the_seeds() -> None:
    found = read_curves(EXPONENTS, many(noise=0.3))
    assert (found.band[0] <= found.band[1]).all() and (found.band[1] <= found.band[2]).all()
    assert found.band.shape == (3, len(found.bins))


def test_spikes_move_nothing() -> None:
    calm, spiky = read_curves(EXPONENTS, many()), read_curves(EXPONENTS, many(spike=150))
    assert calm.interval is not None
    assert spiky.interval == pytest.approx(calm.interval, abs=0.21)


def test_seeds_that_diverge_are_said_and_the_others_still_count() -> None:
    losses = many()
    losses[:5, 280:] = np.nan
    found = read_curves(EXPONENTS, losses)
    assert any("5 of 16 seeds diverged" in note for note in found.notes)
    assert found.interval is not None and np.isfinite(found.band).all()


def test_the_interval_does_not_reach_where_most_seeds_have_diverged() -> None:
    losses = many(turn=2.0)
    losses[:, 250:] = np.nan
    found = read_curves(EXPONENTS, losses)
    assert found.interval is not None
    assert found.interval[1] <= EXPONENTS[250]


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        (np.full((4, 400), 3.3), "the curve is flat"),
        (3.3 + np.random.default_rng(0).normal(0, 0.5, (4, 400)), "the curve is flat"),
        (np.where(np.arange(400) < 20, 3.3, np.nan) * np.ones((4, 1)), "too short"),
        (np.full((4, 400), np.nan), "too short"),
    ],
)
def test_curves_of_which_nothing_can_be_read_give_no_interval_and_say_why(losses: np.ndarray, words: str) -> None:
    found = read_curves(EXPONENTS, losses)
    assert found.interval is None
    assert any(words in note for note in found.notes), found.notes


def test_a_loss_that_still_falls_at_the_end_asks_for_more() -> None:
    found = read_curves(EXPONENTS[:200], many(turn=3.0)[:, :200])
    assert found.interval is not None
    assert any("reach higher" in note for note in found.notes)


@given(
    losses=st.lists(
        st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=40, max_size=40),
        min_size=1,
        max_size=4,
    )
)
def test_any_curve_is_read_without_an_error(losses: list[list[float]]) -> None:
    found = read_curves(np.linspace(-6, 1, 40), np.array(losses))
    assert found.interval is None or found.interval[0] < found.interval[1]


# --- the test itself --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scale", "limit"), [(1.0, -3.4686), (0.1, -1.4818)])
def test_on_the_thermometer_the_edge_lies_at_the_exact_limit(scale: float, limit: float) -> None:
    """Just above 2 / lambda_max, since a loss needs steps to grow. So 1e-2 diverges raw, and is safe scaled."""
    task = Thermometer(scale)
    low, high = limit - 2.5, limit + 1.5
    found = range_test(task, task.data(), STRUCTURE, Hyperparameters(1.0), Ramp(low, high, 1000), range(2))
    assert found.edge is not None and limit < found.edge < limit + 0.2
    assert found.interval is not None and found.interval[1] <= found.edge
    assert (found.edge < -2) == (scale == 1.0)


def test_each_lane_is_plain_training_under_the_ramp(small_tasks: Mapping[str, Task]) -> None:
    task = small_tasks["names"]
    structure = Structure(SGD(), "step", 7)
    found = range_test(task, task.data(), structure, Hyperparameters(1.0, momentum=0.5), Ramp(-4, 0, 60), range(3, 6))
    with seeded(4):
        model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.5)
    expected = []
    for step, indexes in enumerate(task.order(4, len(task.data().train[0]), 7)(0, 60)):
        optimizer.param_groups[0]["lr"] = 10 ** (-4 + 4 * step / 60)
        loss = task.loss(model, tuple(tensor[indexes] for tensor in task.data().train))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        expected.append(loss.item())
    assert found.losses[1] == pytest.approx(np.array(expected), rel=2e-3)
    assert found.exponents[30] == pytest.approx(-2)


def test_it_touches_nothing_else(small_tasks: Mapping[str, Task]) -> None:
    """Not torch's generator, not the task, and not a cohort that trains before and after by the same program."""
    task = small_tasks["names with BatchNorm"]
    structure = Structure(SGD(), "constant", 7)

    def make() -> Cohort:
        return Cohort(
            CohortSetup(task, task.data(), structure, [Trial("t", 0, 30, Hyperparameters(0.1), 3)], 2, "vmap")
        )

    undisturbed = list(make().train())
    cohort, drawn = make(), torch.get_rng_state()
    events = [*cohort.turn(10)]
    range_test(task, task.data(), structure, Hyperparameters(1.0), Ramp(-4, 0, 40), range(3), cohort.program)
    assert torch.equal(torch.get_rng_state(), drawn)
    while not cohort.done:
        events += cohort.turn(10)
    assert [replace(event) for event in events] == undisturbed


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"ramp": Ramp(1.0, 1.0)}, "low must be below high"),
        ({"ramp": Ramp(steps=5)}, "at least 30"),
        ({"seeds": ()}, "seeds"),
    ],
)
def test_a_test_of_which_nothing_can_be_read_is_refused(changed: dict[str, Any], words: str) -> None:
    task = Thermometer()
    with pytest.raises(BadInput, match=words):
        range_test(task, task.data(), STRUCTURE, Hyperparameters(1.0), **changed)


def test_a_seed_for_which_the_task_raises_is_left_out_and_has_not_diverged() -> None:
    task, structure = Raises(), Structure(SGD(momentum=False), "constant", BATCH)

    def tested(*seeds: int) -> RangeTest:
        return range_test(task, task.data(), structure, Hyperparameters(1.0), Ramp(-4, -1, 60), seeds, "plain")

    assert tested(0, 1).notes == tested(0, 1, BAD).notes[1:]
    assert tested(0, 1, BAD).notes[0].startswith("1 of 3 seeds failed and are left out: ValueError: a broken example (")
    assert np.array_equal(tested(0, BAD, 1).losses, tested(0, 1).losses)
    with pytest.raises(BadInput, match="the range test failed for 1 seed: ValueError: a broken example"):
        tested(BAD)


def test_a_task_that_always_leaves_is_no_rate_that_is_too_high() -> None:
    structure = Structure(SGD(momentum=False), "constant", BATCH)
    with pytest.raises(BadInput, match=r"SystemExit: usage: train\.py"):
        range_test(Leaves(), Sound().data(), structure, Hyperparameters(1.0), Ramp(-4, -1, 60), [BAD], "plain")
