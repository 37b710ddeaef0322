"""The valley along a searched number: the loss with a band, the best place and how sure it is, what it costs to be off.

S = draws of the loss, X = places along the valley.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from espalier.sweeps.answer.along import TWICE, Along, Array
from espalier.sweeps.answer.axes import Axis, wider
from espalier.sweeps.answer.off import BAND, Off, at_place, middle_of, offs_of
from espalier.sweeps.spec.space import Point

if TYPE_CHECKING:
    import pandas  # pyright: ignore[reportMissingTypeStubs]

Rows = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]
SETTLED = 1.5
"""How many times as wide as where the mean is within noise the interval of a settled best may be."""
LIKELY, BARRIER = 0.15, 3.0
"""A second valley is told of if so large a share of the draws is lowest there, and so many times the noise between."""
RIM = 0.04
"""The best lies at the edge where it is nearer to it than this share of the range."""


@dataclass(frozen=True)
class Valley:
    """The objective along one number, the other hyperparameters as the best trial has them.

    Everything is in the unit of the axis: of `lr` a rate, of `lr_exponent` an exponent, of decay points a share. The
    objective is in its own unit and direction, of a metric to maximise the valley is a hill.

    xs, mean, low, high: as many numbers each, the posterior mean and the 95 % band of the objective without its noise;
    where trials were left on their way, the mean of the middle half of the draws, which are lopsided then.
    They reach over what trials have tried: beyond `measured`, the range of complete ones, they are foreseen from the
    scores of trials that were stopped or parked.
    chosen_x: the value of the best trial. best_x: where the valley is best.
    se: the standard error of best_x: in decades where `axis.decades`, else in the axis's unit. The best lies within
    2 se of best_x, and in `interval`, in 95 % of sweeps; where the interval is lopsided, se is half of its longer side.
    within: the range around best_x where the mean is no more than `noise` worse than there, and all of `interval`.
    Beyond `measured` a place is in it only if 97.5 % of the draws are no more than `noise` worse.
    noise: the standard deviation of another seed if `noise_known`, else how far trials scatter around the valley.
    settled: whether `interval` is hardly wider than where the mean is within noise. If not, `within` is what is not
    known better, rather than what makes no difference.
    valleys: where there are several, apart by places that are surely much worse, the best of each in which
    the best of all may lie, the likeliest first; else empty.
    off: what it costs to be 10, 3 and 2 times above and below chosen_x, or off by a tenth of the range, or of a list
    what the next values cost; as far as it was tried.
    diverged_from: the lowest x from which on half of all trials or more diverged; None if none diverged there.
    begun: the range in which trials were begun, of which some were stopped or parked.
    edge: "low" or "high" where the best lies at that end of the range and may lie beyond. wider: the range to search.
    """

    axis: Axis
    xs: Sequence[float]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    chosen_x: float
    best_x: float
    se: float
    within: tuple[float, float]
    noise: float
    noise_known: bool
    settled: bool = True
    off: Sequence[Off] = ()
    diverged_from: float | None = None
    begun: tuple[float, float] | None = None
    edge: str | None = None
    wider: tuple[float, float] | None = None
    interval: tuple[float, float] = field(default=(math.nan, math.nan))
    measured: tuple[float, float] = field(default=(math.nan, math.nan))
    valleys: Sequence[float] = ()

    @property
    def name(self) -> str:
        """The hyperparameter's name, as its author wrote it: "lr_exponent", or "lr"."""
        return self.axis.name

    @property
    def log(self) -> bool:
        """Whether it is to be drawn on a logarithmic axis. An exponent is a logarithm already."""
        return self.axis.log

    def x_of(self, params: Point) -> float | None:
        """Return where a trial lies along it; None for a trial that has no such number."""
        return self.axis.value(params)

    def at(self, x: float) -> tuple[float, float, float] | None:
        """Return mean, low and high of the objective at a place; None beyond what was tried."""
        if not self.xs[0] <= x <= self.xs[-1]:
            return None
        places = [self.axis.coordinate(each) for each in self.xs]
        mean, low, high = (
            float(np.interp(self.axis.coordinate(x), places, line)) for line in (self.mean, self.low, self.high)
        )
        return mean, low, high

    @cached_property
    def table(self) -> "pandas.DataFrame":
        """A row a place: its x as the index, named after the hyperparameter; mean, low and high of the objective."""
        import pandas  # pyright: ignore[reportMissingTypeStubs]

        columns = {"mean": self.mean, "low": self.low, "high": self.high}
        return pandas.DataFrame(columns, index=pandas.Index(self.xs, name=self.name), dtype="float64")

    def document(self) -> dict[str, object]:
        """Return it as JSON values."""
        return {
            "name": self.name,
            "log": self.log,
            "rate": self.axis.rate,
            "chosen_x": self.chosen_x,
            "best_x": self.best_x,
            "se": self.se,
            "se_unit": "decades" if self.axis.decades else self.name,
            "interval": list(self.interval),
            "measured": list(self.measured),
            "valleys": list(self.valleys),
            "within": list(self.within),
            "settled": self.settled,
            "noise": self.noise,
            "noise_known": self.noise_known,
            "off": [{**vars(off)} for off in self.off],
            "diverged_from": self.diverged_from,
            "begun": self.begun and list(self.begun),
            "edge": self.edge,
            "wider": self.wider and list(self.wider),
            "xs": list(self.xs),
            "mean": list(self.mean),
            "low": list(self.low),
            "high": list(self.high),
        }


