"""How alike two scores are: the covariance of the process over configurations, rungs and decay points.

For two scores y of points x at shares r of a training (a branch's end has r = 1, and decay points d), in units of the
spread of y,

    cov(y, y') = k(x, x') (1 + drift^2 min(-ln r, -ln r')) + offset^2 [r = r' < 1]
                 + decay^2 k(d, d') (.7 + .3 k(x, x'))

with the last term for ends alone. The error of an early score is a random walk in ln r that is 0 at the end: what is
trained longer says more. All scores of a rung are off by one number in common. The decay point matters about alike for
all x. k is squared exponential in numbers, with a factor for each choice that differs.

N, M = scores or points, P = values of a point, D = decay points.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from espalier.sweeps.thaw.space import SHARE, Array, Space

DRIFT, OFFSET, DECAY = 0.35, 0.5, 0.3
"""Of early scores, of a rung, of decay points: shares of the spread of y, as fitted on tables of whole trainings."""
ALONE = 0.7
"""The part of what a decay point does that is the same for all points."""
OTHER_CHOICE = 0.5
"""The correlation of two points that differ in one choice, before anything is known."""


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


@dataclass(frozen=True)
class Kernel:
    """lengths (P,): how far numbers are alike, in their unit range; of a choice, by its correlation (see `for_space`).

    drift: the error of early scores.
    """

    lengths: Array
    numbers: int
    drift: float = DRIFT

    @classmethod
    def for_space(cls, space: Space) -> "Kernel":
        """Return the kernel before anything is known.

        A choice that differs counts as a distance of 1: with a length l its correlation is exp(-1 / (2 l^2)).
        """
        choice = float(1 / np.sqrt(-2 * np.log(OTHER_CHOICE)))
        lengths = [*space.unit_lengths, *[choice] * len(space.choices)]
        return cls(np.array(lengths), len(space.numbers))

    def apart(self, points: Array, others: Array) -> Array:
        """Return the squared distances along each value of points (M, P) and others (N, P), as (P, M, N)."""
        difference = points.T[:, :, None] - others.T[:, None, :]
        difference[self.numbers :] = difference[self.numbers :] != 0
        return difference * difference

    def alike(self, points: Array, others: Array) -> Array:
        """Return k of points (M, P) and others (N, P), as (M, N)."""
        return np.exp(-0.5 * self.distance(points, others))

    def distance(self, points: Array, others: Array) -> Array:
        """Return the squared distances in length scales of points (M, P) and others (N, P), as (M, N)."""
        a, b = ((rows / self.lengths)[:, : self.numbers] for rows in (points, others))
        square = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
        for choice in range(self.numbers, points.shape[1]):
            square += (points[:, None, choice] != others[None, :, choice]) / self.lengths[choice] ** 2
        return np.maximum(square, 0.0)

    def of_apart(self, apart: Array) -> Array:
        """Return k of squared distances (P, M, N), as (M, N)."""
        return np.exp(-0.5 * np.tensordot(1 / self.lengths**2, apart, 1))

    def covariance(self, at: Inputs, alike: Array) -> Array:
        """Return the covariance (N, N) of scores of which k (N, N) is known, in units of the spread."""
        early, end = -np.log(at.share), at.share >= 1.0
        together = ~end[:, None] & (at.share[:, None] == at.share[None])
        drift = self.drift**2 * np.minimum(early[:, None], early[None])
        covariance = alike * (1 + drift) + OFFSET**2 * together
        ends = np.flatnonzero(end)
        both = np.ix_(ends, ends)
        covariance[both] += DECAY**2 * alike_decay(at.decay[ends], at.decay[ends]) * (ALONE + (1 - ALONE) * alike[both])
        return covariance

    def with_ends(self, points: Array, decay: Array, at: Inputs) -> Array:
        """Return the covariance of ends of M points (M, P) by H decay points (H, D) with scores, (M, H, N)."""
        alike = self.alike(points, at.points)
        ends = np.flatnonzero(at.share >= 1.0)
        near = np.repeat(alike[:, None], len(decay), 1)
        common = ALONE + (1 - ALONE) * alike[:, None, ends]
        near[:, :, ends] += DECAY**2 * alike_decay(decay, at.decay[ends])[None] * common
        return near

    @property
    def of_an_end(self) -> float:
        """The variance of an end, in units of the spread."""
        return 1 + DECAY**2


def alike_decay(decay: Array, others: Array) -> Array:
    """Return k of decay points (M, D) and others (N, D), as (M, N); 1 where there is none."""
    return np.exp(-0.5 * (((decay[:, None] - others[None]) / SHARE) ** 2).sum(-1))


def scaled_inputs(space: Space, places: Sequence[tuple[tuple[float, ...], float, tuple[float, ...]]]) -> Inputs:
    """Return N places (point, share of a training, decay points) as the kernel takes them."""
    points = np.array([point for point, _, _ in places]).reshape(len(places), space.dimensions)
    shares = np.array([share for _, share, _ in places])
    none = (space.decay[0],) * space.decays  # a trunk's score has no decay point
    decay = np.array([decay or none for _, _, decay in places]).reshape(len(places), space.decays)
    return Inputs(space.scaled(points), shares, space.decay_in_range(decay))
