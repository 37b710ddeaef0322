"""A moving average of a trial's weights: it imitates a decay of the rate without training a step.

In a row, "average.<name>" is the average of "<name>".
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from espalier.core.rows import Row
from espalier.core.training.lane import Lane

PREFIX = "average."
AVERAGE_EVERY, AVERAGE_POWER = 8, 6.94
"""The averaged weights: beta = (1 - m / t) ** (power + 1) at every m-th step t, so that the average's width stays a
tenth of the steps so far (Karras et al. 2024, arXiv:2312.02696, equation 2 with sigma_rel 0.10)."""


def share_of(step: int) -> float:
    """Return the share that the weights after `step` steps get in their average: 1 at the first."""
    return 1 - (1 - AVERAGE_EVERY / step) ** (AVERAGE_POWER + 1)


class Averages:
    """Averages of all lanes' weights, computed where a score needs them (`wanted`)."""

    def __init__(self, wanted: bool):
        self.wanted = wanted

    def with_averages(self, row: Row) -> Row:
        """Return a new lane's row with averages added, equal to its weights and buffers."""
        if not self.wanted:
            return row
        averaged = {name: t for name, t in row.items() if not name.startswith("slot.") and t.is_floating_point()}
        return row | {f"{PREFIX}{name}": t.clone() for name, t in averaged.items()}

    def next_due(self, active: Sequence[Lane], trained: int) -> list[int]:
        """Return the next step of a stretch, after `trained`, at which each lane's average is updated."""
        if not self.wanted:
            return []
        ages = (lane.step + trained for lane in active if not lane.is_probe)
        return [trained + AVERAGE_EVERY - age % AVERAGE_EVERY for age in ages]

    def update(self, rows: Mapping[str, Tensor], active: Sequence[Lane], trained: int) -> None:
        """Update the averages of the lanes that are due after `trained` steps of a stretch."""
        if not self.wanted:
            return
        due = [
            (k, lane.step + trained)
            for k, lane in enumerate(active)
            if (lane.step + trained) % AVERAGE_EVERY == 0 and not lane.is_probe
        ]
        if not due:
            return
        lanes = [k for k, _ in due]
        share = torch.tensor([share_of(step) for _, step in due])
        for name in [name for name in rows if name.startswith(PREFIX)]:
            now, mean = rows[name.removeprefix(PREFIX)][lanes], rows[name][lanes]
            column = share.to(now).view(-1, *[1] * (now.dim() - 1))
            rows[name][lanes] = mean + (now - mean) * column


def without_averages(rows: Mapping[str, Tensor]) -> Row:
    """Return the rows without averages."""
    return {name: tensor for name, tensor in rows.items() if not name.startswith(PREFIX)}