def valley_of(along: Along, paths: Array, sign: float, noise: float, noise_known: bool) -> Valley:
    """Return the valley of draws (S, X) of the loss, which is sign times the objective."""
    axis, places = along.axis, along.places
    mean = middle_of(paths) if along.left else paths.mean(0)
    lowest = _lowest(paths, along)
    several = _several(paths, places, lowest, (BARRIER * noise, TWICE * along.near))
    best = min(float(np.median(lowest)), float(places[-1]))
    first, last = min(best, np.quantile(lowest, BAND[0])), max(best, np.quantile(lowest, BAND[1]))
    edges = np.sort(sign * np.quantile(paths, BAND, axis=0), axis=0)
    flat = _within(places, _is_flat(along, paths, mean, best, noise), best)
    within = min(flat[0], float(first)), max(flat[1], float(last))
    edge = _edge(along, best)
    return Valley(
        axis=axis,
        xs=[axis.at(place) for place in places.tolist()],
        mean=(sign * mean).tolist(),
        low=edges[0].tolist(),
        high=edges[1].tolist(),
        chosen_x=axis.at(along.chosen),
        best_x=axis.at(best),
        se=float(max(best - first, last - best)) / 2,
        within=(axis.at(within[0]), axis.at(within[1])),
        noise=noise,
        noise_known=noise_known,
        settled=bool(last - first <= SETTLED * (flat[1] - flat[0])),
        off=offs_of(along, paths, places),
        diverged_from=None if along.diverged_from is None else axis.at(along.diverged_from),
        begun=(axis.at(along.begun[0]), axis.at(along.begun[1])),
        edge=edge,
        wider=wider(axis, edge) if edge else None,
        interval=(axis.at(float(first)), axis.at(float(last))),
        measured=(axis.at(along.measured[0]), axis.at(along.measured[1])),
        valleys=[axis.at(place) for place in several],
    )


def _lowest(paths: Array, along: Along) -> Array:
    """Return where each draw is lowest (S,): of three neighbours the vertex of the parabola through them.

    Draws that still fall at the last place before trials diverge are lowest somewhere between: evenly.
    """
    places = along.places
    at = paths.argmin(1)
    inner = np.clip(at, 1, len(places) - 2)
    left, middle, right = (paths[np.arange(len(paths)), inner + k] for k in (-1, 0, 1))
    bend = left - 2 * middle + right
    shift = np.where(bend > 0, 0.5 * (left - right) / np.where(bend > 0, bend, 1.0), 0.0)
    refined = places[inner] + np.clip(shift, -1, 1) * (places[1] - places[0])
    lowest = np.where(at == inner, refined, places[at])
    falling = np.flatnonzero(at == len(places) - 1)
    if along.diverged_from is not None and along.diverged_from > places[-1]:
        share = (np.arange(len(falling)) + 0.5) / max(1, len(falling))
        lowest[falling] = places[-1] + share * (along.diverged_from - places[-1])
    return lowest


def _several(paths: Array, places: Array, lowest: Array, least: tuple[float, float]) -> list[float]:
    """Return the best place of each valley in which the best may lie, the likeliest first; none for one valley.

    least: by how much the loss is higher between them, and how far they are apart.
    """
    worse = np.quantile(paths - paths.min(1, keepdims=True), BAND[0], axis=0) > least[0]
    number = np.cumsum(np.diff(worse, prepend=worse[:1]) != 0)[np.abs(lowest[:, None] - places).argmin(1)]
    numbers, counts = np.unique(number, return_counts=True)
    several: list[float] = []
    for each in numbers[np.argsort(-counts, kind="stable")]:
        place = float(np.median(lowest[number == each]))
        if (number == each).mean() >= LIKELY and all(abs(place - other) > least[1] for other in several):
            several.append(place)
    return several if len(several) > 1 else []


def _is_flat(along: Along, paths: Array, mean: Array, best: float, noise: float) -> Mask:
    """Return where the mean is at most `noise` above its best place (X,), and where it is foreseen nearly all draws."""
    places, (low, high) = along.places, along.measured
    flat = mean <= float(np.interp(best, places, mean)) + noise
    foreseen = (places < low - 1e-9) | (places > high + 1e-9)
    if foreseen.any():
        worse = paths[:, foreseen] - at_place(paths, places, best)[:, None]
        flat[foreseen] &= np.quantile(worse, BAND[1], axis=0) <= noise
    return flat


def _within(places: Array, fits: Mask, best: float) -> tuple[float, float]:
    """Return the part of the places around the best one that fits without a gap."""
    at = int(np.abs(places - best).argmin())
    low = high = at
    while low > 0 and fits[low - 1]:
        low -= 1
    while high < len(places) - 1 and fits[high + 1]:
        high += 1
    return min(best, float(places[low])), max(best, float(places[high]))


def _edge(along: Along, best: float) -> str | None:
    """Return the end of the searched range at which the best lies, if it may lie beyond."""
    low, high = along.axis.ends
    if best <= low + RIM * (high - low) and wider(along.axis, "low"):
        return "low"
    if best >= high - RIM * (high - low) and along.diverged_from is None and wider(along.axis, "high"):
        return "high"
    return None
