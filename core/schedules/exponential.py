"""A rate that falls by the same factor at every step."""

from collections.abc import Mapping
from dataclasses import replace

from espalier.core.errors import BadInput
from espalier.core.schedules.falling import FLOOR, Falling


class Exponential(Falling):
    """Falls by the same factor at every step, to the floor at the end: torch's ExponentialLR.

    lr(p) = peak * floor ** p,   p = the share of the fall that is done
    """

    numbers = (replace(FLOOR, default=0.01),)
    shape = "exponential"

    @classmethod
    def check(cls, numbers: Mapping[str, float]) -> None:
        if numbers.get("floor") == 0:
            raise BadInput("schedule.floor: an exponential never reaches 0; give a floor above 0")
