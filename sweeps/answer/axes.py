"""What was searched, as the answer sees it: numbers along axes, in the names and units of whoever wrote the spec."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from espalier.sweeps.spec.domains import Choice, Range
from espalier.sweeps.spec.space import Space

RATE = "lr_exponent"
ORDERED_LEAST = 3  # a list of fewer numbers has no order that would tell anything
DECADE = 10.0  # a list over so wide a range, or wider, is even on a logarithmic scale


@dataclass(frozen=True)
class Axis:
    """A number that was searched.

    name: as its author wrote it: `lr` where the space has `lr`, though trials have its exponent. key, place: where a
    trial's params have it; place: of a list, from 0. low, high: the range that was searched, in its own unit. log:
    whether it lies on a logarithmic scale. rate: whether it is the learning rate, or its exponent. values: of a list
    all that may occur, in ascending order; empty for a range. whole: whether it is a whole number.
    """

    name: str
    key: str
    low: float
    high: float
    log: bool = False
    rate: bool = False
    place: int | None = None
    values: tuple[float, ...] = ()
    whole: bool = False

    @property
    def exponent(self) -> bool:
        """Whether it is the decimal logarithm of a rate."""
        return self.rate and not self.log

    @property
    def decades(self) -> bool:
        """Whether coordinates are decades, so that one more is ten times as much."""
        return self.log or self.exponent

    def value(self, params: Mapping[str, Any]) -> float | None:
        """Return its value in a trial's params; None where the trial has none.

        >>> rate = Axis("lr", "lr_exponent", 1e-3, 1.0, log=True, rate=True)
        >>> rate.value({"lr_exponent": -2.0}), rate.value({}), rate.coordinate(0.01), rate.at(-2.0)
        (0.01, None, -2.0, 0.01)
        """
        value: Any = params.get(self.key)
        if self.place is not None:
            points = _listed(value or [])
            value = points[self.place] if len(points) > self.place else None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return None
        if self.log and self.key != RATE:
            return float(value) if value > 0 else None
        return 10.0**value if self.log else float(value)

    def coordinate(self, value: float) -> float:
        """Return where a value lies: its decimal logarithm on a logarithmic scale."""
        return math.log10(value) if self.log else value

    def at(self, coordinate: float) -> float:
        """Return the value at a coordinate."""
        return 10.0**coordinate if self.log else coordinate

    def value_of(self, value: float) -> float:
        """Return a value as it is typed into code: of an exponent the rate."""
        return 10.0**value if self.exponent else value

    @property
    def ends(self) -> tuple[float, float]:
        """The coordinates of the range."""
        return self.coordinate(self.low), self.coordinate(self.high)


@dataclass(frozen=True)
class Factor:
    """A choice of which one value is as near to another as any. key: where a trial's params have it."""

    name: str
    values: Sequence[Any]

    def index(self, params: Mapping[str, Any]) -> int:
        """Return which of its values a trial has; one beyond the last where it has none."""
        value = params.get(self.name)
        known = (k for k, each in enumerate(self.values) if each == value and isinstance(each, bool) == (value is True))
        return next(known, len(self.values)) if self.name in params else len(self.values)


@dataclass(frozen=True)
class Searched:
    """All that was searched: numbers and choices. Seeds are neither: they are what the noise is of.

    seeds: whether the seed was searched too, which then is told of a trial.
    """

    axes: Sequence[Axis]
    factors: Sequence[Factor]
    seeds: bool = False

    @classmethod
    def of(cls, space: Space) -> "Searched":
        """Return what a space searches."""
        axes: list[Axis] = []
        factors: list[Factor] = []
        written_as_rate = space.lr is not None
        for name, domain in space.domains():
            if name == "seed":
                continue
            numbers = _points_axes(domain) if name == "decay_points" else _axis(name, domain, written_as_rate)
            if numbers:
                axes += numbers
            elif isinstance(domain, Choice):
                factors.append(Factor(name, list(domain.choices)))
        return cls(tuple(axes), tuple(factors), any(name == "seed" for name, _ in space.domains()))

    @property
    def rate(self) -> Axis | None:
        """The axis of the learning rate; None where it was not searched."""
        return next((axis for axis in self.axes if axis.rate), None)

    def names(self) -> list[str]:
        """Return the names of all."""
        return [*(axis.name for axis in self.axes), *(factor.name for factor in self.factors)]


