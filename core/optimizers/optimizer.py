"""The interface of update rules: rows of state, coefficients of each step, and a step in place.

K = lanes, P = parameters of one lane, S = steps, C = coefficients. torch.optim takes one rate for a whole tensor;
here each row has its own.
Torch is imported only when a rule is used, so specs can be checked without it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from espalier.core.numbers import Flag, Number
from espalier.core.tensors import as_list

if TYPE_CHECKING:
    from torch import Tensor


class Optimizer:
    """An update rule. A subclass is a frozen dataclass, so that it is hashable: it is part of a cohort's structure.

    Your own is a class with `update`, in a file that a spec names as `optimizer: {kind: file.py:Class}`:

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Lion(Optimizer):
    ...     '''Lion (Chen et al. 2023, arXiv:2302.06675) with one beta.'''
    ...
    ...     numbers = (Number("beta", 0.9, 0.0, 1.0, "how much of the mean is kept"),)
    ...     slots = ("mean",)
    ...
    ...     def update(self, theta_KP, grad_KP, slots, c_CK1):
    ...         lr_K1, beta_K1 = c_CK1
    ...         mean_KP = slots["mean"]
    ...         mean_KP.mul_(beta_K1).add_(grad_KP * (1 - beta_K1))
    ...         theta_KP.sub_(mean_KP.sign() * lr_K1)
    """

    numbers: ClassVar[tuple[Number | Flag, ...]] = ()
    """What the rule takes beside the rate: numbers of each lane, and flags, which change the program."""

    @classmethod
    def make(cls, flags: Mapping[str, bool], used: Collection[str]) -> Optimizer:
        """Return the rule for a sweep. flags: values by name. used: names of the numbers that any trial may set."""
        return cls(**flags)

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of the rows of state, each (K, P), zero at the start of a trial."""
        return ()

    def columns(self, lr_SK: Tensor, step_SK: Tensor, hyper_K: Mapping[str, Tensor]) -> Tensor:
        """Return the coefficients (S, C, K) of steps `step_SK` (counted from 0), float64: the rate, then each number.

        Use operations whose bits do not depend on an element's position in its tensor: `powers` instead of `pow`.
        """
        numbers = [number.name for number in self.numbers if isinstance(number, Number)]
        return stacked([lr_SK, *(hyper_K[name] for name in numbers)])

    def update(self, theta_KP: Tensor, grad_KP: Tensor, slots: Mapping[str, Tensor], c_CK1: Sequence[Tensor]) -> None:
        """Take one step in place. `grad_KP` may be overwritten. `c_CK1` is one step of the columns, C times (K, 1)."""
        raise NotImplementedError(f"{type(self).__name__} has no update()")

    def typical(self) -> dict[str, Tensor]:
        """Return each number as a column (1,), at its typical value."""
        import torch

        numbers = [number for number in self.numbers if isinstance(number, Number)]
        values = {n.name: n.default if n.typical is None else n.typical for n in numbers}
        return {name: torch.tensor([value], dtype=torch.float64) for name, value in values.items()}


def stacked(columns: Sequence[Tensor]) -> Tensor:
    """Return columns (S, K) or (K,), of which the first is (S, K), as one table (S, C, K)."""
    import torch

    return torch.stack([column.expand_as(columns[0]) for column in columns], 1)


def powers(base_K: Tensor, exponent_SK: Tensor) -> Tensor:
    """Return base ** exponent by exp and log of single numbers: unlike `pow`, the same bits at every position.

    >>> import torch
    >>> powers(torch.tensor([0.5, 0.0]), torch.tensor([[1.0, 1.0], [2.0, 2.0]])).tolist()
    [[0.5, 0.0], [0.25, 0.0]]
    """
    import torch

    logs = [math.log(base) if base > 0 else -math.inf for base in as_list(base_K)]
    return torch.exp(exponent_SK * torch.tensor(logs, dtype=base_K.dtype))
