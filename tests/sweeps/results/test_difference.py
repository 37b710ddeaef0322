"""Whether a second sweep's best is better than a first's: held against scipy's tests."""

import math
import random
import statistics

import pytest
from scipy import stats

from espalier.sweeps.results.difference import Measured, difference, measured_best
from espalier.sweeps.results.noise import Noise
from tests.sweeps.made import row, spec_with


def measured(values: list[float]) -> Measured:
    """Return what is known of a configuration that was trained so often, and of no other."""
    noise = Noise(statistics.stdev(values), len(values) - 1, "")
    return Measured(0, statistics.fmean(values), len(values), noise)


@pytest.mark.parametrize("seed", range(20))
def test_where_each_noise_is_of_the_best_itself_it_is_scipys_test_of_welch(seed: int) -> None:
    dice = random.Random(seed)
    one, other = ([dice.gauss(2 + k * 0.1, 0.1 + k * 0.1) for _ in range(dice.randint(2, 9))] for k in (0, 1))
    expected = stats.ttest_ind(one, other, equal_var=False)
    apart, ends = difference(measured(one), measured(other), sign=1.0), expected.confidence_interval(0.95)
    assert apart.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert (apart.low, apart.high) == pytest.approx((ends.low, ends.high), rel=1e-9)
    assert apart.verdict == ("noise" if expected.pvalue >= 0.05 else "better" if apart.by > 0 else "worse")


def test_of_equals_one_in_twenty_is_told_apart() -> None:
    dice, told = random.Random(3), 0
    for _ in range(2000):
        one, other = ([dice.gauss(0, 1) for _ in range(5)] for _ in range(2))
        told += difference(measured(one), measured(other), 1.0).verdict != "noise"
    assert 0.035 < told / 2000 < 0.065


def test_the_noise_of_one_stands_for_both() -> None:
    noise = Noise(0.01, 3, "3 confirmations")
    one, other = Measured(0, 2.50, 4, noise), Measured(0, 2.48, 1, None)
    apart = difference(one, other, 1.0)
    error = 0.01 * math.sqrt(1 / 4 + 1)
    assert apart.p == pytest.approx(2 * stats.t.sf(0.02 / error, 3))
    back = difference(other, one, 1.0)
    assert (back.by, back.low, back.high, back.p) == pytest.approx((-apart.by, -apart.high, -apart.low, apart.p))


@pytest.mark.parametrize(("sign", "verdict"), [(1.0, "better"), (-1.0, "worse")])
def test_the_sign_says_which_is_better(sign: float, verdict: str) -> None:
    noise = Noise(0.001, 9, "")
    assert difference(Measured(0, 2.5, 1, noise), Measured(0, 2.4, 1, noise), sign).verdict == verdict


@pytest.mark.parametrize(("second", "verdict", "p"), [(2.5, "noise", 1.0), (2.4, "better", 0.0)])
def test_without_any_noise_every_difference_counts(second: float, verdict: str, p: float) -> None:
    still = Noise(0.0, 3, "")
    apart = difference(Measured(0, 2.5, 1, still), Measured(0, second, 1, still), 1.0)
    assert (apart.verdict, apart.p, apart.low, apart.high) == (verdict, p, apart.by, apart.by)


def test_without_a_second_seed_nothing_is_said_of_noise() -> None:
    apart = difference(Measured(0, 2.5, 1, None), Measured(0, 2.4, 1, None), 1.0)
    assert (apart.verdict, apart.p, apart.low) == ("unknown", None, None)


def test_the_best_is_measured_with_its_confirmations_alone() -> None:
    spec = spec_with(confirm=2)
    seeds = [{"params": {"lr_exponent": -2.0, "seed": seed}} for seed in range(4)]
    other = {"params": {"lr_exponent": -1.0, "seed": 0}}
    trials = [
        row(0, 1.0, **seeds[0]),
        row(1, 1.2, **other),
        row(2, 1.1, **seeds[1], confirms=0),
        row(3, None, "failed", **seeds[2], confirms=0),
        row(4, 1.3, params=other["params"] | {"seed": 5}, confirms=1),
    ]
    best = measured_best(trials, spec)
    assert best and (best.trial, best.value, best.trainings) == (0, pytest.approx(1.05), 2)
    assert best.noise and best.noise.degrees == 2
    assert measured_best([], spec) is None
