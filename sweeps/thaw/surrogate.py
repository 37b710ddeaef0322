# pyright: basic
# scipy has no types
"""One Gaussian process over configurations, rungs and decay points, of losses on a logarithmic scale.

Sources: K. Swersky, J. Snoek, R. Adams, Freeze-Thaw Bayesian Optimization, arXiv:1406.3896 (a process over curves that
are paused and continued; there the curves decay exponentially, here scores by averaged weights need no such form);
C. Rasmussen, C. Williams, Gaussian Processes for Machine Learning, 2006, algorithm 2.1.
"""

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from espalier.sweeps.thaw.kernel import Inputs, Kernel
from espalier.sweeps.thaw.scale import NOISE, Gaps
from espalier.sweeps.thaw.space import Array

SPREAD_LEAST = 0.3
"""Of y: with few scores that happen to be alike, the process is not to be sure of itself."""
JITTER = 1e-9
BOWL = 0.5
"""By how much y is expected to be higher at the rim of the range of a decay point than within."""


class Surrogate:
    """The process, fitted to scores. What is in training is believed to come out as foreseen: its variance falls."""

    def __init__(self, kernel: Kernel, scored: Inputs, gaps: Gaps, training: Inputs):
        """scored, gaps: the scores so far. training: what is in training."""
        self.kernel = kernel
        y = gaps.y - np.where(scored.share >= 1.0, bowl(scored.decay), 0.0)
        self.mean, self.spread = mean_and_spread(y)
        self.count, self.inputs = len(gaps.y), scored.joined(training)
        noise = np.concatenate([gaps.noise, np.full(len(training), NOISE)])
        points = self.inputs.points
        covariance = self.spread**2 * kernel.covariance(self.inputs, kernel.alike(points, points))
        self.factor: Array = cholesky(covariance + np.diag(noise**2 + JITTER), lower=True, check_finite=False)
        known: Array = self.factor[: self.count, : self.count]
        white = solve_triangular(known, y - self.mean, lower=True, check_finite=False)
        self.weights: Array = solve_triangular(known, white, lower=True, trans=1, check_finite=False)
        self.log_likelihood = float(-0.5 * white @ white - np.log(np.diag(known)).sum())

    def foresee(self, points: Array, decay: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation of y at the ends of M points (M, P) by H decay points (H, D): (M, H)."""
        near = self.spread**2 * self.kernel.with_ends(points, decay, self.inputs).reshape(-1, len(self.inputs))
        mean = self.mean + near[:, : self.count] @ self.weights + np.tile(bowl(decay), len(points))
        white: Array = solve_triangular(self.factor, near.T, lower=True, check_finite=False)
        variance = self.spread**2 * self.kernel.of_an_end - np.einsum("ij,ij->j", white, white)
        shape = len(points), len(decay)
        return mean.reshape(shape), np.sqrt(np.maximum(variance, 1e-9)).reshape(shape)


def mean_and_spread(y: Array) -> tuple[float, float]:
    """Return the mean and the standard deviation of scores, no less than SPREAD_LEAST."""
    return float(y.mean()), max(float(y.std()), SPREAD_LEAST)


def bowl(decay: Array) -> Array:
    """Return the prior mean of y by H decay points (H, D), (H,): a bowl over the ranges of the D points.

    On measured tables the best decay point lies within its range. So the first branch decays there, and from its trunk
    later ones are cheap, which decay later.

        m(d) = BOWL mean_k 4 (d_k - k / (D + 1))^2,   k = 1 ... D

    >>> bowl(np.array([[0.0], [0.5], [1.0]])).tolist()
    [0.5, 0.0, 0.5]
    """
    count = decay.shape[1]
    if not count:
        return np.zeros(len(decay))
    centre = np.arange(1, count + 1) / (count + 1)
    return BOWL * 4 * ((decay - centre) ** 2).mean(1)
