# pyright: basic
# scipy has no types
"""What the losses of complete trials say of the loss everywhere: draws of a Gaussian process, with all its doubt.

The process is that of `sweeps.answer.process`. Its parameters are not fixed at their best values, which few trials
would make look surer than they are, but drawn from their posterior by slice sampling.

Sources: C. Rasmussen, C. Williams, Gaussian Processes for Machine Learning, 2006, algorithm 2.1;
R. Neal, Slice Sampling, Annals of Statistics 31 (2003); J. Snoek, H. Larochelle, R. Adams, Practical Bayesian
Optimization, 2012, arXiv:1206.2944 (the lengths integrated out).

N, M = points, P = values of a point: A numbers in [0, 1], then the indexes of choices. S = draws.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy.linalg import LinAlgError, cho_solve, cholesky, eigh, solve_triangular

from espalier.sweeps.answer.early import Early, Shares, with_one_valley
from espalier.sweeps.answer.process import CONSTANT, JITTER, Prior, Sample, Scale, Theta, alike, apart
from espalier.sweeps.answer.valley import Array, Rows

LEARN_MOST, MOST, EARLY_MOST = 80, 240, 100
"""Points of the likelihood, whose time grows with their cube; ends of the process itself, and early scores beside."""
WIDER = 1.2
"""Where there are early scores, draws are so many times as far from their mean: measured on tables, see the docs."""
BURN, THETAS, PATHS = 20, 48, 16
"""Sweeps of the sampler before it counts, draws of the lengths after it, and paths for each of these.

Draws depend on those before: with a third of them the best of sweeps by freeze and thaw lay within 2 se in 84 of 100
of the hardest, not in 89.
"""
NODES = 7
"""Of Gauss and Hermite's rule, by which the mean of a log-normal loss is taken."""


