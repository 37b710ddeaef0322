"""The Gaussian process, held against its textbook form and against scikit-learn's."""

import math

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel

from espalier.sweeps.thaw.improvement import expected_gain, expected_improvement
from espalier.sweeps.thaw.kernel import DECAY, DRIFT, OFFSET, Inputs, Kernel
from espalier.sweeps.thaw.pieces import Score
from espalier.sweeps.thaw.scale import NOISE, Gaps, log_gaps
from espalier.sweeps.thaw.space import SHARE, Number, Space
from espalier.sweeps.thaw.surrogate import BOWL, SPREAD_LEAST, Surrogate
from espalier.sweeps.thaw.thinning import thinned, worst_trunks

SPACE = Space([Number(0, 1, 0.3), Number(0, 1)], [3], (0.4, 0.9), 1)
OTHER = SHARE * math.sqrt(3)
KERNEL = Kernel.for_space(SPACE)
NONE = Inputs(np.zeros((0, 3)), np.zeros(0), np.zeros((0, 1)))


def drawn(count: int, seed: int, ends: float = 0.4) -> Inputs:
    rng = np.random.default_rng(seed)
    points = np.concatenate([rng.random((count, 2)), rng.integers(0, 3, (count, 1))], 1)
    share = np.where(rng.random(count) < ends, 1.0, rng.choice([0.05, 0.15, 0.5], count))
    return Inputs(points, share, rng.random((count, 1)))


def covariance(a: Inputs, i: int, b: Inputs, j: int, spread: float) -> float:
    """The covariance of two scores, term by term as its docstring has it."""
    apart = [(a.points[i, 0] - b.points[j, 0]) / 0.3, (a.points[i, 1] - b.points[j, 1]) / OTHER]
    k = math.exp(-0.5 * sum(d * d for d in apart)) * (1.0 if a.points[i, 2] == b.points[j, 2] else 0.5)
    r, s = a.share[i], b.share[j]
    value = k + DRIFT**2 * min(-math.log(r), -math.log(s)) * k
    if r == s and r < 1:
        value += OFFSET**2
    if r == s == 1:
        value += DECAY**2 * math.exp(-0.5 * ((a.decay[i, 0] - b.decay[j, 0]) / SHARE) ** 2) * (0.7 + 0.3 * k)
    return spread**2 * value


