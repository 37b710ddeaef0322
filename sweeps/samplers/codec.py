"""Parameters of Optuna as points of the model of freeze and thaw, and back."""

import math
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from espalier.sweeps.thaw.space import DECADES, Number, Point, Space

Value = float | int | str | bool | None
LISTED_MOST = 1000  # points of a stepped range that are listed: of more, two hardly ever become one by rounding
ORDERED_LEAST = 3  # a list of fewer numbers has no order that would tell anything
DECADE = 10.0  # a list over so wide a range, or wider, is even on a logarithmic scale


class Codec:
    """Translates the parameters of a space.

    Numbers are coordinates: on a logarithm where they are searched on one. So is a list of three numbers or more, of
    which the nearest to a coordinate is meant. Other lists are choices, of which one is as near to another as any.
    """

    def __init__(
        self,
        domains: Mapping[str, BaseDistribution],
        rate: str | None = None,
        exponent: str | None = None,
        unordered: Collection[str] = (),
    ):
        """domains: what is searched. rate, exponent: the name of the learning rate, or of its decimal logarithm.

        unordered: lists of numbers of which one is as near to another as any, such as seeds.
        """
        lengths = dict.fromkeys(filter(None, (rate, exponent)), DECADES)
        self.axes = {
            name: Axis(domain, lengths.get(name), name == exponent)
            for name, domain in domains.items()
            if not isinstance(domain, CategoricalDistribution) or (name not in unordered and _ordered(domain.choices))
        }
        self.choices = {
            name: domain.choices
            for name, domain in domains.items()
            if isinstance(domain, CategoricalDistribution) and name not in self.axes
        }

    @cached_property
    def space(self) -> Space:
        """The space of the model, without decay points."""
        return Space(tuple(axis.number for axis in self.axes.values()), tuple(map(len, self.choices.values())))

    def point(self, params: Mapping[str, Value]) -> Point:
        """Return the point of parameters."""
        numbers = [axis.coordinate(params[name]) for name, axis in self.axes.items()]
        return (*numbers, *(float(options.index(params[name])) for name, options in self.choices.items()))

    def params(self, point: Point) -> dict[str, Value]:
        """Return the parameters of a point, as Optuna has them."""
        values = zip(self.axes.items(), point, strict=False)
        params: dict[str, Value] = {name: axis.value(coordinate) for (name, axis), coordinate in values}
        indexes = zip(self.choices.items(), point[len(self.axes) :], strict=True)
        return params | {name: options[int(index)] for (name, options), index in indexes}


class Axis:
    """A number that is searched.

    >>> axis = Axis(CategoricalDistribution([16, 64, 256]), None)
    >>> axis.number.low == math.log10(16), axis.value(2.0), axis.value(axis.coordinate(16))
    (True, 64, 16)
    """

    def __init__(self, domain: BaseDistribution, length: float | None, exponent: bool = False):
        """length: how far apart coordinates are alike, None for a share of the range. exponent: a logarithm itself."""
        self.domain, self.length = domain, length
        self.log = _is_log(domain) and not exponent

    @cached_property
    def listed(self) -> Sequence[float | int] | None:
        """Every value in ascending order; None for too many of them."""
        if isinstance(self.domain, CategoricalDistribution):
            return sorted({float(v): v for v in self.domain.choices if isinstance(v, float | int)}.values())
        assert isinstance(self.domain, FloatDistribution | IntDistribution)
        if (step := self.domain.step) is None or (self.domain.high - self.domain.low) / step >= LISTED_MOST:
            return None
        count = int((self.domain.high - self.domain.low) / step + 1e-9) + 1
        return [min(self.domain.low + k * step, self.domain.high) for k in range(count)]

    @cached_property
    def number(self) -> Number:
        """The number as the model has it."""
        listed = self.listed
        if listed is None:
            assert isinstance(self.domain, FloatDistribution | IntDistribution)
            return Number(self.coordinate(self.domain.low), self.coordinate(self.domain.high), self.length)
        values = tuple(map(self.coordinate, listed))
        return Number(values[0], values[-1], self.length, values)

    def coordinate(self, value: Value) -> float:
        """Return where a value lies."""
        assert isinstance(value, float | int)
        return math.log10(value) if self.log else float(value)

    def value(self, coordinate: float) -> float | int:
        """Return the value at a coordinate, or the nearest that the domain has."""
        if self.listed is not None:
            return min(self.listed, key=lambda value: abs(self.coordinate(value) - coordinate))
        value = 10.0**coordinate if self.log else coordinate
        assert isinstance(self.domain, FloatDistribution | IntDistribution)
        if self.domain.step:
            value = self.domain.low + round((value - self.domain.low) / self.domain.step) * self.domain.step
        value = min(max(value, self.domain.low), self.domain.high)
        return round(value) if isinstance(self.domain, IntDistribution) else value


def _ordered(choices: Sequence[Value]) -> bool:
    """Whether choices are numbers whose order tells something."""
    numbers = [choice for choice in choices if isinstance(choice, float | int) and not isinstance(choice, bool)]
    return len(numbers) == len(choices) and len(set(numbers)) >= ORDERED_LEAST


def _is_log(domain: BaseDistribution) -> bool:
    if isinstance(domain, CategoricalDistribution):
        numbers = [float(choice) for choice in domain.choices if isinstance(choice, float | int)]
        return min(numbers) > 0 and max(numbers) / min(numbers) >= DECADE
    return bool(getattr(domain, "log", False))
