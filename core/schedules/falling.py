"""Schedules that hold their peak and then fall once, to a floor at the end of the budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from espalier.core.numbers import Number
from espalier.core.schedules.schedule import Columns, Phase, RateFunction, Schedule
from espalier.core.schedules.shapes import fall

FLOOR = Number("floor", 0.0, 0.0, 1e9, "the rate at the end, as a share of the peak", fixed_high=1.0)


class Falling(Schedule):
    """Falls once, along a shape; see `core.schedules.shapes.fall` for the formula.

    The fall begins at the decay point; without one, at `turn` or after the warm-up.
    """

    numbers = (FLOOR,)
    decay_points = 1
    shape: ClassVar[str] = "linear"

    def build(self, columns_K: Columns, phases: Sequence[Phase] = ()) -> RateFunction:
        return fall(self.shape, columns_K["lr"], columns_K["floor"], self.first_point(columns_K))
