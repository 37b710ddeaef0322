"""What is searched, as the model sees it: numbers with a length scale, choices, and where the rate may decay."""

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
"""The length scale of any other number, and of decay points, as a share of its range."""


@dataclass(frozen=True)
class Number:
    """A number from `low` to `high`. length: how far apart values are alike, None for a third of the range.

    One that is searched on a logarithmic scale is given by its logarithm.
    """

    low: float
    high: float
    length: float | None = None

    @property
    def unit_length(self) -> float:
        """The length scale where the range is 0 to 1."""
        width = self.high - self.low
        return SHARE if self.length is None or width <= 0 else self.length / width


@dataclass(frozen=True)
class Space:
    """The numbers, the sizes of the choices, and the decay points of a search.

    decay: the range of the shares of a training at which the rate may decay. decays: how many times it does, 0 where
    the schedule has no decay point.
    """

    numbers: Sequence[Number]
    choices: Sequence[int] = ()
    decay: tuple[float, float] = (1.0, 1.0)
    decays: int = 0

    @property
    def dimensions(self) -> int:
        """How many values a point has."""
        return len(self.numbers) + len(self.choices)

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
        numbers = [n.low + (n.high - n.low) * float(u) for n, u in zip(self.numbers, row, strict=False)]
        shares = row[len(self.numbers) :]
        return (*numbers, *(float(int(u * size)) for size, u in zip(self.choices, shares, strict=True)))

    def decay_in_range(self, share: Array) -> Array:
        """Return where shares of a training lie in the range of the decay points, in [0, 1]."""
        low, high = self.decay
        return (share - low) / (high - low or 1.0)