class Surface:
    """The posterior after N complete trials."""

    def __init__(
        self,
        rows: Array,
        losses: Array,
        numbers: int,
        prior: Prior,
        near: Array,
        trunks: Rows | None = None,
        early: Early | None = None,
    ):
        """rows: (N, P). losses: (N,), to be minimised. near: the point (P,) near which precision matters most.

        trunks: the number of the trunk of each (N,); None: each has its own. early: scores, whether their trials came
        to an end or not.
        """
        self.numbers, self.prior = numbers, prior
        self.rng = np.random.default_rng([len(losses)])
        self.scale = Scale.of(losses, early)
        numbered = np.arange(len(losses)) if trunks is None else trunks
        distance = self._distance(rows, near)
        nearest = some(distance, MOST)
        z, points, share, learn = self.scale.z(losses)[nearest], rows[nearest], np.ones(len(nearest)), LEARN_MOST
        groups = numbered[nearest]
        if early is not None:
            learn = LEARN_MOST // 2
            early = early.take(some(self._distance(early.rows, near), EARLY_MOST))
            z = np.concatenate([z, np.log1p(early.gaps / self.scale.tau)])
            points = np.concatenate([points, early.rows])
            share = np.concatenate([share, early.share])
            groups = np.concatenate([groups, len(losses) + np.arange(len(early.losses))])
        self.shift, self.unit = float(z.mean()), float(z.std()) or 1.0
        along = np.zeros(len(z)) if prior.rate is None else (points - near)[:, prior.rate]
        y = (z - self.shift) / self.unit
        self.sample = Sample(points, y, z, along, groups, Shares(share), prior.rate)
        learnt = some(distance[nearest], learn)
        if early is not None:
            others = len(nearest) + some(self._distance(early.rows, near), learn)
            learnt = np.concatenate([learnt, others])
        self.thetas = self._draw(self.sample.take(learnt))

    def _distance(self, rows: Array, near: Array) -> Array:
        """Return the squared distances of rows (N, P) from a point (P,), in lengths of the prior."""
        values = self.prior.values
        return np.tensordot(np.exp(-2 * self.prior.median[:values]), apart(near[None], rows, self.numbers), 1)[0]

    @property
    def noise(self) -> float:
        """What trials near the best are off by for no reason that the space knows: a standard deviation of losses."""
        sigma = float(np.exp(np.median([parameters[self.prior.values + 1] for parameters in self.thetas])))
        return sigma * self.unit * self.scale.tau

    def paths(self, rows: Array) -> Array:
        """Return draws of the loss, without noise, at points (M, P), each a whole path: (S, M)."""
        return self._losses(self._drawn(rows))

    def valleys(self, rows: Array) -> Array:
        """Return draws of the loss, without noise, at points (M, P) in order along a line: (S, M).

        Where early scores were needed, rather those with one valley.
        """
        drawn = self._drawn(rows)
        if self.sample.shares.any_early:
            drawn = with_one_valley(drawn * self.unit) / self.unit
        return self._losses(drawn)

    def _drawn(self, rows: Array) -> Array:
        return np.concatenate([self._paths(*self.foresee(parameters, rows)) for parameters in self.thetas])

    def _losses(self, y: Array) -> Array:
        return self.scale.losses(y * self.unit + self.shift)

    def foresee(self, parameters: Array, rows: Array) -> tuple[Array, Array]:
        """Return mean (M,) and covariance (M, M) of ends at points (M, P), given the parameters: see `Sample.theta`.

        Both are of z without noise, less its mean and in units of its deviation, as `y` is.
        """
        theta, mean, white = self._known(parameters, rows)
        before = theta.height * alike(apart(rows, rows, self.numbers), theta.lengths) + CONSTANT**2
        return mean, before - white.T @ white

    def believed(self, rows: Array) -> tuple[Array, Array]:
        """Return mean (M,) and standard deviation (M,) of the loss, without noise, at points (M, P)."""
        places, weights = np.polynomial.hermite_e.hermegauss(NODES)
        drawn: list[Array] = []
        for parameters in self.thetas:
            theta, mean, white = self._known(parameters, rows)
            variance = theta.height + CONSTANT**2 - (white * white).sum(0)
            drawn.append(mean + self.wider * np.sqrt(np.maximum(variance, 0.0)) * places[:, None])
        losses, share = self._losses(np.concatenate(drawn)), np.tile(weights / weights.sum(), len(drawn)) / len(drawn)
        mean = share @ losses
        with np.errstate(over="ignore"):  # losses may be as large as a float
            return mean, np.sqrt(share @ (losses - mean) ** 2)

    def _known(self, parameters: Array, rows: Array) -> tuple[Theta, Array, Array]:
        """Return the process, its mean at points (M,), and what is known of them: whitened covariances (N, M)."""
        theta = self.sample.theta(parameters, self.prior.values)
        factor = cholesky(self.sample.covariance(theta, self.numbers), lower=True, check_finite=False)
        cross = self.sample.with_ends(theta, rows, self.numbers)
        mean = cross @ cho_solve((factor, True), self.sample.y, check_finite=False)
        return theta, mean, solve_triangular(factor, cross.T, lower=True, check_finite=False)

    @property
    def wider(self) -> float:
        """How many times as far from their mean draws are: see WIDER."""
        return WIDER if self.sample.shares.any_early else 1.0

    def _paths(self, mean: Array, covariance: Array) -> Array:
        return mean + self.wider * self.rng.standard_normal((PATHS, len(mean))) @ _root(covariance).T

    # --- parameters --------------------------------------------------------------------------------------------------

    def _draw(self, sample: Sample) -> list[Array]:
        """Return draws of the parameters from their posterior, by some of the points."""

        def level_of(numbers: Array) -> float:
            covariance = sample.covariance(sample.theta(numbers, self.prior.values), self.numbers)
            white, determinant = _whitened(covariance, sample.y)
            prior = ((numbers - self.prior.median) / self.prior.deviation) ** 2
            return -0.5 * white - determinant - 0.5 * float(prior.sum())

        numbers, drawn = self.prior.median.copy(), list[Array]()
        level = level_of(numbers)
        for sweep in range(BURN + THETAS):
            for place in range(len(numbers)):
                numbers, level = self._slice(numbers, level, place, level_of)
            if sweep >= BURN:
                drawn.append(numbers)
        return drawn

    def _slice(
        self, numbers: Array, level: float, place: int, level_of: Callable[[Array], float]
    ) -> tuple[Array, float]:
        """Return a draw along one axis, and its log posterior. The bracket is the prior's, shrunk at each miss."""
        floor = level + math.log(self.rng.random())
        low, high = self.prior.bracket(place)
        least = 5e-4 * (high - low)
        while high - low > least:
            moved = numbers.copy()
            moved[place] = self.rng.uniform(low, high)
            if (reached := level_of(moved)) >= floor:
                return moved, reached
            if moved[place] < numbers[place]:
                low = moved[place]
            else:
                high = moved[place]
        return numbers, level


def _whitened(covariance: Array, y: Array) -> tuple[float, float]:
    """Return the squared length of whitened y (N,), and half the log determinant of their covariance (N, N)."""
    try:
        factor = cholesky(covariance, lower=True, overwrite_a=True, check_finite=False)
    except LinAlgError:
        return math.inf, 0.0
    white = solve_triangular(factor, y, lower=True, check_finite=False)
    return float(white @ white), float(np.log(np.diag(factor)).sum())


def _root(covariance: Array) -> Array:
    """Return R with R R' = a covariance (M, M), of which rounding may have left the smallest eigenvalues below 0."""
    try:
        return cholesky(covariance + JITTER * np.eye(len(covariance)), lower=True, check_finite=False)
    except LinAlgError:
        values, vectors = eigh(covariance)
        return vectors * np.sqrt(np.maximum(values, 0.0))


def some(distance: Array, most: int) -> Rows:
    """Return the numbers of at most so many points: half of them the nearest, the others an even part of the rest.

    They are not chosen by their losses: the best of many are the lucky ones.
    """
    if len(distance) <= most:
        return np.arange(len(distance))
    order = np.argsort(distance, kind="stable")
    rest = np.sort(order[most // 2 :])
    even = rest[np.linspace(0, len(rest) - 1, most - most // 2).astype(int)]
    return np.sort(np.concatenate([order[: most // 2], even]))
