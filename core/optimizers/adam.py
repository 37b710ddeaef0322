"""Adam."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from espalier.core.numbers import Number
from espalier.core.optimizers.optimizer import Optimizer, powers, stacked
from espalier.core.optimizers.sgd import WEIGHT_DECAY

if TYPE_CHECKING:
    from torch import Tensor

BETA1 = Number("beta1", 0.9, 0.0, 1.0, "how much of the gradients' mean is kept", below=True, home="spec")
BETA2 = Number("beta2", 0.999, 0.0, 1.0, "how much of the squares' mean is kept", below=True, home="spec", typical=0.99)
EPS = Number("eps", 1e-8, 0.0, 1e9, "added to the root of the squares' mean", above=True, home="spec")


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, arXiv:1412.6980), as torch.optim.Adam.

    m <- beta1 m + (1 - beta1) g;  v <- beta2 v + (1 - beta2) g^2
    theta <- theta - lr / (1 - beta1^t) * m / (sqrt(v / (1 - beta2^t)) + eps)

    >>> import torch
    >>> hyper_K = {name: torch.tensor([x]).double() for name, x in (("beta1", 0.9), ("beta2", 0.999), ("eps", 1e-8))}
    >>> hyper_K["weight_decay"] = torch.zeros(1).double()
    >>> c_SCK = Adam().columns(torch.tensor([[0.1]]).double(), torch.zeros(1, 1).double(), hyper_K)
    >>> theta_KP, slots = torch.ones(1, 1).double(), {name: torch.zeros(1, 1).double() for name in Adam().slots}
    >>> Adam().update(theta_KP, torch.tensor([[30.0]]).double(), slots, c_SCK[0, :, :, None])
    >>> round(theta_KP.item(), 6)  # the first step is as long as the rate, whatever the gradient
    0.9
    """

    numbers = (BETA1, BETA2, EPS, WEIGHT_DECAY)
    decoupled: ClassVar[bool] = False
    """Whether weight decay is taken from the weights themselves, beside the gradient."""

    @classmethod
    def make(cls, flags: Mapping[str, bool], used: Collection[str]) -> Adam:
        return cls()

    @property
    def slots(self) -> tuple[str, ...]:
        return ("mean", "square")

    def columns(self, lr_SK: Tensor, step_SK: Tensor, hyper_K: Mapping[str, Tensor]) -> Tensor:
        beta1_SK, beta2_SK = (powers(hyper_K[name], step_SK + 1) for name in ("beta1", "beta2"))
        decay_K = hyper_K["weight_decay"] * (lr_SK if self.decoupled else lr_SK.new_ones(lr_SK.shape))
        columns = [lr_SK / (1 - beta1_SK), (1 - beta2_SK).sqrt(), hyper_K["eps"], decay_K]
        # 1 - beta is computed here, in float64: in float32, 1 - 0.999999 is 5% too large
        return stacked([*columns, 1 - hyper_K["beta1"], hyper_K["beta2"], 1 - hyper_K["beta2"]])

    def update(self, theta_KP: Tensor, grad_KP: Tensor, slots: Mapping[str, Tensor], c_CK1: Sequence[Tensor]) -> None:
        rate_K1, correction_K1, eps_K1, decay_K1, new1_K1, beta2_K1, new2_K1 = c_CK1
        if self.decoupled:
            theta_KP.mul_(1 - decay_K1)
        else:
            grad_KP.add_(theta_KP * decay_K1)
        m_KP, v_KP = slots["mean"], slots["square"]
        m_KP.add_((grad_KP - m_KP).mul_(new1_K1))
        v_KP.mul_(beta2_K1).add_(grad_KP.mul_(grad_KP).mul_(new2_K1))
        theta_KP.sub_(m_KP * rate_K1 / v_KP.sqrt().div_(correction_K1).add_(eps_K1))