def _axis(name: str, domain: Range | Choice, written_as_rate: bool) -> list[Axis]:
    """Return a single number as an axis; none for a choice without an order."""
    key, place = _decay_place(name)
    if isinstance(domain, Range):
        low, high, log, values, whole = domain.low, domain.high, domain.log, (), domain.integer
    else:
        values = tuple(sorted(set(_numbers(domain.choices))))
        if len(values) < max(ORDERED_LEAST, len(domain.choices)):
            return []
        low, high = values[0], values[-1]
        whole = all(isinstance(value, int) for value in domain.choices)
        log = name != RATE and low > 0 and high / low >= DECADE
    if low == high:
        return []
    if name == RATE and written_as_rate:
        rates = tuple(10.0**value for value in values)
        return [Axis("lr", RATE, 10.0**low, 10.0**high, True, True, values=rates)]
    return [Axis(name, key, low, high, log, name in (RATE, "lr"), place, values, whole)]


def _decay_place(name: str) -> tuple[str, int | None]:
    """Return where params have a sampled name, and its place in a list: decay points are one list."""
    if not name.startswith("decay_point") or name == "decay_points":
        return name, None
    number = name.removeprefix("decay_point").removeprefix("_")
    return "decay_points", int(number) - 1 if number else 0


def _points_axes(domain: Range | Choice) -> list[Axis]:
    """Return the axes of decay points that are chosen from a list of lists of one length."""
    assert isinstance(domain, Choice)
    lists = [sorted(_listed(each)) for each in domain.choices]
    count = len(lists[0])
    if any(len(each) != count for each in lists) or len(lists) < ORDERED_LEAST:
        return []
    names = [f"decay_point_{k + 1}" for k in range(count)] if count > 1 else ["decay_point"]
    columns = zip(*lists, strict=True)
    return [
        Axis(name, "decay_points", min(column), max(column), place=k, values=tuple(sorted(set(column))))
        for k, (name, column) in enumerate(zip(names, columns, strict=True))
        if min(column) < max(column)
    ]


def _listed(value: Any) -> list[float]:
    many: list[Any] = list(value) if isinstance(value, list | tuple) else [value]  # pyright: ignore[reportUnknownArgumentType]
    return [float(each) for each in many]


def _numbers(values: Sequence[Any]) -> list[float]:
    return [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]


def wider(axis: Axis, edge: str) -> tuple[float, float] | None:
    """Return a range that reaches farther at one end, None where that end is a natural bound: 0, or the 1 of a share.

    Towards such a bound it goes half of the way: many a share may not be 1 itself.

    >>> wider(Axis("lr_exponent", "lr_exponent", -3, 0, rate=True), "high")
    (-3, 1.0)
    >>> wider(Axis("lr", "lr_exponent", 1e-4, 1e-2, True, True), "low")
    (1e-05, 0.01)
    >>> wider(Axis("momentum", "momentum", 0.5, 1.0), "high") is None
    True
    """
    if axis.values and axis.place is not None:
        return None  # lists of decay points
    end = axis.low if edge == "low" else axis.high
    reached = _beyond(axis, edge == "low", end)
    reached = round(reached) if axis.whole else float(f"{reached:.3g}")
    if (axis.whole and reached < 1 <= end) or not (reached < end if edge == "low" else reached > end):
        return None
    return (reached, axis.high) if edge == "low" else (axis.low, reached)


def _beyond(axis: Axis, below: bool, end: float) -> float:
    """Return a place beyond an end of the range: a decade, half of the range, or half of the way to 0 or 1."""
    if axis.exponent:
        return end - 1 if below else end + 1
    if axis.values and not axis.rate:
        end, before = axis.values[:2] if below else axis.values[:-3:-1]
        return end * end / before if axis.log or (below and end > 0) else 2 * end - before
    if axis.log:
        return end / 10 if below else end * 10
    if axis.low >= 0 and (below or axis.high <= 1):
        return end / 2 if below else (end + 1) / 2
    return end + (-0.5 if below else 0.5) * (axis.high - axis.low)


# --- in sentences: briefly, in the units in which people think of them ------------------------------------------------


