# pyright: basic
# scipy has no types
"""What the losses of complete trials say of the loss everywhere: a Gaussian process, drawn with all its doubt.

Losses are first put on a scale that is linear near the best and logarithmic far above it,

    z = tau log(1 + (loss - best) / tau),   tau = the median of loss - best,

since an optimum is a bowl and the flank towards divergence a cliff. Then z is a constant, plus a process whose
covariance is Matern's with nu = 5/2 in numbers, times a factor for each choice that differs, plus independent noise:
what a trial is off by for no reason that the space knows. The lengths, the height and the noise have log-normal priors.
They are not fixed at their best values, which few trials would make look surer than they are, but drawn from their
posterior by slice sampling.

Sources: C. Rasmussen, C. Williams, Gaussian Processes for Machine Learning, 2006, eq. 4.17 and algorithm 2.1;
R. Neal, Slice Sampling, Annals of Statistics 31 (2003); J. Snoek, H. Larochelle, R. Adams, Practical Bayesian
Optimization, 2012, arXiv:1206.2944 (the lengths integrated out).

N, M = points, P = values of a point: A numbers in [0, 1], then the indexes of choices. S = draws.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_solve, cholesky, solve_triangular

from espalier.sweeps.answer.valley import Array

DECADES = 0.6
"""The prior median of the length along a learning rate, in decades; log-normal with deviation KNOWN."""
SHARE = 0.5
"""The same of other numbers, as a share of their range, times the root of the dimensions; deviation UNKNOWN."""
OTHER_CHOICE = 1.0
"""The same of a choice: another value is at a distance of 1."""
KNOWN, UNKNOWN = 0.5, 0.7
HEIGHT, HEIGHT_SPREAD = 1.0, 0.7
"""Of the process, in standard deviations of z."""
NOISE, NOISE_SPREAD = 0.05, 1.3
"""Of z, in its standard deviations."""
CONSTANT = 3.0
"""The deviation of the constant, in standard deviations of z."""
LEARN_MOST, MOST = 80, 240
"""Points of the likelihood, whose time grows with their cube, and of the process itself."""
BURN, THETAS, PATHS = 10, 16, 32
"""Sweeps of the sampler before it counts, draws of the lengths after it, and paths for each of these."""
JITTER = 1e-6


@dataclass(frozen=True)
class Scale:
    """Losses as z and back. low: the least loss. tau: where the scale turns from linear to logarithmic."""

    low: float
    tau: float

    @classmethod
    def of(cls, losses: Array) -> "Scale":
        """Return the scale of losses (N,)."""
        low = float(losses.min())
        gaps = np.sort(losses - low)
        tau = float(np.median(gaps[gaps > 0])) if (gaps > 0).any() else max(abs(low), 1.0) * 1e-6
        return cls(low, tau)

    def z(self, losses: Array) -> Array:
        """Return losses on the scale."""
        return self.tau * np.log1p((losses - self.low) / self.tau)

    def losses(self, z: Array) -> Array:
        """Return the losses of z."""
        return self.low + self.tau * np.expm1(np.clip(z / self.tau, -50.0, 50.0))


@dataclass(frozen=True)
class Prior:
    """Log-normal priors: the logarithms of medians (P + 2,) and their deviations: of lengths, height and noise."""

    median: Array
    deviation: Array

    @classmethod
    def of(cls, widths: Sequence[float | None], factors: int) -> "Prior":
        """Return priors. widths: of each number the decades of its range if it is a rate, else None."""
        share = SHARE * math.sqrt(max(1, len(widths) + factors))
        lengths = [share if width is None else DECADES / width for width in widths] + [OTHER_CHOICE] * factors
        spreads = [UNKNOWN if width is None else KNOWN for width in widths] + [UNKNOWN] * factors
        return cls(np.log([*lengths, HEIGHT, NOISE]), np.array([*spreads, HEIGHT_SPREAD, NOISE_SPREAD]))


def apart(rows: Array, others: Array, numbers: int) -> Array:
    """Return squared distances along each value of rows (M, P) and others (N, P), (P, M, N); of choices 0 or 1."""
    difference = rows.T[:, :, None] - others.T[:, None, :]
    difference[numbers:] = difference[numbers:] != 0
    return difference * difference


def alike(squares: Array, lengths: Array) -> Array:
    """Return the correlation of squared distances (P, M, N): Matern's with nu = 5/2."""
    distance = np.sqrt(5.0 * np.tensordot(1 / lengths**2, squares, 1))
    return (1 + distance + distance * distance / 3) * np.exp(-distance)


