"""A constant rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from espalier.core.schedules.schedule import Columns, Phase, RateFunction, Schedule, as_share

if TYPE_CHECKING:
    from torch import Tensor


class Constant(Schedule):
    """The same rate at every step: lr(u) = peak."""

    def build(self, columns_K: Columns, phases: Sequence[Phase] = ()) -> RateFunction:
        return constant(columns_K["lr"])


def constant(peak_K: Tensor) -> RateFunction:
    """The same rate at every step.

    >>> import torch
    >>> constant(torch.tensor([0.1], dtype=torch.float64))(0.7).tolist()
    [0.1]
    """

    def rate(u: Tensor | float) -> Tensor:
        u_K = as_share(u)
        return peak_K * u_K.new_ones(u_K.shape)

    return rate
