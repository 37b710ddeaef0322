"""Learning-rate schedules: pure functions of the share of the budget, one column per lane.

K = lanes, P = decay points. A schedule is built from (K,) float64 tensors and called with u = step / budget: a number
for all lanes, or a tensor (..., K). It returns the learning rates (..., K). Only operations whose result does not
depend on an element's place in its tensor are used (`pow` is not one of them), so a lane's rates do not depend on K.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

Schedule = Callable[[Tensor | float], Tensor]


def _share(u: Tensor | float) -> Tensor:
    return torch.as_tensor(u, dtype=torch.float64)


def constant(peak_K: Tensor) -> Schedule:
    """The same rate at every step.

    >>> constant(torch.tensor([0.1], dtype=torch.float64))(0.7).tolist()
    [0.1]
    """
    return lambda u: peak_K * torch.ones_like(_share(u))


def step_decay(peak_K: Tensor, points_KP: Tensor, factor_K: Tensor) -> Schedule:
    """Multiply the rate by `factor` at each decay point (a share of the budget, in [0, 1]).

    lr(u) = peak * factor ** #{p in points : u >= p},   u = step / budget

    A point of infinity is never reached; it pads lanes that have fewer points.

    >>> lr_K = step_decay(torch.tensor([0.1]), torch.tensor([[0.5]]), torch.tensor([0.1]))
    >>> [round(lr_K(u).item(), 4) for u in (0.0, 0.49, 0.5)]
    [0.1, 0.1, 0.01]
    """
    factors = [torch.ones_like(factor_K)]
    for _ in range(points_KP.shape[-1]):
        factors.append(factors[-1] * factor_K)  # products, since `pow` is not place-independent
    rates_KP = peak_K[:, None] * torch.stack(factors, -1)

    def rate(u: Tensor | float) -> Tensor:
        u_K = _share(u) * torch.ones_like(peak_K)
        passed_K = (u_K[..., None] >= points_KP).sum(-1)
        return rates_KP.expand(*passed_K.shape, -1).gather(-1, passed_K[..., None])[..., 0]

    return rate


def cosine(peak_K: Tensor, floor_K: Tensor, start_K: Tensor) -> Schedule:
    """Fall from the peak to `floor * peak` along half a cosine, from the share `start` to the end of the budget.

    lr(u) = peak * (floor + (1 - floor) * (1 + cos(pi * p)) / 2),   p = clamp((u - start) / (1 - start), 0, 1)

    Loshchilov and Hutter 2017, one cycle without restarts (arXiv:1608.03983).

    >>> zero = torch.tensor([0.0], dtype=torch.float64)
    >>> lr_K = cosine(torch.tensor([2.0], dtype=torch.float64), zero, zero)
    >>> [round(lr_K(u).item(), 4) for u in (0.0, 0.5, 1.0)]
    [2.0, 1.0, 0.0]
    """

    def rate(u: Tensor | float) -> Tensor:
        p_K = ((_share(u) - start_K) / (1 - start_K)).clamp(0, 1)
        return peak_K * (floor_K + (1 - floor_K) * (1 + torch.cos(math.pi * p_K)) / 2)

    return rate


def warmed(schedule: Schedule, warmup_K: Tensor) -> Schedule:
    """Rise linearly from 0 to the schedule's own rate over the first `warmup` of the budget (0: no warm-up).

    lr(u) = min(1, u / warmup) * schedule(u), as in Hugging Face's schedules: the first step has rate 0.

    >>> lr_K = warmed(constant(torch.tensor([0.1])), torch.tensor([0.5, 0.0]))
    >>> [round(x, 3) for x in lr_K(0.25).tolist()]
    [0.05, 0.1]
    """
    length_K = torch.where(warmup_K > 0, warmup_K, torch.ones_like(warmup_K))

    def rate(u: Tensor | float) -> Tensor:
        ramp_K = torch.where(warmup_K > 0, (_share(u) / length_K).clamp(max=1), torch.ones_like(warmup_K))
        return ramp_K * schedule(u)

    return rate