class Surface:
    """The posterior after N complete trials."""

    def __init__(self, rows: Array, losses: Array, numbers: int, prior: Prior, near: Array, seed: int = 0):
        """rows: (N, P). losses: (N,), to be minimised. near: the point (P,) near which precision matters most."""
        self.numbers, self.prior = numbers, prior
        self.rng = np.random.default_rng([seed, len(losses)])
        self.scale = Scale.of(losses)
        z = self.scale.z(losses)
        self.shift, self.unit = float(z.mean()), float(z.std()) or 1.0
        distance = np.tensordot(np.exp(-2 * prior.median[:-2]), apart(near[None], rows, numbers), 1)[0]
        kept = some(distance, MOST)
        self.rows, self.y = rows[kept], (z[kept] - self.shift) / self.unit
        learnt = some(distance[kept], LEARN_MOST)
        self.squares = apart(self.rows, self.rows, numbers)
        self.thetas = self._thetas(self.squares[:, learnt][:, :, learnt], self.y[learnt])

    @property
    def noise(self) -> float:
        """What trials near the best are off by for no reason that the space knows: a standard deviation of losses."""
        return float(np.exp(np.median([theta[-1] for theta in self.thetas]))) * self.unit

    def paths(self, rows: Array) -> Array:
        """Return draws of the loss, without noise, at points (M, P), each a whole path: (S, M)."""
        between, within = apart(rows, self.rows, self.numbers), apart(rows, rows, self.numbers)
        drawn = [self._paths(theta, between, within) for theta in self.thetas]
        return self.scale.losses(np.concatenate(drawn) * self.unit + self.shift)

    def _paths(self, theta: Array, between: Array, within: Array) -> Array:
        lengths, height, noise = np.exp(theta[:-2]), math.exp(2 * theta[-2]), math.exp(2 * theta[-1])
        cover = height * alike(self.squares, lengths) + CONSTANT**2
        factor = cholesky(cover + (noise + JITTER) * np.eye(len(self.y)), lower=True, check_finite=False)
        cross = height * alike(between, lengths) + CONSTANT**2
        mean = cross @ cho_solve((factor, True), self.y, check_finite=False)
        white = solve_triangular(factor, cross.T, lower=True, check_finite=False)
        left = height * alike(within, lengths) + CONSTANT**2 - white.T @ white
        root = cholesky(left + 1e-7 * (height + CONSTANT**2) * np.eye(len(left)), lower=True, check_finite=False)
        return mean + self.rng.standard_normal((PATHS, len(mean))) @ root.T

    # --- lengths, height and noise -----------------------------------------------------------------------------------

    def _thetas(self, squares: Array, y: Array) -> list[Array]:
        """Return draws of the logarithms of lengths, height and noise from their posterior."""
        theta, drawn = self.prior.median.copy(), list[Array]()
        level = self._log_posterior(theta, squares, y)
        for sweep in range(BURN + THETAS):
            for place in range(len(theta)):
                theta, level = self._slice(theta, level, place, squares, y)
            if sweep >= BURN:
                drawn.append(theta)
        return drawn

    def _slice(self, theta: Array, level: float, place: int, squares: Array, y: Array) -> tuple[Array, float]:
        """Return a draw along one axis, and its log posterior. The bracket is the prior's, shrunk at each miss."""
        floor = level + math.log(self.rng.random())
        centre, reach = self.prior.median[place], 4 * self.prior.deviation[place]
        low, high = centre - reach, centre + reach
        while True:
            moved = theta.copy()
            moved[place] = self.rng.uniform(low, high)
            reached = self._log_posterior(moved, squares, y)
            if reached >= floor or high - low < 1e-6:
                return (moved, reached) if reached >= floor else (theta, level)
            if moved[place] < theta[place]:
                low = moved[place]
            else:
                high = moved[place]

    def _log_posterior(self, theta: Array, squares: Array, y: Array) -> float:
        lengths, height, noise = np.exp(theta[:-2]), math.exp(2 * theta[-2]), math.exp(2 * theta[-1])
        cover = height * alike(squares, lengths) + CONSTANT**2 + (noise + JITTER) * np.eye(len(y))
        try:
            factor = cholesky(cover, lower=True, overwrite_a=True, check_finite=False)
        except LinAlgError:
            return -math.inf
        white = solve_triangular(factor, y, lower=True, check_finite=False)
        prior = ((theta - self.prior.median) / self.prior.deviation) ** 2
        return float(-0.5 * white @ white - np.log(np.diag(factor)).sum() - 0.5 * prior.sum())


def some(distance: Array, most: int) -> "np.ndarray[tuple[int], np.dtype[np.intp]]":
    """Return the numbers of at most so many points: half of them the nearest, the others an even part of the rest.

    They are not chosen by their losses: the best of many are the lucky ones.
    """
    if len(distance) <= most:
        return np.arange(len(distance))
    order = np.argsort(distance, kind="stable")
    rest = np.sort(order[most // 2 :])
    even = rest[np.linspace(0, len(rest) - 1, most - most // 2).astype(int)]
    return np.sort(np.concatenate([order[: most // 2], even]))
