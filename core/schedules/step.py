"""A rate that drops at decay points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from espalier.core.numbers import Number
from espalier.core.schedules.schedule import Columns, Phase, RateFunction, Schedule, as_share

if TYPE_CHECKING:
    from torch import Tensor

DECAY_FACTOR = Number("decay_factor", 0.1, 0.0, 1.0, "what the rate is multiplied by at each decay point", home="space")


class Step(Schedule):
    """Multiply the rate by `decay_factor` at each decay point, as torch's MultiStepLR does."""

    numbers = (DECAY_FACTOR,)
    decay_points = 16

    def build(self, columns_K: Columns, phases: Sequence[Phase] = ()) -> RateFunction:
        return step_decay(columns_K["lr"], columns_K["points"], columns_K["decay_factor"])


def step_decay(peak_K: Tensor, points_KP: Tensor, factor_K: Tensor) -> RateFunction:
    """Multiply the rate by `factor` at each decay point (a share of the budget, in [0, 1]).

    lr(u) = peak * factor ** #{p in points : u >= p},   u = step / budget

    A point of infinity is never reached; it pads lanes that have fewer points.

    >>> import torch
    >>> lr_K = step_decay(torch.tensor([0.1]), torch.tensor([[0.5]]), torch.tensor([0.1]))
    >>> [round(lr_K(u).item(), 4) for u in (0.0, 0.49, 0.5)]
    [0.1, 0.1, 0.01]
    """
    import torch

    factors = [torch.ones_like(factor_K)]
    for _ in range(points_KP.shape[-1]):
        factors.append(factors[-1] * factor_K)  # products, since the bits of `pow` depend on the position
    rates_KP = peak_K[:, None] * torch.stack(factors, -1)

    def rate(u: Tensor | float) -> Tensor:
        u_K = as_share(u) * torch.ones_like(peak_K)
        passed_K = (u_K[..., None] >= points_KP).sum(-1)
        return rates_KP.expand(*passed_K.shape, -1).gather(-1, passed_K[..., None])[..., 0]

    return rate
