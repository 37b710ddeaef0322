"""The one-cycle schedule, as in torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from espalier.core.schedules.falling import FLOOR
from espalier.core.schedules.onecycle_fastai import DIV, one_cycle
from espalier.core.schedules.schedule import Columns, Phase, RateFunction, Schedule, as_share

if TYPE_CHECKING:
    from torch import Tensor


class OneCycle(Schedule):
    """One cycle with the defaults of torch's OneCycleLR. A decay point is where the rate is highest."""

    numbers = (replace(FLOOR, default=1 / (25 * 1e4)), DIV)
    decay_points = 1
    turn = 0.3

    def build(self, columns_K: Columns, phases: Sequence[Phase] = ()) -> RateFunction:
        top_K = self.first_point(columns_K)
        return torch_one_cycle(columns_K["lr"], top_K, columns_K["div"], columns_K["floor"], columns_K["budget"])


def torch_one_cycle(peak_K: Tensor, top_K: Tensor, div_K: Tensor, floor_K: Tensor, budget_K: Tensor) -> RateFunction:
    """Return torch's OneCycleLR: it reaches its end at the last step and its peak one step before `top`."""
    import torch

    last_K = torch.where(budget_K > 1, budget_K - 1, torch.ones_like(budget_K))
    cycle = one_cycle(peak_K, ((top_K * budget_K - 1) / last_K).clamp(0, 1), div_K, floor_K)
    return lambda u: cycle((as_share(u) * budget_K / last_K).clamp(max=1))
