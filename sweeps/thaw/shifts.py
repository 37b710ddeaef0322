"""Surrogates under several shifts: early scores may have their best learning rate elsewhere than the ends have.

A score of exponent x at share r of a training tells of the end of x + shift * min(1, -ln r / 3): all of the shift at
5 %, a quarter at half of the training. On measured tables the optimum of an early score lies up to .75 decades from
that of the ends, to either side. Each shift has a surrogate of its own; their weights are the posterior probabilities

    p(shift | y) ~ p(y | shift) exp(-shift^2 / (2 PRIOR^2)).

Shifts count once an end is known: rates on both sides of the early optimum are worth a trial then. Before, early scores
say where to train the first; with several workers all of the first would else lie beside it. Source of the
averaging: J. Hoeting et al., Bayesian Model Averaging: A Tutorial, 1999.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from espalier.sweeps.thaw.kernel import Inputs, Kernel
from espalier.sweeps.thaw.scale import Gaps
from espalier.sweeps.thaw.space import Array, Space
from espalier.sweeps.thaw.surrogate import Surrogate

SHIFTS = (-0.5, -0.25, 0.0, 0.25, 0.5)
"""In decades."""
PRIOR = 0.15
"""Deviation of the shift, in decades. Wider, tables without a shift take longer; narrower, those with one."""
FADES = 3.0
"""-ln r at the first rung, 5 %: from there to the end a shift fades."""
NEGLIGIBLE = 0.01
"""Shifts of less weight than this are left out."""


@dataclass(frozen=True)
class Weighted:
    """A surrogate, and the probability of its shift."""

    weight: float
    surrogate: Surrogate


def surrogates(space: Space, kernel: Kernel, scored: Inputs, gaps: Gaps, training: Inputs) -> Sequence[Weighted]:
    """Return a surrogate for each probable shift; before an end, or without a learning rate, the one without."""
    unit = space.decades
    if not unit.any() or (scored.share < 1).all():
        return [Weighted(1.0, Surrogate(kernel, scored, gaps, training))]
    fitted = [
        Surrogate(kernel, _shifted(scored, shift * unit), gaps, _shifted(training, shift * unit)) for shift in SHIFTS
    ]
    prior = -0.5 * (np.array(SHIFTS) / PRIOR) ** 2
    evidence = np.array([surrogate.log_likelihood for surrogate in fitted]) + prior
    weights = np.exp(evidence - evidence.max())
    weights = np.where(weights < NEGLIGIBLE * weights.sum(), 0.0, weights)
    pairs = zip((weights / weights.sum()).tolist(), fitted, strict=True)
    return [Weighted(weight, surrogate) for weight, surrogate in pairs if weight > 0]


def _shifted(inputs: Inputs, shift: Array) -> Inputs:
    """Return scores where they tell of ends. shift: of the first rung, along each value (P,)."""
    fading = np.minimum(1.0, -np.log(inputs.share) / FADES)
    return replace(inputs, points=inputs.points + fading[:, None] * shift)


def mixed(parts: Sequence[tuple[float, Array, Array]]) -> tuple[Array, Array]:
    """Return mean and standard deviation of a mixture of normal distributions: (weight, mean, deviation) of each.

    >>> mean, deviation = mixed([(0.5, np.array([0.0]), np.array([1.0])), (0.5, np.array([2.0]), np.array([1.0]))])
    >>> float(mean[0]), round(float(deviation[0]) ** 2, 6) == 2.0
    (1.0, True)
    """
    mean = sum((weight * mean for weight, mean, _ in parts), np.zeros(1))
    square = sum((weight * (deviation**2 + mean**2) for weight, mean, deviation in parts), np.zeros(1))
    return mean, np.sqrt(np.maximum(square - mean**2, 1e-9))
