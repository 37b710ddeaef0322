"""The one-cycle schedule, as in fastai."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from espalier.core.numbers import Number
from espalier.core.schedules.falling import FLOOR
from espalier.core.schedules.schedule import Columns, Phase, RateFunction, Schedule, as_share
from espalier.core.schedules.shapes import anneal

if TYPE_CHECKING:
    from torch import Tensor

DIV = Number("div", 25.0, 1.0, 1e12, "the first rate is peak / div")


class OneCycleFastai(Schedule):
    """One cycle with the defaults of fastai's fit_one_cycle. A decay point is where the rate is highest."""

    numbers = (replace(FLOOR, default=1e-5), DIV)
    decay_points = 1
    turn = 0.25

    def build(self, columns_K: Columns, phases: Sequence[Phase] = ()) -> RateFunction:
        top_K = self.first_point(columns_K)
        return one_cycle(columns_K["lr"], top_K, columns_K["div"], columns_K["floor"])


def one_cycle(peak_K: Tensor, top_K: Tensor, div_K: Tensor, floor_K: Tensor) -> RateFunction:
    """Rise along half a cosine from `peak / div` to the peak at the share `top`, then fall to `floor * peak`.

    Smith and Topin 2018 (arXiv:1708.07120) in the form of fastai's fit_one_cycle.

    >>> import torch
    >>> one = torch.ones(1, dtype=torch.float64)
    >>> lr_K = one_cycle(one, 0.25 * one, 25 * one, 1e-5 * one)
    >>> [round(lr_K(u).item(), 5) for u in (0.0, 0.25, 1.0)]
    [0.04, 1.0, 1e-05]
    """
    import torch

    def rate(u: Tensor | float) -> Tensor:
        u_K = as_share(u)
        up_K = (u_K / torch.where(top_K > 0, top_K, 1.0)).clamp(0, 1)
        down_K = ((u_K - top_K) / torch.where(top_K < 1, 1 - top_K, 1.0)).clamp(0, 1)
        rising_K, falling_K = anneal("cosine", 1 / div_K, 1.0, up_K), anneal("cosine", 1.0, floor_K, down_K)
        return peak_K * torch.where(u_K < top_K, rising_K, falling_K)

    return rate
