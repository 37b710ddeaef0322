"""The surface through complete trials, against scikit-learn's Gaussian process and at its limits."""

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern

from espalier.sweeps.answer.process import CONSTANT, JITTER, Prior, Scale
from espalier.sweeps.answer.surface import MOST, Surface, some

RNG = np.random.default_rng(5)
ROWS = RNG.random((30, 2))
LOSSES = 2.3 + (ROWS[:, 0] - 0.6) ** 2 + 0.1 * ROWS[:, 1] + 0.01 * RNG.standard_normal(30)


def test_given_its_parameters_it_foresees_what_scikit_learn_foresees() -> None:
    surface = Surface(ROWS, LOSSES, 2, Prior.of([3.0, None], 0), ROWS[0])
    lengths, height, noise = [0.3, 0.8], 1.3, 0.2
    parameters = np.array([*np.log([*lengths, height, noise]), 0.0, 0.0])
    kernel = ConstantKernel(height**2) * Matern(lengths, nu=1.5) + ConstantKernel(CONSTANT**2)
    theirs = GaussianProcessRegressor(kernel, alpha=noise**2 + JITTER, optimizer=None).fit(
        surface.sample.rows, surface.sample.y
    )
    places = RNG.random((9, 2))
    mean, covariance = theirs.predict(places, return_cov=True)
    ours, spread = surface.foresee(parameters, places)
    np.testing.assert_allclose(ours, mean, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(spread, covariance, rtol=1e-6, atol=1e-8)


def test_what_it_believes_of_a_place_is_the_mean_and_the_spread_of_its_draws() -> None:
    surface = Surface(ROWS, LOSSES, 2, Prior.of([3.0, None], 0), ROWS[0])
    places = RNG.random((5, 2))
    draws = np.concatenate([surface.paths(places) for _ in range(40)])
    mean, deviation = surface.believed(places)
    np.testing.assert_allclose(mean, draws.mean(0), atol=6 * deviation.max() / np.sqrt(len(draws)))
    np.testing.assert_allclose(deviation, draws.std(0), rtol=0.1)


def test_its_draws_have_the_mean_and_the_spread_that_it_foresees() -> None:
    surface = Surface(ROWS, LOSSES, 2, Prior.of([3.0, None], 0), ROWS[0])
    places = RNG.random((5, 2))
    foreseen = [surface.foresee(parameters, places) for parameters in surface.thetas]
    mean = np.mean([mean for mean, _ in foreseen], axis=0)
    spread = np.sqrt(np.mean([np.diag(c) + (m - mean) ** 2 for m, c in foreseen], axis=0))
    draws = np.concatenate([(surface.scale.z(surface.paths(places)) - surface.shift) / surface.unit for _ in range(20)])
    np.testing.assert_allclose(draws.mean(0), mean, atol=4 * spread.max() / np.sqrt(len(draws)))
    np.testing.assert_allclose(draws.std(0), spread, rtol=0.1)


def test_equal_trials_have_equal_surfaces() -> None:
    one, other = (Surface(ROWS, LOSSES, 2, Prior.of([3.0, None], 0), ROWS[0]).paths(ROWS[:4]) for _ in range(2))
    assert np.array_equal(one, other)


def test_losses_on_the_scale_and_back_are_the_same() -> None:
    losses = np.array([2.3, 2.31, 2.5, 9.0, 1e6, 1e30])
    scale = Scale.of(losses)
    np.testing.assert_allclose(scale.losses(scale.z(losses)), losses, rtol=1e-9)


@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e6])
def test_the_unit_of_the_loss_does_not_matter(factor: float) -> None:
    plain, scaled = (
        Surface(ROWS, times * LOSSES, 2, Prior.of([3.0, None], 0), ROWS[0]).paths(ROWS[:4]) for times in (1, factor)
    )
    np.testing.assert_allclose(scaled / factor, plain, rtol=1e-5)


@pytest.mark.parametrize(
    "losses", [np.full(30, 2.5), np.where(np.arange(30) == 3, 1e300, 2.5), np.repeat([1.0, 2.0], 15)], ids=str
)
def test_degenerate_losses_give_finite_draws(losses: np.ndarray) -> None:
    surface = Surface(ROWS, losses, 2, Prior.of([3.0, None], 0), ROWS[0])
    assert np.isfinite(surface.paths(ROWS[:4])).all()


def test_a_point_that_was_trained_many_times_is_no_trouble() -> None:
    rows = np.repeat(ROWS[:3], 40, axis=0)
    losses = np.repeat(LOSSES[:3], 40) + 0.01 * RNG.standard_normal(120)
    surface = Surface(rows, losses, 2, Prior.of([3.0, None], 0), rows[0])
    assert surface.noise == pytest.approx(0.01, rel=0.4)


def test_of_many_points_the_nearest_and_an_even_part_of_the_others_are_kept() -> None:
    distance = np.random.default_rng(0).random(2000)
    kept = some(distance, MOST)
    assert len(kept) == MOST == len(set(kept.tolist()))
    nearest = set(np.argsort(distance)[: MOST // 2].tolist())
    assert nearest <= set(kept.tolist())
    rest = np.array(sorted(set(kept.tolist()) - nearest))
    assert np.diff(rest).max() < 3 * 2000 / len(rest)


def test_two_trials_of_one_trunk_tell_little_more_than_one() -> None:
    rows = np.concatenate([ROWS[:10], ROWS[:10]])
    losses = np.concatenate([LOSSES[:10], LOSSES[:10]])
    trunks = np.tile(np.arange(10), 2)
    prior = Prior.of([3.0, None], 0)
    parameters = np.array([*np.log([0.3, 0.8, 1.0, 0.5]), 0.0, 0.0])
    once, shared, apart = (
        Surface(*data, 2, prior, ROWS[0], groups).foresee(parameters, ROWS[:3])[1].diagonal()
        for data, groups in (((ROWS[:10], LOSSES[:10]), None), ((rows, losses), trunks), ((rows, losses), None))
    )
    assert (apart < 0.8 * once).all()
    np.testing.assert_allclose(shared, once, rtol=0.06)
