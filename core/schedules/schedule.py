"""The interface of schedules: the numbers it takes, and the rate as a pure function of the share of the budget.

K = lanes, P = decay points. A schedule is built from float64 columns (K,), and called with u = step / budget: a number
for all lanes, or a tensor (..., K). It returns the learning rates (..., K). It runs on the CPU, before its steps, so
its rates are the same in every program. Torch is imported only when a schedule is built.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from espalier.core.errors import BadInput
from espalier.core.numbers import Number
from espalier.core.tensors import as_list, as_rows

if TYPE_CHECKING:
    from torch import Tensor

RateFunction: TypeAlias = "Callable[[Tensor | float], Tensor]"
"""The rates of K lanes at a share of the budget."""
Columns: TypeAlias = "Mapping[str, Tensor]"
"""What a schedule is built from: `lr`, `warmup` and its own numbers (K,), `points` (K, P), `budget` in steps (K,)."""
Phase: TypeAlias = tuple[float, str, float, float]
"""A share of the budget, a shape, and the rates at its begin and end as multiples of the peak."""


class Schedule:
    """The shape of the rate over the budget.

    Your own is a class with `rate`, in a file that a spec names as `schedule: {kind: file.py:Class}`:

    >>> class Sawtooth(Schedule):
    ...     '''Falls in a line from the peak to nothing, so many times.'''
    ...
    ...     numbers = (Number("teeth", 3, 1, 100, "how many times the rate falls"),)
    ...
    ...     def rate(self, u: float, teeth: float) -> float:
    ...         return 1 - u * teeth % 1
    >>> import torch
    >>> lr_K = Sawtooth().build({"lr": torch.tensor([0.1, 0.4]), "teeth": torch.tensor([1.0, 2.0])})
    >>> [round(rate, 3) for rate in lr_K(0.75).tolist()]
    [0.025, 0.2]
    """

    numbers: ClassVar[tuple[Number, ...]] = ()
    """What it takes beside `lr` and `warmup`."""
    decay_points: ClassVar[int] = 0
    """How many decay points it may have."""
    turn: ClassVar[float | None] = None
    """Where it turns down without a decay point, as a share of the budget; None: after the warm-up."""
    takes_phases: ClassVar[bool] = False

    @classmethod
    def check(cls, numbers: Mapping[str, float]) -> None:
        """Raise BadInput for numbers that do not fit together. Each is already within its own limits."""

    def rate(self, u: float, **numbers: float) -> float:
        """Return the rate of one lane at the share u of the budget, as a multiple of the peak.

        It gets the schedule's numbers by name, and with `decay_points` also `points`, a sorted list of shares.
        """
        raise BadInput(f"schedule: {type(self).__name__} has no rate(); it must return a multiple of the peak")

    def build(self, columns_K: Columns, phases: Sequence[Phase] = ()) -> RateFunction:
        """Return the rates of all lanes as one function.

        The default calls `rate` for one number after the other, so a lane's bits do not depend on other lanes. An
        override that computes with whole tensors must ensure that itself: `pow`, `exp` and `sin` round differently at
        the end of a tensor.
        """
        import torch

        peaks = as_list(columns_K["lr"])
        lanes = [self._arguments(columns_K, k) for k in range(len(peaks))]

        def rates(u: Tensor | float) -> Tensor:
            u_K = as_share(u) * torch.ones(len(peaks), dtype=torch.float64)
            rows = as_rows(u_K.reshape(-1, len(peaks)))
            table = [
                [peak * self.rate(share, **lane) for peak, lane, share in zip(peaks, lanes, row, strict=True)]
                for row in rows
            ]
            return torch.tensor(table, dtype=torch.float64).reshape(u_K.shape)

        return rates

    def _arguments(self, columns_K: Columns, k: int) -> dict[str, float]:
        arguments: dict[str, float] = {number.name: columns_K[number.name][k].item() for number in self.numbers}
        if self.decay_points:
            points = as_list(columns_K["points"][k])
            arguments["points"] = [p for p in points if math.isfinite(p)]  # pyright: ignore[reportArgumentType]
        return arguments

    def first_point(self, columns_K: Columns) -> Tensor:
        """Return the first decay point of each lane; for a lane without one, `turn` or the end of its warm-up."""
        import torch

        default = columns_K["warmup"] if self.turn is None else self.turn
        if not columns_K["points"].shape[-1]:
            return torch.as_tensor(default, dtype=torch.float64) * torch.ones_like(columns_K["lr"])
        first_K = columns_K["points"][:, 0]
        return torch.where(first_K.isfinite(), first_K, default)


def as_share(u: Tensor | float) -> Tensor:
    """Return a share of the budget as a float64 tensor."""
    import torch

    return torch.as_tensor(u, dtype=torch.float64)
