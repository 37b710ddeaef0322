"""What it costs to be off the best trial's value: twice it, a tenth of it, a tenth of the range above it.

S = draws of the loss, X = places along the valley.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from espalier.sweeps.answer.along import Along, Array, Left
from espalier.sweeps.answer.axes import Axis

BAND = (0.025, 0.975)
FACTORS = (10.0, 3.0, 2.0)
"""By how much a number on a logarithmic scale is off, in the costs that are computed; along others a TENTH of the range
that was searched."""
TENTH = 0.1
BESIDE = 0.1
"""A place counts as tried that is this share of `Along.near` beyond what was tried."""


@dataclass(frozen=True)
class Off:
    """What it costs to be off the best trial's value. text: "10 times too high". too_high: not too low. x: the place.

    factor: 10, or 0.1; None along a linear axis, and along a list, of which it is the next value.

    cost: by how much worse the objective is there than at the best trial's value, in its own unit, at least 0.
    low, high: its 95 % band. All are None where trainings diverge (`diverges`), and where no trial has been.

    foreseen: where no complete trial is near, but trials that were scored on their way and left: from how many of them
    the cost is foreseen; 0 where it is measured. left: at which shares of a training these were left, the least and the
    greatest. share, behind: of the nearest of them, by how much it was worse than the best at that share.
    """

    text: str
    too_high: bool
    factor: float | None
    x: float
    cost: float | None = None
    low: float | None = None
    high: float | None = None
    diverges: bool = False
    share: float | None = None
    behind: float | None = None
    foreseen: int = 0
    left: tuple[float, float] | None = None


def offs_of(along: Along, paths: Array, places: Array) -> list[Off]:
    """Return what it costs to be off the best trial's value, by draws (S, X) of the loss at places."""
    offs: list[Off] = []
    low, high, beside = *along.reach, BESIDE * along.near
    for text, too_high, factor, place in _wrong_places(along.axis, along.chosen):
        off = Off(text, too_high, factor, along.axis.at(place))
        left = along.near_left(place)
        if along.diverged_from is not None and place >= along.diverged_from:
            offs.append(replace(off, diverges=True))
        elif low - beside <= place <= high + beside:
            between = min(max(place, low), high), along.chosen
            offs.append(replace(_costed(off, paths, places, between, bool(left)), **_told(left)))
        elif left and abs(left[0].place - place) <= along.near:
            offs.append(replace(off, share=left[0].share, behind=left[0].behind))
    return offs


def _costed(off: Off, paths: Array, places: Array, between: tuple[float, float], foreseen: bool) -> Off:
    """Return it with its cost: of what is foreseen the median, since its draws are lopsided.

    between: the two places whose difference it is, the one that is off first.
    """
    costs = at_place(paths, places, between[0]) - at_place(paths, places, between[1])
    middle = np.median(costs) if foreseen else middle_of(costs)
    cost, low, high = (max(0.0, float(each)) for each in (middle, *np.quantile(costs, BAND)))
    return replace(off, cost=cost, low=low, high=high)


def _told(left: Sequence[Left]) -> dict[str, Any]:
    """Return what an Off tells of the trials from which it is foreseen, the nearest first."""
    if not left:
        return {}
    shares = [each.share for each in left]
    shown = {"share": left[0].share, "behind": left[0].behind}
    return {"foreseen": len(left), "left": (min(shares), max(shares)), **shown}


def _wrong_places(axis: Axis, chosen: float) -> Iterator[tuple[str, bool, float | None, float]]:
    """Yield the text, whether it is too high, the factor, and the coordinate of each place that is off."""
    if axis.values and not axis.rate:
        listed = [axis.coordinate(value) for value in axis.values]
        at = min(range(len(listed)), key=lambda k: abs(listed[k] - chosen))
        for k, word in ((at + 1, "higher"), (at - 1, "lower")):
            if 0 <= k < len(listed):
                yield f"the next {word} ({axis.values[k]:.4g})", k > at, None, listed[k]
        return
    low, high = axis.ends
    for factor in FACTORS if axis.decades else (None,):
        step = TENTH * (high - low) if factor is None else math.log10(factor)
        text = "a tenth of the range" if factor is None else f"{factor:g} times"
        if axis.whole and factor is None:
            step = max(1, round(step))
            text = str(step)
        yield f"{text} too high", True, factor, chosen + step
        yield f"{text} too low", False, factor and 1 / factor, chosen - step


def at_place(paths: Array, places: Array, place: float) -> Array:
    """Return the draws at a place (S,), linear between its neighbours."""
    step = places[1] - places[0]
    k = int(np.clip((place - places[0]) / step, 0, len(places) - 2))
    share = (place - places[k]) / step
    return (1 - share) * paths[:, k] + share * paths[:, k + 1]


def middle_of(paths: Array) -> Array:
    """Return the mean of the middle half of draws (S,) or (S, X)."""
    quarter = len(paths) // 4
    return np.sort(paths, axis=0)[quarter : len(paths) - quarter].mean(0)
