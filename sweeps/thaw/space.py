"""What is searched, as the model sees it: numbers with a length scale, choices, and where the rate may decay.

Some values exist only under a condition on others. Where one does not, a point has a place for it all the same: a
number the middle of its range, a choice an index of its own, one beyond the last. So along that axis:

- Two points without the value do not differ.
- Two points with it differ as ever.
- A point with it and one without: of a choice they differ, whichever it is. Of a number they differ by how far it is
  from the middle, which stands for "some value of the range". What sets them apart before all is what the condition is
  on: there they differ too, and that factor of the kernel is the most that one tells of the other.

The kernel stays a squared exponential between places, so it is positive definite by construction. That is not so of
the plain rule "no difference where one has no value": then f(0) and f(1) would both be alike f(none) entirely, and yet
not each other. An embedding with one distance to every value of a range (F. Hutter, M. Osborne, A Kernel for
Hierarchical Parameter Spaces, 2013, arXiv:1310.5738) is positive definite too; there, values bend around a circle.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Point = tuple[float, ...]
"""The numbers of a configuration in the order of a space, then the indexes of its choices. Without decay points."""
DECADES = 0.45
"""Over how many decades of the learning rate losses are alike: the length scale that fitted six measured tables."""
SHARE = 0.35
"""The length scale of any other number, and of decay points, as a share of its range; times the root of the dimensions.

Else points in many dimensions would all be strangers: C. Hvarfner, E. Hellsten, L. Nardi, 2024, arXiv:2402.02229.
"""


@dataclass(frozen=True)
class Number:
    """A number from `low` to `high`. length: how far apart values are alike, None for a share of the range.

    One that is searched on a logarithmic scale is given by its logarithm. values: the only ones that it may have, in
    ascending order; None for every one in the range.
    """

    low: float
    high: float
    length: float | None = None
    values: tuple[float, ...] | None = None

    def at(self, shares: Array) -> Array:
        """Return the values at shares of the range (N,): of listed ones the nearest.

        >>> shares = np.array([0.4])
        >>> Number(0, 4).at(shares).tolist(), Number(0, 4, values=(0.0, 1.0, 4.0)).at(shares).tolist()
        ([1.6], [1.0])
        """
        value = self.low + (self.high - self.low) * shares
        if self.values is None:
            return value
        listed = np.array(self.values)
        return listed[np.abs(value[:, None] - listed).argmin(1)]


@dataclass(frozen=True)
class Condition:
    """A value of points, by its place in them, exists only where another one exists and is one of these."""

    value: int
    on: int
    among: tuple[float, ...]


@dataclass(frozen=True)
class Space:
    """The numbers, the sizes of the choices, and the decay points of a search.

    decay: the range of the shares of a training at which the rate may decay. decays: how many times it does, 0 where
    the schedule has no decay point. decay_steps: the shares that a decay point may have, in order; empty: any in the
    range. decay_lists: the decay points that a branch may have, each as many as `decays`, in order; empty: any.
    conditions: those on a value come before those that it is a condition of; several on one value all have to hold.
    """

    numbers: Sequence[Number]
    choices: Sequence[int] = ()
    decay: tuple[float, float] = (1.0, 1.0)
    decays: int = 0
    decay_steps: Sequence[float] = ()
    decay_lists: Sequence[tuple[float, ...]] = ()
    conditions: Sequence[Condition] = ()

    @property
    def dimensions(self) -> int:
        """How many values a point has."""
        return len(self.numbers) + len(self.choices)

    @property
    def unit_lengths(self) -> list[float]:
        """The length scales of the numbers where each range is 0 to 1.

        >>> Space([Number(-3, 0, 0.45), Number(0, 1), Number(2, 5), Number(0, 9)]).unit_lengths
        [0.15, 0.7, 0.7, 0.7]
        """
        share = SHARE * math.sqrt(self.dimensions)
        widths = [number.high - number.low for number in self.numbers]
        lengths = [number.length for number in self.numbers]
        return [share if n is None or w <= 0 else n / w for n, w in zip(lengths, widths, strict=True)]

    @property
    def decades(self) -> Array:
        """How long a decade of the learning rate is along each value of a scaled point, (P,); 0 along other values.

        A number whose length scale is given is the learning rate's exponent.

        >>> Space([Number(-3, 1, 0.45), Number(0, 1)], [2]).decades.tolist()
        [0.25, 0.0, 0.0]
        """
        rates = [n.length is not None and n.high > n.low for n in self.numbers]
        units = [1 / (n.high - n.low) if rate else 0.0 for n, rate in zip(self.numbers, rates, strict=True)]
        return np.array([*units, *[0.0] * len(self.choices)])

    def scaled(self, points: Array) -> Array:
        """Return points (N, P) with every number in [0, 1]; choices stay indexes."""
        low = np.array([n.low for n in self.numbers] + [0.0] * len(self.choices))
        width = np.array([n.high - n.low or 1.0 for n in self.numbers] + [1.0] * len(self.choices))
        return (points - low) / width

    def point(self, row: Array) -> Point:
        """Return the point of a row in [0, 1) (P,), where a choice has an equal part for each of its values.

        >>> Space([Number(-3, 0)], [4]).point(np.array([0.5, 0.8]))
        (-1.5, 3.0)
        """
        return self.points(row[None])[0]

    def points(self, rows: Array) -> list[Point]:
        """Return the points of rows in [0, 1) (N, P)."""
        shares = rows[:, len(self.numbers) :]
        columns = [n.at(u) for n, u in zip(self.numbers, rows.T, strict=False)]
        columns += [np.floor(u * size) for u, size in zip(shares.T, self.choices, strict=True)]
        return self.settled(list(zip(*(column.tolist() for column in columns), strict=True)))

    def settled(self, points: Sequence[Point]) -> list[Point]:
        """Return points with the place of what does not exist, whatever value they have there.

        >>> space = Space([Number(0, 1), Number(-4, 0)], [2], conditions=[Condition(0, 2, (1.0,))])
        >>> space.settled([(0.9, -1.0, 0.0), (0.9, -1.0, 1.0)])
        [(0.5, -1.0, 0.0), (0.9, -1.0, 1.0)]
        """
        if not self.conditions:
            return list(points)
        table = np.array(points)
        exist = self.exist(table)
        nowhere = [(n.low + n.high) / 2 for n in self.numbers] + [float(size) for size in self.choices]
        settled = np.where(exist, table, np.array(nowhere))
        for place, size in enumerate(self.choices, len(self.numbers)):  # of one that came to exist, the first
            settled[:, place] = np.where(exist[:, place] & (settled[:, place] >= size), 0.0, settled[:, place])
        return [tuple(row) for row in settled.tolist()]

    def exist(self, points: Array) -> npt.NDArray[np.bool_]:
        """Return which values exist at points (N, P), as (N, P)."""
        exist = np.ones(points.shape, dtype=np.bool_)
        for condition in self.conditions:
            among = np.array(condition.among).reshape(1, -1)
            holds = np.isclose(points[:, condition.on, None], among, rtol=1e-9, atol=1e-9).any(1)
            exist[:, condition.value] &= exist[:, condition.on] & holds
        return exist

    def decay_in_range(self, share: Array) -> Array:
        """Return where shares of a training lie in the range of the decay points, in [0, 1]."""
        low, high = self.decay
        return (share - low) / (high - low or 1.0)
