"""Stochastic gradient descent with momentum, also Nesterov's."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from espalier.core.numbers import Flag, Number
from espalier.core.optimizers.optimizer import Optimizer, stacked

if TYPE_CHECKING:
    from torch import Tensor

MOMENTUM = Number(
    "momentum", 0.0, 0.0, 1.0, "how much of the last update is kept: at 1 nothing is forgotten", below=True, typical=0.9
)
WEIGHT_DECAY = Number("weight_decay", 0.0, 0.0, 1e9, "how strongly weights are drawn to 0", typical=0.01)


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent with momentum, as torch.optim.SGD with dampening 0.

    v <- momentum * v + (g + weight_decay * theta);  theta <- theta - lr * v
    (Nesterov: theta <- theta - lr * (g + weight_decay * theta + momentum * v); Sutskever et al. 2013)

    >>> import torch
    >>> theta_KP, slots = torch.tensor([[1.0]]), {"momentum": torch.zeros(1, 1)}
    >>> for _ in range(2):  # lr 0.1, momentum 0.5, no weight decay, a gradient of 1
    ...     SGD().update(theta_KP, torch.ones(1, 1), slots, torch.tensor([0.1, 0.5, 0.0]).view(3, 1, 1))
    ...     print(round(theta_KP.item(), 4))
    0.9
    0.75
    """

    numbers = (MOMENTUM, Flag("nesterov", doc="Nesterov's momentum"), WEIGHT_DECAY)

    nesterov: bool = False
    momentum: bool = True
    """False where no trial of the sweep has momentum: one row of state less."""
    decay: bool = True
    """False where no trial of the sweep has weight decay: one pass over the parameters less."""

    @classmethod
    def make(cls, flags: Mapping[str, bool], used: Collection[str]) -> SGD:
        return cls(flags.get("nesterov", False), momentum="momentum" in used, decay="weight_decay" in used)

    @property
    def slots(self) -> tuple[str, ...]:
        return ("momentum",) if self.momentum else ()

    def columns(self, lr_SK: Tensor, step_SK: Tensor, hyper_K: Mapping[str, Tensor]) -> Tensor:
        return stacked([lr_SK, hyper_K["momentum"], hyper_K["weight_decay"]])

    def update(self, theta_KP: Tensor, grad_KP: Tensor, slots: Mapping[str, Tensor], c_CK1: Sequence[Tensor]) -> None:
        lr_K1, momentum_K1, weight_decay_K1 = c_CK1
        step_KP = grad_KP.add_(theta_KP * weight_decay_K1) if self.decay else grad_KP
        if self.momentum:
            v_KP = slots["momentum"]
            v_KP.mul_(momentum_K1).add_(step_KP)
            step_KP = step_KP.add_(v_KP * momentum_K1) if self.nesterov else v_KP.clone()
        theta_KP.sub_(step_KP.mul_(lr_K1))
