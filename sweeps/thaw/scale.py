"""Losses on a scale of their own: the logarithm of how far each is above the best of its rung.

An optimum is quadratic, a cliff is steep: on a logarithm of the gap both are about linear, and a Gaussian process with
one length scale fits them. The scale is set by the losses themselves, so that 1e-4 and 1e4 are the same to it.
"""

from dataclasses import dataclass

import numpy as np

from espalier.sweeps.thaw.space import Array

TAU = 0.07
"""The gap that counts as none, as a share of the spread (median less best) at the first rung."""
RELATIVE = 1e-4
"""The least such gap, as a share of the best loss: finer than what a float32 training repeats."""
NOISE, NOISE_NEAR = 0.05, 0.075
"""The noise of y: everywhere, and more where the gap is near none, for there the logarithm magnifies it."""


@dataclass(frozen=True)
class Gaps:
    """y and its noise (a standard deviation) for each of N losses, both (N,). tau: the gap that counts as none."""

    y: Array
    noise: Array
    tau: float = 1.0

    def take(self, rows: "np.ndarray[tuple[int], np.dtype[np.intp]]") -> "Gaps":
        """Return some of them."""
        return Gaps(self.y[rows], self.noise[rows], self.tau)

    def joined(self, other: "Gaps") -> "Gaps":
        """Return these and others that have a scale of their own: the best of each are alike."""
        y = other.y + np.log(self.tau / other.tau)
        return Gaps(np.concatenate([self.y, y]), np.concatenate([self.noise, other.noise]), self.tau)

    @property
    def noise_of_best(self) -> float:
        """The noise of the best losses that is assumed, in their own unit."""
        return self.tau * (NOISE + NOISE_NEAR)


def log_gaps(value: Array, share: Array) -> Gaps:
    """Return y = log(loss - lowest of its rung + tau) of N losses (N,), scored at shares (N,) of a training.

    Losses that are no number are as bad as the worst of their rung.

    >>> gaps = log_gaps(np.array([2.0, 1.0, 3.0, 0.5]), np.array([0.05, 0.05, 0.05, 1.0]))
    >>> [round(float(y), 2) for y in gaps.y]
    [0.07, -2.66, 0.73, -2.66]
    """
    scored = np.isfinite(value)
    lowest, worst = np.zeros_like(value), np.ones_like(value)  # of a rung that has no number at all
    for rung in np.unique(share[scored]):
        finite = value[(share == rung) & scored]
        lowest[share == rung], worst[share == rung] = finite.min(), finite.max()
    value = np.where(scored, value, worst)
    first = value[share == (share[scored] if scored.any() else share).min()]
    spread, best = float(np.median(first) - first.min()), float(abs(first.min()))
    tau = max(TAU * spread, RELATIVE * best, 1e-300)
    gap = value - lowest + tau
    return Gaps(np.log(gap), NOISE + NOISE_NEAR * tau / gap, tau)
