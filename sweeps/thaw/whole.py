"""Whole trainings instead of pieces: which point to train next, where the trainings cannot be parked."""

from collections.abc import Sequence

import numpy as np

from espalier.sweeps.thaw.belief import Belief, believe
from espalier.sweeps.thaw.candidates import new_points
from espalier.sweeps.thaw.comparison import UNSURE
from espalier.sweeps.thaw.improvement import expected_improvement
from espalier.sweeps.thaw.learning import Learner
from espalier.sweeps.thaw.pieces import BranchPiece, Score, Trunk
from espalier.sweeps.thaw.space import Array, Point, Space

STARTS = 4
"""Points that are spread over the space before the model is asked."""


def first_points(space: Space, count: int, rng: np.random.Generator) -> list[Point]:
    """Return points of which each part of every range has one, in random order: a Latin hypercube; each point once.

    Source: M. McKay, R. Beckman, W. Conover, A Comparison of Three Methods for Selecting Values of Input Variables,
    1979.

    >>> from espalier.sweeps.thaw.space import Number
    >>> points = first_points(Space([Number(0, 4)]), 4, np.random.default_rng(0))
    >>> sorted(int(point[0]) for point in points)
    [0, 1, 2, 3]
    """
    strata = np.stack([rng.permutation(count) for _ in range(space.dimensions)], 1)
    points = [space.point(row) for row in (strata + rng.uniform(0.2, 0.8, strata.shape)) / count]
    return list(dict.fromkeys(points))  # of listed values there may be fewer


def next_point(
    space: Space, learner: Learner, scores: Sequence[Score], training: Sequence[Point], rng: np.random.Generator
) -> Point:
    """Return the point of the greatest expected improvement. training: points that are in training.

    scores: of ends (share 1) and on the way. At least one of them has to be.
    """
    pending = [BranchPiece(-1, point, 0.0, ()) for point in training]
    belief = believe(space, learner, scores, pending)
    known = list(dict.fromkeys([*(score.point for score in scores), *training]))
    trunks = [Trunk(number, point) for number, point in enumerate(known)]
    points = [candidate.point for candidate in new_points(space, trunks, rng)]
    if not points:  # a small space of choices, all of which were tried
        return space.point(rng.random(space.dimensions))
    return points[int(_gain(space, belief, points).argmax())]


def _gain(space: Space, belief: Belief, points: Sequence[Point]) -> Array:
    foresight = belief.foresee(space.scaled(np.array(points)), np.zeros((1, 0)))
    best = belief.best
    if best is None:
        lowest = int(foresight.mean.argmin())
        best = float(foresight.mean[lowest, 0] + UNSURE * foresight.deviation[lowest, 0])
    return foresight.improvement(expected_improvement, best)[:, 0]
