"""A grid: each combination of values once, in a random order."""

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import accumulate

import numpy
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, GridSampler

from espalier.sweeps.samplers import Sampler

Value = bool | int | float | str | None
"""What Optuna's choices may be."""
Part = tuple[Mapping[str, Value], Sequence[str]]
"""A part of a grid: values that all its points have, and the names of the axes along which they differ."""


class Grid(Sampler):
    """Proposes each point of a space of choices and steps once."""

    enumerates = True

    def make(self, domains: Mapping[str, BaseDistribution], seed: int, draw_seed: int) -> BaseSampler:
        """Return the sampler; it finds out by itself which points are taken."""
        return GridSampler(axis_values(domains), seed=seed)


class GridOrder:
    """The points of a grid in an order that depends on the seed alone, each once.

    Optuna's GridSampler gives a trial the point of its number: where some trials were given theirs, points would be
    left out; and it takes points for two that differ in nothing that exists there.
    """

    def __init__(self, domains: Mapping[str, BaseDistribution], seed: int, parts: Iterable[Part] | None = None):
        """parts: of a grid with conditions, whose points have different axes; None: a single one with all of them."""
        axes, self.seed = axis_values(domains), seed
        every = [({}, list(axes))] if parts is None else parts
        self.parts = [(dict(values), {name: axes[name] for name in names}) for values, names in every]
        self.ends = list(accumulate(math.prod(map(len, axes.values())) for _, axes in self.parts))
        self.taken: set[str] = set()
        self._passed = 0  # so many points in the order are taken

    def point(self, number: int) -> dict[str, Value]:
        """Return the point at a place in the order; empty for a space without axes."""
        index = int(self._order[number % len(self._order)])
        part = bisect_right(self.ends, index)
        index -= self.ends[part - 1] if part else 0
        values, axes = self.parts[part]
        point = dict(values)
        for name, listed in axes.items():
            index, place = divmod(index, len(listed))
            point[name] = listed[place]
        return point

    def take(self, params: Mapping[str, Value]) -> None:
        """Leave out a point from now on."""
        self.taken.add(_key(params))

    def free(self, values: Mapping[str, Value]) -> dict[str, Value] | None:
        """Return the first point that is not taken, of those that have the given values; None if all of them are."""
        while self._passed < len(self._order) and _key(self.point(self._passed)) in self.taken:
            self._passed += 1
        points = (self.point(place) for place in range(self._passed, len(self._order)))
        return next((point for point in points if _agree(point, values) and _key(point) not in self.taken), None)

    def next(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Return the first point that is not taken, if there is one with the given values."""
        return self.free(values) or self.point(self._passed)

    @cached_property
    def _order(self) -> "numpy.typing.NDArray[numpy.int64]":
        return numpy.random.default_rng(self.seed).permutation(self.ends[-1])


def _key(params: Mapping[str, Value]) -> str:
    return repr(sorted(params.items()))


def _agree(point: Mapping[str, Value], values: Mapping[str, Value]) -> bool:
    return all(name in point and point[name] == value for name, value in values.items())


def axis_values(domains: Mapping[str, BaseDistribution]) -> dict[str, list[Value]]:
    """Return the values of each hyperparameter on a grid."""
    axes: dict[str, list[Value]] = {}
    for name, domain in domains.items():
        if isinstance(domain, CategoricalDistribution):
            axes[name] = list(domain.choices)
        elif isinstance(domain, IntDistribution | FloatDistribution):
            step = domain.step or 1
            count = int((domain.high - domain.low) / step + 1e-9) + 1
            axes[name] = [min(domain.low + i * step, domain.high) for i in range(count)]
    return axes
