"""A schedule of phases: each is a share of the budget, a shape, and the rates at its start and end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from espalier.core.errors import BadInput, nearest
from espalier.core.schedules.schedule import Columns, Phase, RateFunction, Schedule, as_share
from espalier.core.schedules.shapes import SHAPES, anneal

if TYPE_CHECKING:
    from torch import Tensor


class Phases(Schedule):
    """Phases in sequence, see `combined`: `schedule: {kind: phases, phases: [[share, shape, from, to]]}`.

    fastai's course (part 2, lesson 9) combines schedules this way.
    """

    takes_phases = True

    def build(self, columns_K: Columns, phases: Sequence[Phase] = ()) -> RateFunction:
        return combined(columns_K["lr"], phases)


def combined(peak_K: Tensor, phases: Sequence[Phase]) -> RateFunction:
    """Join phases. Raises BadInput for a bad shape, or shares that do not add up to 1 (within a millionth).

    >>> import torch
    >>> lr_K = combined(torch.ones(1, dtype=torch.float64), [(0.3, "cosine", 0.3, 0.6), (0.7, "cosine", 0.6, 0.2)])
    >>> [round(lr_K(u).item(), 6) for u in (0, 0.1, 0.15, 0.3, 0.5, 0.65, 0.9, 1)]
    [0.3, 0.375, 0.45, 0.6, 0.524698, 0.4, 0.219806, 0.2]
    """
    import torch

    phases = check_phases(phases)
    ends = [math.fsum(phase[0] for phase in phases[: i + 1]) for i in range(len(phases))]
    begins = [0.0, *ends[:-1]]

    def rate(u: Tensor | float) -> Tensor:
        u_K = as_share(u) * torch.ones_like(peak_K)
        rate_K = torch.zeros_like(u_K)
        for begin, (share, shape, start, end) in zip(begins, phases, strict=True):
            p_K = ((u_K - begin) / share).clamp(0, 1)
            rate_K = torch.where(u_K >= begin, anneal(shape, start, end, p_K), rate_K)
        return peak_K * rate_K

    return rate


def check_phases(phases: Sequence[Sequence[Any]]) -> list[Phase]:
    """Return the phases as tuples. Raises BadInput."""
    if not phases:
        raise BadInput("schedule.phases: there are none; give [share, shape, from, to] for each")
    checked: list[Phase] = []
    for phase in phases:
        if len(phase) != 4:
            raise BadInput(f"schedule.phases: {list(phase)} is no phase; write [share, shape, from, to]")
        share, shape, start, end = float(phase[0]), str(phase[1]), float(phase[2]), float(phase[3])
        if shape not in SHAPES:
            raise BadInput(f"schedule.phases: unknown shape '{shape}'; {nearest(shape, SHAPES)}")
        if not 0 < share <= 1:
            raise BadInput(f"schedule.phases: a share of {share:g}; shares lie above 0 and add up to 1")
        if min(start, end) < 0 or (shape == "exponential" and min(start, end) <= 0):
            raise BadInput(
                f"schedule.phases: {shape} from {start:g} to {end:g}; rates are positive multiples of the peak"
            )
        checked.append((share, shape, start, end))
    total = math.fsum(phase[0] for phase in checked)
    if abs(total - 1) > 1e-6:
        raise BadInput(f"schedule.phases: the shares add up to {total:g}; they must add up to 1")
    return checked
