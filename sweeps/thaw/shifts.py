"""Surrogates under several shifts: early scores may have their best learning rate elsewhere than the ends have.

A score of exponent x at share r of a training tells of the end of x + shift * part(r). There are two families:

- A shift that fades, part(r) = min(1, -ln r / 3): all of it at 5 %, a quarter at half of the training. So it is with
  scores by averaged weights, whose early optimum lies up to .75 decades from that of the ends, to either side.
- A shift that lasts, part(r) = 1 up to the decay. So it is with plain losses, which noise raises at high rates until
  the rate decays: their optimum lies .2 to .5 decades too low on most tables, at half of the training even further.

Each shift has a surrogate of its own; their weights are the posterior probabilities

    p(shift | y) ~ p(y | shift) p(shift),    p(shift) normal within a family.

Shifts count once an end is known: rates on both sides of the early optimum are worth a trial then. Before, early scores
say where to train the first; with several workers all of the first would else lie beside it. Source of the
averaging: J. Hoeting et al., Bayesian Model Averaging: A Tutorial, 1999.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from espalier.sweeps.thaw.hints import PRIOR
from espalier.sweeps.thaw.kernel import Inputs, Kernel
from espalier.sweeps.thaw.scale import Gaps
from espalier.sweeps.thaw.space import Array, Space
from espalier.sweeps.thaw.surrogate import Surrogate

SIZES = (-0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75)
"""Of the shifts of each family, in decades."""
FADING, LASTING = 0.15, 0.3
"""Deviations of shifts that fade and that last, in decades. Wider, tables without a shift take longer."""
FADES = 3.0
"""-ln r at the first rung, 5 %: from there to the end a shift fades."""
NEGLIGIBLE = 0.01
"""Shifts of less weight than this are left out."""
FEW = 2
"""So many shifts are thought of where there are many scores: these tell them apart."""


@dataclass(frozen=True)
class Shift:
    """decades: from where an early score is to where it tells of the end. fades: whether later ones are less off."""

    decades: float
    fades: bool

    @property
    def log_prior(self) -> float:
        """The logarithm of its probability before anything is known, but for a constant."""
        deviation = FADING if self.fades else LASTING
        return -math.log(deviation) - 0.5 * (self.decades / deviation) ** 2

    def part(self, share: Array) -> Array:
        """Return which part of it scores have at shares (N,) of a training.

        >>> Shift(0.5, fades=False).part(np.array([0.05, 0.5, 1.0])).tolist()
        [1.0, 1.0, 0.0]
        """
        return np.minimum(1.0, -np.log(share) / FADES) if self.fades else (share < 1).astype(np.float64)


NONE = Shift(0.0, fades=True)
SHIFTS = (*(Shift(decades, True) for decades in SIZES), *(Shift(decades, False) for decades in SIZES if decades))


@dataclass(frozen=True)
class Weighted:
    """A surrogate, its shift, and the probability of both: of a surrogate with hints, or without."""

    weight: float
    shift: Shift
    surrogate: Surrogate


def surrogates(
    space: Space,
    kernel: Kernel,
    scored: Inputs,
    gaps: Gaps,
    training: Inputs,
    shifts: Sequence[Shift] = SHIFTS,
    hints: tuple[Inputs, Gaps] | None = None,
) -> Sequence[Weighted]:
    """Return a surrogate for each probable shift; before an end, or without a learning rate, the one without.

    hints: see `sweeps.thaw.hints`; then there is one with them and one without, for each.
    """
    unit = space.decades
    if not unit.any() or (scored.share < 1).all():
        shifts = [NONE]
    fitted: list[tuple[float, Shift, Surrogate]] = []
    for shift in shifts:
        at, pending = _shifted(scored, shift, unit), _shifted(training, shift, unit)
        alone = Surrogate(kernel, at, gaps, pending)
        fitted.append((alone.log_likelihood + shift.log_prior, shift, alone))
        if hints:
            joint = Surrogate(kernel, at.joined(hints[0]), gaps.joined(hints[1]), pending)
            evidence = joint.log_likelihood - Surrogate(kernel, *hints, training.take(np.arange(0))).log_likelihood
            fitted.append((evidence + math.log(PRIOR / (1 - PRIOR)) + shift.log_prior, shift, joint))
    evidence = np.array([each[0] for each in fitted])
    weights = np.exp(evidence - evidence.max())
    weights = np.where(weights < NEGLIGIBLE * weights.sum(), 0.0, weights)
    weights = (weights / weights.sum()).tolist()
    return [Weighted(w, *each[1:]) for w, each in zip(weights, fitted, strict=True) if w > 0]


def likely(weighted: Sequence[Weighted], most: int = FEW) -> Sequence[Shift]:
    """Return the most probable shifts."""
    return [each.shift for each in sorted(weighted, key=lambda each: -each.weight)[:most]]


def _shifted(inputs: Inputs, shift: Shift, unit: Array) -> Inputs:
    """Return scores where they tell of ends. unit: a decade along each value (P,)."""
    return replace(inputs, points=inputs.points + shift.part(inputs.share)[:, None] * shift.decades * unit)


def mixed(parts: Sequence[tuple[float, Array, Array]]) -> tuple[Array, Array]:
    """Return mean and standard deviation of a mixture of normal distributions: (weight, mean, deviation) of each.

    >>> mean, deviation = mixed([(0.5, np.array([0.0]), np.array([1.0])), (0.5, np.array([2.0]), np.array([1.0]))])
    >>> float(mean[0]), round(float(deviation[0]) ** 2, 6) == 2.0
    (1.0, True)
    """
    mean = sum((weight * mean for weight, mean, _ in parts), np.zeros(1))
    square = sum((weight * (deviation**2 + mean**2) for weight, mean, deviation in parts), np.zeros(1))
    return mean, np.sqrt(np.maximum(square - mean**2, 1e-9))
