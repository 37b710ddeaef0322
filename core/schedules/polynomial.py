"""A rate that falls as a power of the remaining share."""

from __future__ import annotations

from collections.abc import Sequence

from espalier.core.numbers import Number
from espalier.core.schedules.falling import FLOOR, Falling
from espalier.core.schedules.schedule import Columns, Phase, RateFunction
from espalier.core.schedules.shapes import fall

POWER = Number("power", 1.0, 1e-3, 1e3, "the exponent of what is left of the budget")


class Polynomial(Falling):
    """Falls as a power of the remaining share: torch's PolynomialLR.

    lr(p) = peak * (floor + (1 - floor) * (1 - p) ** power),   p = the share of the fall that is done
    """

    numbers = (FLOOR, POWER)
    shape = "polynomial"

    def build(self, columns_K: Columns, phases: Sequence[Phase] = ()) -> RateFunction:
        start_K = self.first_point(columns_K)
        return fall(self.shape, columns_K["lr"], columns_K["floor"], start_K, columns_K["power"])