@pytest.mark.parametrize("seed", range(4))
def test_it_foresees_what_the_textbook_says(seed: int) -> None:
    """Rasmussen and Williams 2006, equations 2.25 and 2.26, by plain inverses."""
    scored, training, asked = drawn(17, seed), drawn(3, seed + 100), drawn(5, seed + 200, ends=1.0)
    y = np.random.default_rng(seed).normal(size=17)
    gaps = Gaps(y, np.full(17, 0.1))
    mean, deviation = Surrogate(KERNEL, scored, gaps, training).foresee(asked.points, asked.decay)
    prior = [BOWL * (2 * at.decay[:, 0] - 1) ** 2 * (at.share >= 1) for at in (scored, asked)]
    y = y - prior[0]
    spread = max(y.std(), SPREAD_LEAST)
    both = scored.joined(training)

    def matrix(a: Inputs, b: Inputs) -> np.ndarray:
        return np.array([[covariance(a, i, b, j, spread) for j in range(len(b))] for i in range(len(a))])

    near = matrix(asked, scored)
    weights = np.linalg.inv(matrix(scored, scored) + np.diag(np.full(17, 0.1**2))) @ (y - y.mean())
    believed = np.linalg.inv(matrix(both, both) + np.diag([0.1**2] * 17 + [NOISE**2] * 3))
    wide = matrix(asked, both)
    variance = np.diag(matrix(asked, asked)) - np.diag(wide @ believed @ wide.T)
    np.testing.assert_allclose(np.diag(mean), y.mean() + near @ weights + prior[1], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(np.diag(deviation), np.sqrt(variance), rtol=1e-5)


def test_where_only_ends_without_decay_are_known_it_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    points, asked, y = rng.random((12, 1)), rng.random((6, 1)), rng.normal(size=12)
    space = Space([Number(0, 1, 0.3)])
    none = np.zeros((12, 0))
    scored, nothing = Inputs(points, np.ones(12), none), Inputs(points[:0], np.ones(0), none[:0])
    mean, deviation = Surrogate(Kernel.for_space(space), scored, Gaps(y, np.full(12, 0.1)), nothing).foresee(
        asked, np.zeros((1, 0))
    )
    # without decay points the decay term is that of one and the same: (.7 + .3 k) decay^2
    scale = y.std() ** 2
    kernel = ConstantKernel(scale * (1 + 0.3 * DECAY**2), "fixed") * RBF(0.3, "fixed")
    kernel += ConstantKernel(scale * 0.7 * DECAY**2, "fixed")
    theirs = GaussianProcessRegressor(kernel, alpha=0.1**2 + 1e-9, optimizer=None).fit(points, y - y.mean())
    expected, error = theirs.predict(asked, return_std=True)
    np.testing.assert_allclose(mean[:, 0], y.mean() + expected, rtol=1e-6)
    np.testing.assert_allclose(deviation[:, 0], error, rtol=1e-6)


def test_expected_improvements_are_means_over_draws() -> None:
    rng, mean, deviation = np.random.default_rng(1), np.array([0.3, -0.4]), np.array([0.5, 0.2])
    y = mean + deviation * rng.normal(size=(400_000, 2))
    better = np.maximum(0.1 - y, 0).mean(0)
    np.testing.assert_allclose(expected_improvement(mean, deviation, 0.1), better, rtol=0.02)
    gained = np.maximum(math.exp(0.1) - np.exp(y), 0).mean(0)
    np.testing.assert_allclose(expected_gain(mean, deviation, 0.1), gained, rtol=0.02)


def test_a_rung_at_which_all_diverged_is_bad() -> None:
    gaps = log_gaps(np.array([math.nan, 2.0, 2.2, 3.0]), np.array([0.05, 0.15, 0.15, 1.0]))
    assert gaps.y[0] > gaps.y[2]


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_the_unit_of_a_loss_changes_nothing(scale: float) -> None:
    rng = np.random.default_rng(2)
    value, share = 2 + rng.random(20), rng.choice([0.05, 0.5, 1.0], 20)
    gaps, scaled = log_gaps(value, share), log_gaps(scale * value, share)
    np.testing.assert_allclose(scaled.y, gaps.y + math.log(scale), rtol=1e-9)
    np.testing.assert_allclose(scaled.noise, gaps.noise, rtol=1e-9)


def test_what_is_no_number_is_the_worst_of_its_rung() -> None:
    value = np.array([1.0, 3.0, math.nan, 5.0, math.inf])
    gaps = log_gaps(value, np.array([0.05, 0.05, 0.05, 1.0, 1.0]))
    assert (gaps.y[2], gaps.y[4]) == (gaps.y[1], gaps.y[3])


def test_many_scores_are_thinned_and_the_best_stay() -> None:
    rng = np.random.default_rng(3)
    y = rng.normal(size=3000)
    scores = [Score((0.0,), 1.0, (), float(value), trunk) for trunk, value in enumerate(y)]
    rows = thinned(scores, y, most=200)
    assert len(rows) == len(set(rows.tolist())) == 200
    assert set(np.argsort(y)[:150].tolist()) <= set(rows.tolist())
    assert list(rows) == sorted(rows)
    assert list(thinned(scores[:150], y[:150], most=200)) == list(range(150))


def test_of_a_trunk_its_latest_score_stays_rather_than_earlier_ones() -> None:
    scores = [Score((0.0,), share, (), 1.0, trunk) for trunk in range(50) for share in (0.05, 0.5)]
    rows = thinned(scores, np.arange(100.0), most=60)
    assert {2 * trunk + 1 for trunk in range(45)} <= set(rows.tolist())


def test_of_more_trunks_than_are_compared_those_that_got_far_or_scored_well_stay() -> None:
    scores = [Score((0.0,), 0.05, (), float(trunk), trunk) for trunk in range(10)] + [Score((0.0,), 0.5, (), 99.0, 9)]
    assert worst_trunks(scores, 3) == {6, 7, 8}
    assert worst_trunks(scores, -1) == set()
