"""Parameters of Optuna as points of the model of freeze and thaw, and back."""

import math
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from espalier.sweeps.thaw.space import DECADES, Condition, Number, Point, Space

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
        conditions: Mapping[str, Mapping[str, Sequence[Value]]] = MappingProxyType({}),
    ):
        """domains: what is searched. rate, exponent: the name of the learning rate, or of its decimal logarithm.

        unordered: lists of numbers of which one is as near to another as any, such as seeds. conditions: by name, for
        each name that it depends on the values with which it exists; what is above comes first.
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
        self.names = [*self.axes, *self.choices]
        self.conditions = conditions

    @cached_property
    def space(self) -> Space:
        """The space of the model, without decay points."""
        numbers = tuple(axis.number for axis in self.axes.values())
        conditions = [
            Condition(self.names.index(name), self.names.index(on), tuple(self._place(on, value) for value in values))
            for name, among in self.conditions.items()
            for on, values in among.items()
        ]
        return Space(numbers, tuple(map(len, self.choices.values())), conditions=tuple(conditions))

    def _place(self, name: str, value: Value) -> float:
        """Return where a value lies on its axis."""
        axis = self.axes.get(name)
        return axis.coordinate(value) if axis else float(self.choices[name].index(value))

    def point(self, params: Mapping[str, Value]) -> Point:
        """Return the point of parameters; those that do not exist there are left out of them."""
        places = [self._place(name, params[name]) if name in params else 0.0 for name in self.names]
        (point,) = self.space.settled([tuple(places)])
        return point

    def places(self, params: Mapping[str, Value]) -> dict[int, float]:
        """Return where some parameters lie, by their places in a point."""
        return {self.names.index(name): self._place(name, value) for name, value in params.items()}

    def params(self, point: Point) -> dict[str, Value]:
        """Return the parameters of a point, as Optuna has them, without those that do not exist there."""
        exist = self.space.exist(np.array([point]))[0].tolist() if self.conditions else [True] * len(point)
        there = {name: place for name, place, exists in zip(self.names, point, exist, strict=True) if exists}
        return {name: self._value(name, place) for name, place in there.items()}

    def _value(self, name: str, place: float) -> Value:
        axis = self.axes.get(name)
        return axis.value(place) if axis else self.choices[name][int(place)]


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
