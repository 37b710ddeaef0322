"""What may be trained next: new points beside the trunks that there are, decay points, and what a branch costs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from espalier.sweeps.thaw.kernel import Kernel
from espalier.sweeps.thaw.pieces import Trunk
from espalier.sweeps.thaw.space import Array, Point, Space

GRID, RANDOM, NEARBY = 64, 256, 64
"""New points: along one number on a grid that is shifted each time; in more dimensions at random, and near trunks."""
NEAR = 0.1
"""How far new points lie from a trunk, a standard deviation, as a share of each range."""
SAME, SAME_AT_RIM = 0.05, 0.1
"""Two trunks nearer than this share of the length scale are one: 0.02 decades of a rate, over which no loss changes by
more than its noise. At the rim of a range points would else gather."""
FINEST = 7
"""So many times points may be halved in distance, where there are none farther apart and more are asked for."""
SEVERAL = 48
"""Combinations of decay points, where there is more than one."""
MOST_TRUNKS = 64
"""Trunks that are compared: the others scored worse at their last rung."""
KEPT = 21
"""Of each trunk so many rows are kept over the range of the decay points, so that branches begin where they decay."""
COARSE, QUARTERS = 5, (0.25, 0.75)
"""Decay points of a coarse comparison, and where in their range they lie in one of even fewer."""


@dataclass(frozen=True)
class Candidate:
    """A point, with the trunk that has it already."""

    point: Point
    trunk: Trunk | None = None

    def begin(self, decay: Array, kept_shares: Array) -> Array:
        """Return from which share of a training branches by H decay points (H, D) would begin, (H,).

        kept_shares: the shares at which rows are kept. A trunk that has not come so far trains on first.
        """
        if not self.trunk:
            return np.zeros(len(decay))
        position = self.trunk.position
        if not decay.shape[1]:
            return np.full(len(decay), position)
        behind = kept_shares[None] <= np.minimum(decay[:, :1], position) + 1e-9
        return np.where(decay[:, 0] >= position, position, np.where(behind, kept_shares[None], 0.0).max(1))


def new_points(space: Space, trunks: Sequence[Trunk], rng: np.random.Generator, halvings: int = 0) -> list[Candidate]:
    """Return points that no trunk has, nor one near by: on a grid, or at random. halvings: of what counts as near."""
    if space.dimensions == 1 and not space.choices:
        count = GRID << halvings
        shift = rng.uniform(-0.5, 0.5) / (count - 1)
        rows = np.clip(np.linspace(0, 1, count)[:, None] + shift, 0, 1)
    else:
        rows = rng.random((RANDOM, space.dimensions))
    points = space.points(rows)
    if trunks and space.dimensions > 1:
        near: list[int] = rng.integers(len(trunks), size=NEARBY).tolist()
        points += _nearby(space, [trunks[k].point for k in near], rng)
    points = list(dict.fromkeys(points))
    return [Candidate(points[k]) for k in _strangers(space, points, [trunk.point for trunk in trunks], 0.5**halvings)]


def _strangers(space: Space, points: Sequence[Point], others: Sequence[Point], near: float) -> list[int]:
    """Return the numbers of the points that lie near none of the others. near: as a share of what it is at first."""
    if not others:
        return list(range(len(points)))
    scaled, numbers = space.scaled(np.array(points)), len(space.numbers)
    at_rim = np.any((scaled[:, :numbers] <= 0) | (scaled[:, :numbers] >= 1), axis=1)
    drawn = space.dimensions > 1 and any(n.values is None for n in space.numbers)  # within its range, none twice
    rows = np.flatnonzero(at_rim) if drawn else np.arange(len(points))
    apart = Kernel.for_space(space).distance(scaled[rows], space.scaled(np.array(others))).min(1)
    same = rows[apart < (near * np.where(at_rim[rows], SAME_AT_RIM, SAME)) ** 2]
    return np.setdiff1d(np.arange(len(points)), same).tolist()


def _nearby(space: Space, points: Sequence[Point], rng: np.random.Generator) -> list[Point]:
    """Return a point near each of these, with its choices."""
    numbers = len(space.numbers)
    scaled = space.scaled(np.array(points))
    scaled[:, :numbers] += rng.normal(0, NEAR, (len(points), numbers))
    moved = space.points(np.clip(scaled, 0, 1))
    return space.settled([(*new[:numbers], *old[numbers:]) for new, old in zip(moved, points, strict=True)])


def kept_shares(space: Space) -> Array:
    """Return at which shares of a training the rows of trunks are kept: at all first decay points of lists.

    >>> kept_shares(Space([], decay=(0.5, 1.0), decays=1, decay_lists=[(0.5,), (0.7,), (1.0,)])).tolist()
    [0.5, 0.7]
    """
    if not space.decays:
        return np.zeros(0)
    if space.decay_lists:
        return np.array(sorted({points[0] for points in space.decay_lists if points[0] < 1.0}))
    shares = np.array(space.decay_steps) if len(space.decay_steps) else np.linspace(*space.decay, KEPT)
    return shares[_evenly(len(shares), KEPT)]


def decay_points(space: Space, coarse: bool, rng: np.random.Generator, few: bool = False) -> Array:
    """Return the decay points (H, D), shares of a training, that are compared: every one, or a coarse selection.

    few: even fewer. Which points promise most is about the same at every decay point.
    """
    if space.decays == 0:
        return np.zeros((1, 0))
    if space.decay_lists:  # what neighbours in the list come to need not be alike, so all are compared where time is
        lists = np.array(space.decay_lists)
        if len(lists) > SEVERAL:
            lists = lists[np.sort(rng.choice(len(lists), SEVERAL, replace=False))]
        return lists[_evenly(len(lists), COARSE)] if coarse and few else lists
    shares = kept_shares(space)
    if space.decays > 1:
        return np.sort(rng.choice(shares, (SEVERAL, space.decays)), 1)
    if coarse and few:
        return shares[np.unique(np.round((len(shares) - 1) * np.array(QUARTERS)).astype(int)), None]
    return shares[_evenly(len(shares), COARSE), None] if coarse else shares[:, None]


def _evenly(count: int, most: int) -> "np.ndarray[tuple[int], np.dtype[np.intp]]":
    """Return at most so many of the numbers from 0 to count - 1, as far apart as possible."""
    return np.round(np.linspace(0, count - 1, min(count, most))).astype(np.intp)
