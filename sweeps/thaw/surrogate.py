# pyright: basic
# scipy has no types
"""One Gaussian process over configurations, rungs and decay points, of losses on a logarithmic scale.

For two scores y of points x at shares r of a training (a branch's end has r = 1, and decay points d)

    cov(y, y') = k(x, x') (g^2 + drift^2 min(-ln r, -ln r')) + offset^2 [r = r' < 1]
                 + decay^2 k(d, d') (.7 + .3 k(x, x'))

with the last term for ends alone. The error of an early score is a random walk in ln r that is 0 at the end: what is
trained longer says more. All scores of a rung are off by one number in common. The decay point matters about alike for
all x. k is squared exponential in numbers, with a factor for each choice that differs.

Sources: K. Swersky, J. Snoek, R. Adams, Freeze-Thaw Bayesian Optimization, arXiv:1406.3896 (a process over curves that
are paused and continued; there the curves decay exponentially, here scores by averaged weights need no such form);
C. Rasmussen, C. Williams, Gaussian Processes for Machine Learning, 2006, algorithm 2.1.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from espalier.sweeps.thaw.scale import NOISE, Gaps
from espalier.sweeps.thaw.space import SHARE, Array, Space

DRIFT, OFFSET, DECAY = 0.35, 0.5, 0.3
"""Of early scores, of a rung, of decay points: shares of the spread of y, as fitted on tables of whole trainings."""
SPREAD_LEAST = 0.3
"""Of y: with few scores that happen to be alike, the process is not to be sure of itself."""
OTHER_CHOICE = 0.5
"""The correlation of two points that differ in one choice."""
SCORES_MOST = 200
"""More than these are thinned: the time of an ask grows with the cube of their number."""


@dataclass(frozen=True)
class Inputs:
    """Where scores lie: points (N, P) scaled to [0, 1], shares (N,) of a training, decay points (N, D) in [0, 1]."""

    points: Array
    share: Array
    decay: Array

    def __len__(self) -> int:
        return len(self.share)

    def take(self, rows: "np.ndarray[tuple[int], np.dtype[np.intp]]") -> "Inputs":
        """Return some of them."""
        return Inputs(self.points[rows], self.share[rows], self.decay[rows])

    def joined(self, other: "Inputs") -> "Inputs":
        """Return these and others."""
        return Inputs(
            np.concatenate([self.points, other.points]),
            np.concatenate([self.share, other.share]),
            np.concatenate([self.decay, other.decay]),
        )


def thinned(gaps: Gaps, share: Array, most: int = SCORES_MOST) -> "np.ndarray[tuple[int], np.dtype[np.intp]]":
    """Return the numbers of at most so many scores, in order: the best half, and an even part of the others."""
    count = len(gaps.y)
    if count <= most:
        return np.arange(count)
    ranked = np.lexsort((gaps.y, -share))  # ends first, each rung from best to worst
    ranked = ranked[np.argsort(gaps.y[ranked], kind="stable")]
    rest = ranked[most // 2 :]
    even = rest[np.linspace(0, len(rest) - 1, most - most // 2).astype(int)]
    return np.sort(np.concatenate([ranked[: most // 2], even]))


class Surrogate:
    """The process, fitted to scores. What is in training is believed to come out as foreseen: its variance falls."""

    def __init__(self, space: Space, scored: Inputs, gaps: Gaps, training: Inputs):
        """scored, gaps: the scores so far. training: what is in training."""
        self.lengths = np.array([number.unit_length for number in space.numbers])
        rows = thinned(gaps, scored.share)
        scored, y, noise = scored.take(rows), gaps.y[rows], gaps.noise[rows]
        self.mean, self.spread = float(y.mean()), max(float(y.std()), SPREAD_LEAST)
        self.count, self.inputs = len(y), scored.joined(training)
        noise = np.concatenate([noise, np.full(len(training), NOISE)])
        covariance = self._covariance() + np.diag(noise**2 + 1e-9)
        self.factor: Array = cholesky(covariance, lower=True, check_finite=False)
        known: Array = self.factor[: self.count, : self.count]
        white = solve_triangular(known, y - self.mean, lower=True, check_finite=False)
        self.weights: Array = solve_triangular(known, white, lower=True, trans=1, check_finite=False)

    def _alike(self, points: Array, others: Array) -> Array:
        """Return k of points (M, P) and others (N, P), as (M, N)."""
        numbers = len(self.lengths)
        apart = (points[:, None, :numbers] - others[None, :, :numbers]) / self.lengths
        alike = np.exp(-0.5 * (apart**2).sum(-1))
        for choice in range(numbers, points.shape[1]):
            same = points[:, None, choice] == others[None, :, choice]
            alike = alike * np.where(same, 1.0, OTHER_CHOICE)
        return alike

    def _covariance(self) -> Array:
        at = self.inputs
        alike, early = self._alike(at.points, at.points), -np.log(at.share)
        end = at.share >= 1.0
        together = ~end[:, None] & (at.share[:, None] == at.share[None])
        drift = DRIFT**2 * np.minimum(early[:, None], early[None])
        both = end[:, None] & end[None]
        decay = DECAY**2 * both * _alike_decay(at.decay, at.decay) * (0.7 + 0.3 * alike)
        return self.spread**2 * (alike * (1 + drift) + OFFSET**2 * together + decay)

    def foresee(self, points: Array, decay: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation of y at the ends of M points (M, P) by H decay points (H, D): (M, H)."""
        at = self.inputs
        alike = self._alike(points, at.points)
        ends = np.flatnonzero(at.share >= 1.0)
        near = np.repeat(alike[:, None], len(decay), 1)
        near[:, :, ends] += DECAY**2 * _alike_decay(decay, at.decay[ends])[None] * (0.7 + 0.3 * alike[:, None, ends])
        near = self.spread**2 * near.reshape(-1, len(at))
        mean = self.mean + near[:, : self.count] @ self.weights
        white: Array = solve_triangular(self.factor, near.T, lower=True, check_finite=False)
        variance = self.spread**2 * (1 + DECAY**2) - np.einsum("ij,ij->j", white, white)
        shape = len(points), len(decay)
        return mean.reshape(shape), np.sqrt(np.maximum(variance, 1e-9)).reshape(shape)


def _alike_decay(decay: Array, others: Array) -> Array:
    """Return k of decay points (M, D) and others (N, D), as (M, N); 1 where there is none."""
    return np.exp(-0.5 * (((decay[:, None] - others[None]) / SHARE) ** 2).sum(-1))
