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
SAME, SAME_AT_RIM = 0.001, 0.1
"""Two trunks nearer than this share of the length scale are one. At the rim of a range points would else gather."""
SEVERAL = 48
"""Combinations of decay points, where there is more than one."""
MOST_TRUNKS = 64
"""Trunks that are compared: the others scored worse at their last rung."""
KEPT = 21
"""Of each trunk so many rows are kept over the range of the decay points, so that branches begin where they decay."""


@dataclass(frozen=True)
class Candidate:
    """A point, with the trunk that has it already."""

    point: Point
    trunk: Trunk | None = None

    def begin(self, decay: Array, kept: Array) -> Array:
        """Return from which share of a training branches by H decay points (H, D) would begin, (H,).

        kept: the shares at which rows are kept. A trunk that has not come so far trains on first.
        """
        if not self.trunk:
            return np.zeros(len(decay))
        position = self.trunk.position
        if not decay.shape[1]:
            return np.full(len(decay), position)
        behind = kept[None] <= np.minimum(decay[:, :1], position) + 1e-9
        return np.where(decay[:, 0] >= position, position, np.where(behind, kept[None], 0.0).max(1))


def new_points(space: Space, trunks: Sequence[Trunk], rng: np.random.Generator) -> list[Candidate]:
    """Return points that no trunk has, nor one near by: on a grid, or at random."""
    if space.dimensions == 1 and not space.choices:
        shift = rng.uniform(-0.5, 0.5) / (GRID - 1)
        rows = np.clip(np.linspace(0, 1, GRID)[:, None] + shift, 0, 1)
    else:
        rows = rng.random((RANDOM, space.dimensions))
    points = [space.point(row) for row in rows]
    if trunks and space.dimensions > 1:
        points += [_nearby(space, trunks[int(rng.integers(len(trunks)))].point, rng) for _ in range(NEARBY)]
    points = list(dict.fromkeys(points))
    return [Candidate(points[k]) for k in _strangers(space, points, [trunk.point for trunk in trunks])]


def _strangers(space: Space, points: Sequence[Point], others: Sequence[Point]) -> list[int]:
    """Return the numbers of the points that lie near none of the others."""
    if not others:
        return list(range(len(points)))
    kernel = Kernel.for_space(space)
    scaled, numbers = space.scaled(np.array(points)), len(space.numbers)
    at_rim = ((scaled[:, :numbers] <= 0) | (scaled[:, :numbers] >= 1)).any(1)
    apart = kernel.distance(scaled, space.scaled(np.array(others))).min(1)
    return np.flatnonzero(apart >= np.where(at_rim, SAME_AT_RIM, SAME) ** 2).tolist()


def _nearby(space: Space, point: Point, rng: np.random.Generator) -> Point:
    """Return a point near another, with its choices."""
    numbers = len(space.numbers)
    shares = space.scaled(np.array([point]))[0, :numbers]
    moved = np.clip(shares + rng.normal(0, NEAR, numbers), 0, 1)
    scaled = np.concatenate([moved, np.zeros(len(space.choices))])
    return (*space.point(scaled)[:numbers], *point[numbers:])


def kept_shares(space: Space) -> Array:
    """Return at which shares of a training the rows of trunks are kept."""
    return np.linspace(*space.decay, KEPT) if space.decays else np.zeros(0)


def decay_points(space: Space, coarse: bool, rng: np.random.Generator, few: bool = False) -> Array:
    """Return the decay points (H, D), shares of a training, that are compared: every one, or a coarse selection.

    few: even fewer. Which points promise most is about the same at every decay point.
    """
    shares = kept_shares(space)
    if space.decays == 0:
        return np.zeros((1, 0))
    if space.decays == 1:
        return shares[5::10, None] if coarse and few else shares[:: 5 if coarse else 1, None]
    return np.sort(rng.choice(shares, (SEVERAL, space.decays)), 1)