def short(value: float, digits: int = 2) -> str:
    """Return a cost or a distance, briefly.

    >>> short(0.3021), short(0.0021, 1), short(12.4), short(-0.052), short(0.0), short(3.2e-7), short(0.00001, 1)
    ('.3', '.002', '12', '-.052', '0', '3.2e-07', '1e-05')
    """
    text = f"{value:.{digits}g}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def is_share(axis: Axis) -> bool:
    """Whether it is a decay point: a share of the budget, said in per cent."""
    return axis.key == "decay_points"


def spoken(axis: Axis) -> str:
    """Return the name of an axis in sentences: that in the spec; of an exponent "rate", of a decay point "decay"."""
    return (
        "rate"
        if axis.exponent
        else axis.name.replace("_point", "", 1).replace("_", " ")
        if is_share(axis)
        else axis.name
    )


def place_text(axis: Axis, value: float) -> str:
    """Return a value along an axis without its name.

    >>> rate = Axis("lr_exponent", "lr_exponent", -3, 0, rate=True)
    >>> place_text(rate, -0.774), place_text(Axis("decay_point", "decay_points", 0.4, 0.9, place=0), 0.826)
    ('0.168 (10^-0.77)', '83 %')
    """
    if axis.rate and axis.decades:
        exponent = value if axis.exponent else math.log10(value)
        return f"{10.0**exponent:.3g} (10^{exponent:.2f})"
    if axis.whole:
        return f"{round(value)}"
    return f"{100 * value:.0f} %" if is_share(axis) else f"{value:.3g}"


def doubt_text(axis: Axis, value: float, se: float) -> str:
    """Return a value along an axis and its standard error, without its name: on a logarithmic scale a power of ten.

    >>> doubt_text(Axis("momentum", "momentum", 0, 1), 0.9, 0.021)
    '0.9 ± .02'
    >>> doubt_text(Axis("lr", "lr", 1e-3, 1, True), 0.1, 0.1)
    '10^-1.00 ± .1'
    """
    if is_share(axis):
        return f"{100 * value:.0f} ± {100 * se:.0f} %"
    if axis.decades:
        return f"10^{value if axis.exponent else math.log10(value):.2f} ± {short(se, 1)}"
    return f"{value:.4g} ± {short(se, 1)}"


def value_text(axis: Axis, value: float, se: float | None = None) -> str:
    """Return a value with its name, and its standard error where it is known.

    >>> value_text(Axis("lr_exponent", "lr_exponent", -3, 0, rate=True), -0.774, 0.081)
    'rate 0.168 (10^-0.77 ± .08)'
    >>> value_text(Axis("lr", "lr_exponent", 1e-3, 1, True, True), 0.01)
    'lr 0.01 (10^-2.00)'
    >>> value_text(Axis("momentum", "momentum", 0, 1), 0.9, 0.021)
    'momentum 0.9 ± .02'
    """
    number = axis.name.removeprefix("decay_point").removeprefix("_")
    name = (f"decay {number} at" if number else "decay at") if is_share(axis) else spoken(axis)
    if se is None:
        return f"{name} {place_text(axis, value)}"
    rate = f"{axis.value_of(value):.3g} (" if axis.decades else ""
    return f"{name} {rate}{doubt_text(axis, value, se)}{')' if rate else ''}"


def range_text(axis: Axis, low: float, high: float) -> str:
    """Return a range along an axis.

    >>> range_text(Axis("lr_exponent", "lr_exponent", -3, 0, rate=True), -0.92, -0.61)
    '10^-0.92 to 10^-0.61'
    >>> range_text(Axis("hidden", "hidden", 16, 512, True), 40, 200)
    '40 to 200'
    >>> layers = Axis("layers", "layers", 1, 12, whole=True)
    >>> range_text(layers, 3.8, 6.3), range_text(layers, 4.2, 4.4)
    ('4 to 6', '4')
    """
    if axis.whole:  # those whole numbers that are in it, or the nearest to it
        first_whole, last_whole = math.ceil(low), math.floor(high)
        low, high = (first_whole, last_whole) if first_whole <= last_whole else (round((low + high) / 2),) * 2
    if axis.rate and axis.decades:
        first, last = (f"10^{end if axis.exponent else math.log10(end):.2f}" for end in (low, high))
    elif is_share(axis):
        first, last = f"{100 * low:.0f}", f"{100 * high:.0f}"
    else:
        first, last = (f"{end:.0f}" if axis.whole else f"{end:.3g}" for end in (low, high))
    unit = " %" if is_share(axis) else ""
    return f"{first}{unit}" if first == last else f"{first} to {last}{unit}"
