"""The points that a search begins with, before there is anything to choose by."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from espalier.sweeps.thaw.space import Point, Space
from espalier.sweeps.thaw.whole import first_points

FIRST_PER_TRAINING, FIRST_LEAST, FIRST_MOST = 2.5, 4, 12
"""How many points begin before the model is asked: by the budget, within bounds; fewer if else none could end."""
Values = Mapping[int, float]
"""Some of the values of a point, by their places in it."""


def beginnings(budget: float, first_rung: float, known: int) -> int:
    """Return how many points begin. known: how many of them are given; with more than can be paid, some do not begin.

    >>> beginnings(6.0, 0.05, 0), beginnings(6.0, 0.05, 15), beginnings(1.1, 0.05, 15)
    (12, 15, 3)
    """
    count = int(np.clip(round(FIRST_PER_TRAINING * budget), FIRST_LEAST, FIRST_MOST))
    return max(1, min(max(count, known), int((budget - 1) / first_rung + 1 + 1e-9)))  # one must be able to end


def points_to_begin(space: Space, count: int, trials: float, known: Sequence[Values], seed: int) -> list[Point]:
    """Return points: the given ones, then one in each of as many equal parts of every range, in random order.

    trials: how many there are to be; beyond half of them the model chooses. What is not given of a point is as it is
    of the point in whose place it stands.
    """
    if trials < math.inf:
        count = min(count, max(math.ceil(trials / 2), len(known)))
    points = first_points(space, count, np.random.default_rng([seed]))
    begin = [point_with(space, values, points[k % len(points)]) for k, values in enumerate(known[:count])]
    return [*begin, *points[len(begin) :]]


def point_with(space: Space, values: Values, point: Point) -> Point:
    """Return a point with some values in place of its own."""
    changed = tuple(values.get(place, value) for place, value in enumerate(point))
    return space.settled([changed])[0]
