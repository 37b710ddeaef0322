"""Shapes: six ways for a rate to go from one value to another, and a fall along one of them.

K = lanes. A lane's rates do not depend on K: no operation is used whose result depends on an element's position in
its tensor, as `pow`'s does.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from espalier.core.errors import BadInput, nearest
from espalier.core.schedules.schedule import RateFunction, as_share
from espalier.core.tensors import as_list

if TYPE_CHECKING:
    from torch import Tensor

SHAPES = ("constant", "linear", "cosine", "exponential", "polynomial", "sqrt")


def anneal(
    shape: str, start: Tensor | float, end: Tensor | float, p: Tensor | float, power: Tensor | float = 1.0
) -> Tensor:
    """Return the rate at the share p of the way from `start` to `end` (p in [0, 1]).

    constant:     start
    linear:       start + p * (end - start)
    cosine:       start + (1 + cos(pi * (1 - p))) * (end - start) / 2
    exponential:  start * (end / start) ** p
    polynomial:   end + (start - end) * (1 - p) ** power           (torch's PolynomialLR)
    sqrt:         end + (start - end) * (1 - sqrt(p))              (Hägele et al. 2024, arXiv:2405.18392)

    The first four are those of fastai's course (part 2, lesson 9).

    >>> [round(anneal(shape, 2, 0.01, 0.25).item(), 6) for shape in ("linear", "cosine", "exponential", "constant")]
    [1.5025, 1.708571, 0.53183, 2.0]
    """
    import torch

    start, end, p, power = (torch.as_tensor(x, dtype=torch.float64) for x in (start, end, p, power))
    if shape == "linear":
        return start + p * (end - start)
    if shape == "cosine":
        return start + (1 + torch.cos(math.pi * (1 - p))) * (end - start) / 2
    if shape == "exponential":
        return start * torch.exp(p * _log(end / start).reshape((end / start).shape))
    if shape == "polynomial":
        left = 1 - p
        return end + (start - end) * torch.where(power == 1, left, torch.exp(power * torch.log(left)))
    if shape == "sqrt":
        return end + (start - end) * (1 - torch.sqrt(p))
    if shape == "constant":
        return start + 0 * p
    raise BadInput(f"schedule: unknown shape '{shape}'; {nearest(shape, SHAPES)}")


def _log(x_K: Tensor) -> Tensor:
    """Return logarithms computed number by number: the same bits at every position."""
    import torch

    return torch.tensor([math.log(x) if x > 0 else -math.inf for x in as_list(x_K.flatten())], dtype=x_K.dtype)


def fall(shape: str, peak_K: Tensor, floor_K: Tensor, start_K: Tensor, power_K: Tensor | float = 1.0) -> RateFunction:
    """Hold the peak up to the share `start`, then go to `floor * peak` at the end along a shape of `anneal`.

    A cosine without a start is that of Loshchilov and Hutter 2017 (one cycle, arXiv:1608.03983); with one at 0.8 and a
    linear or square-root shape this is warm-up-stable-decay (Hu et al. 2024, arXiv:2404.06395; Hägele et al. 2024).

    >>> import torch
    >>> zero, two = (torch.tensor([x], dtype=torch.float64) for x in (0.0, 2.0))
    >>> [round(fall("cosine", two, zero, zero)(u).item(), 4) for u in (0.0, 0.5, 1.0)]
    [2.0, 1.0, 0.0]
    """
    import torch

    span_K = torch.where(start_K < 1, 1 - start_K, torch.ones_like(start_K))

    def rate(u: Tensor | float) -> Tensor:
        p_K = ((as_share(u) - start_K) / span_K).clamp(0, 1)
        return peak_K * anneal(shape, torch.ones_like(floor_K), floor_K, p_K, power_K)

    return rate
