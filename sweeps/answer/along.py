"""What a valley must know of the trials along an axis: where they are complete, where they left, where they diverge.

X = places along the valley.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from espalier.sweeps.answer.axes import Axis

Array = npt.NDArray[np.float64]
PLACES, FORESEEN_PLACES = 121, 241
"""Along a valley, where the band is known: of one that is foreseen in part more, for it is longer."""
NEAR_DECADES, NEAR_SHARE = 0.15, 0.05
"""How near to a place a trial tells of it: in decades, or as a share of the range."""
TWICE = 2.0
"""A cost is foreseen from trials that are so many times as far at most."""


@dataclass(frozen=True)
class Left:
    """A trial that was stopped or parked. place: its coordinate. share: of a training, at which it was last scored.

    behind: by how much it was worse than the best there.
    """

    place: float
    share: float
    behind: float


@dataclass(frozen=True)
class Along:
    """What `valley_of` needs to know of the trials along an axis, in coordinates.

    chosen: where the best trial is. complete: where complete trials are, in order. begun: the least and the greatest
    of all. diverged_from: see Valley. left: those that were scored on their way, and did not diverge.
    """

    axis: Axis
    chosen: float
    complete: Sequence[float]
    begun: tuple[float, float]
    diverged_from: float | None
    left: Sequence[Left] = ()

    @property
    def measured(self) -> tuple[float, float]:
        """The range of complete trials."""
        return self.complete[0], self.complete[-1]

    @cached_property
    def reach(self) -> tuple[float, float]:
        """The range of all trials of which something is known, below where they diverge."""
        cut = math.inf if self.diverged_from is None else self.diverged_from
        places = [*self.complete, *(each.place for each in self.left if each.place < cut)]
        return min(places), max(places)

    @property
    def places(self) -> Array:
        """The places of the valley (X,)."""
        return np.linspace(*self.reach, PLACES if self.reach == self.measured else FORESEEN_PLACES)

    @property
    def near(self) -> float:
        """How near a trial tells of a place."""
        low, high = self.axis.ends
        return NEAR_DECADES if self.axis.decades else NEAR_SHARE * (high - low)

    def near_left(self, place: float) -> list[Left]:
        """Return the trials that were left from which the loss at a place is foreseen, the nearest first.

        None where it is measured: between complete trials, unless the nearest of them is far and one that was left is
        nearer.
        """
        ordered = sorted(self.left, key=lambda each: abs(each.place - place))
        nearest = min(abs(each - place) for each in self.complete)
        inside = self.measured[0] - 1e-9 <= place <= self.measured[1] + 1e-9
        if not ordered or (inside and (nearest <= TWICE * self.near or nearest <= abs(ordered[0].place - place))):
            return []
        return [each for each in ordered if abs(each.place - place) <= TWICE * self.near] or ordered[:1]
