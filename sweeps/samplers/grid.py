"""A grid: each combination of values once, in a random order."""

import math
from collections.abc import Mapping
from functools import cached_property

import numpy
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, GridSampler

from espalier.sweeps.samplers import Sampler

Value = bool | int | float | str | None
"""What Optuna's choices may be."""


class Grid(Sampler):
    """Proposes each point of a space of choices and steps once."""

    enumerates = True

    def make(self, domains: Mapping[str, BaseDistribution], seed: int, draw_seed: int) -> BaseSampler:
        """Return the sampler; it finds out by itself which points are taken."""
        return GridSampler(axis_values(domains), seed=seed)


class GridOrder:
    """The points of a grid in an order that depends on the seed alone, unlike GridSampler's."""

    def __init__(self, domains: Mapping[str, BaseDistribution], seed: int):
        self.axes, self.seed = axis_values(domains), seed

    def point(self, number: int) -> dict[str, Value]:
        """Return the point of the trial with this number; empty for a space without axes."""
        index, point = int(self._order[number % len(self._order)]), {}
        for name, values in self.axes.items():
            index, place = divmod(index, len(values))
            point[name] = values[place]
        return point

    @cached_property
    def _order(self) -> "numpy.typing.NDArray[numpy.int64]":
        return numpy.random.default_rng(self.seed).permutation(math.prod(map(len, self.axes.values())))


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
