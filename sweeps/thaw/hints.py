"""What another search came to, as hints: believed as far as what this one has seen agrees with them.

Hints are ends of other trainings: of another budget, other data, or other code. They enter a process as scores of a
rung of their own, before the first. So they are off by one number in common, and by an error that the kernel has for
so early a score. Beside each process with them there is one without. The weight of the hints is the posterior
probability that they tell anything,

    p(hints | y) ~ p(y | hints) / p(y) * PRIOR / (1 - PRIOR),    p(y | hints) = p(y, hints) / p(hints),

so a few scores that contradict them are enough to do without. Source of the averaging: J. Hoeting et al., Bayesian
Model Averaging: A Tutorial, 1999.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from espalier.sweeps.thaw.kernel import Inputs, Kernel, scaled_inputs
from espalier.sweeps.thaw.scale import Gaps, log_gaps
from espalier.sweeps.thaw.space import Point, Space

SHARE = 0.02
"""At which share of a training hints are scores: the earlier, the less they are worth."""
PRIOR = 0.5
"""The probability that hints tell anything, before anything is known."""
NOISE = 0.1
"""The least noise of a hint."""
MOST = 40
"""Hints that a process takes, the best of them and an even part of the others."""
BEST = 0.5
"""The share of these places that the best have."""
BEGUN = 2
"""Points that a search begins with because a hint is best there."""
APART = 0.25
"""How far these are apart at least, in length scales."""


@dataclass(frozen=True)
class Hint:
    """The end of a training elsewhere. value: to be minimised."""

    point: Point
    value: float


def hinted(space: Space, hints: Sequence[Hint]) -> tuple[Inputs, Gaps]:
    """Return where hints lie, and their losses on the scale of the surrogate: of each point the best end."""
    best: dict[Point, float] = {}
    for hint in sorted(hints, key=lambda hint: hint.value):
        best.setdefault(hint.point, hint.value)
    points = _thinned([*best])
    gaps = log_gaps(np.array([*best.values()]), np.ones(len(best)))
    rows = np.array([list(best).index(point) for point in points], dtype=np.intp)
    inputs = scaled_inputs(space, [(point, SHARE, ()) for point in points])
    some = gaps.take(rows)
    return inputs, Gaps(some.y, np.maximum(some.noise, NOISE), some.tau)


def _thinned(points: Sequence[Point]) -> list[Point]:
    """Return at most MOST points, given the best first."""
    if len(points) <= MOST:
        return list(points)
    best = int(BEST * MOST)
    rest = points[best:]
    return [*points[:best], *(rest[k] for k in np.linspace(0, len(rest) - 1, MOST - best).astype(int))]


def best_points(space: Space, hints: Sequence[Hint]) -> list[Point]:
    """Return the points to begin with: where hints are best, and not side by side."""
    chosen: list[Point] = []
    kernel = Kernel.for_space(space)
    for hint in sorted(hints, key=lambda hint: hint.value):
        there = space.scaled(np.array([hint.point]))
        others = space.scaled(np.array(chosen or [hint.point]))
        if not chosen or kernel.distance(there, others).min() >= APART**2:
            chosen.append(hint.point)
        if len(chosen) == BEGUN:
            break
    return chosen
