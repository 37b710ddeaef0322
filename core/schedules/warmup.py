"""The linear warm-up that can precede every schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from espalier.core.numbers import Number
from espalier.core.schedules.schedule import RateFunction, as_share

if TYPE_CHECKING:
    from torch import Tensor

WARMUP = Number("warmup", 0.0, 0.0, 1.0, "share of the budget over which the rate rises from 0", home="space")


def warmed(schedule: RateFunction, warmup_K: Tensor) -> RateFunction:
    """Rise linearly from 0 to the schedule's own rate over the share `warmup` of the budget (0: no warm-up).

    lr(u) = min(1, u / warmup) * schedule(u), as in Hugging Face's schedules: the first step has rate 0.

    >>> import torch
    >>> from espalier.core.schedules.constant import constant
    >>> lr_K = warmed(constant(torch.tensor([0.1])), torch.tensor([0.5, 0.0]))
    >>> [round(x, 3) for x in lr_K(0.25).tolist()]
    [0.05, 0.1]
    """
    import torch

    length_K = torch.where(warmup_K > 0, warmup_K, torch.ones_like(warmup_K))

    def rate(u: Tensor | float) -> Tensor:
        ramp_K = torch.where(warmup_K > 0, (as_share(u) / length_K).clamp(max=1), torch.ones_like(warmup_K))
        return ramp_K * schedule(u)

    return rate
