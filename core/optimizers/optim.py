"""SGD, Adam and AdamW as pure updates of stacked rows, with one coefficient per lane.

K = lanes, P = parameters of one lane, S = steps. torch.optim takes one rate for a whole tensor; here each row has
its own. An optimizer has three parts: its `slots` (rows of state beside the parameters), `columns` (the numbers that a
step needs, computed in float64 beforehand) and `update` (in place, on the rows). Formulas and defaults are those of
torch.optim.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Optimizer(Protocol):
    """What a lane's parameters are updated with. Frozen and hashable: it is part of a cohort's structure."""

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of the rows of state, each (K, P), zero at the start of a trial."""
        ...

    def columns(self, lr_SK: Tensor, step_SK: Tensor, hyper_K: Mapping[str, Tensor]) -> Tensor:
        """Return the coefficients (S, C, K) of steps `step_SK` (counted from 0), float64."""
        ...

    def update(self, theta_KP: Tensor, grad_KP: Tensor, slots: Mapping[str, Tensor], c_CK1: Sequence[Tensor]) -> None:
        """Take one step in place. `grad_KP` may be overwritten. `c_CK1` is one step of the columns, C times (K, 1)."""
        ...


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with momentum, as torch.optim.SGD with dampening 0.

    v <- momentum * v + (g + weight_decay * theta);  theta <- theta - lr * v
    (Nesterov: theta <- theta - lr * (g + weight_decay * theta + momentum * v))
    """

    nesterov: bool = False
    momentum: bool = True
    """False where no trial of the sweep has momentum: one row of state less."""
    decay: bool = True
    """False where no trial of the sweep has weight decay: one pass over the parameters less."""

    @property
    def slots(self) -> tuple[str, ...]:
        return ("momentum",) if self.momentum else ()

    def columns(self, lr_SK: Tensor, step_SK: Tensor, hyper_K: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([lr_SK, hyper_K["momentum"].expand_as(lr_SK), hyper_K["weight_decay"].expand_as(lr_SK)], 1)

    def update(self, theta_KP: Tensor, grad_KP: Tensor, slots: Mapping[str, Tensor], c_CK1: Sequence[Tensor]) -> None:
        lr_K1, momentum_K1, weight_decay_K1 = c_CK1
        step_KP = grad_KP.add_(theta_KP * weight_decay_K1) if self.decay else grad_KP
        if self.momentum:
            v_KP = slots["momentum"]
            v_KP.mul_(momentum_K1).add_(step_KP)
            step_KP = step_KP.add_(v_KP * momentum_K1) if self.nesterov else v_KP.clone()
        theta_KP.sub_(step_KP.mul_(lr_K1))


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba 2015, arXiv:1412.6980); `decoupled` makes it AdamW (Loshchilov and Hutter, arXiv:1711.05101).

    m <- beta1 m + (1 - beta1) g;  v <- beta2 v + (1 - beta2) g^2
    theta <- theta - lr / (1 - beta1^t) * m / (sqrt(v / (1 - beta2^t)) + eps)
    """

    decoupled: bool = False

    @property
    def slots(self) -> tuple[str, ...]:
        return ("mean", "square")

    def columns(self, lr_SK: Tensor, step_SK: Tensor, hyper_K: Mapping[str, Tensor]) -> Tensor:
        ones_SK = torch.ones_like(lr_SK)
        beta1_SK, beta2_SK = (_powers(hyper_K[name], step_SK + 1) for name in ("beta1", "beta2"))
        decay_SK = hyper_K["weight_decay"] * (lr_SK if self.decoupled else ones_SK)
        columns = [lr_SK / (1 - beta1_SK), (1 - beta2_SK).sqrt(), hyper_K["eps"] * ones_SK, decay_SK]
        # what is left of a beta is taken here, in float64: of 0.999999 in float32 it is 5% too much
        columns += [beta_K * ones_SK for beta_K in (1 - hyper_K["beta1"], hyper_K["beta2"], 1 - hyper_K["beta2"])]
        return torch.stack(columns, 1)

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


def _powers(base_K: Tensor, exponent_SK: Tensor) -> Tensor:
    """base ** exponent through exp and the logs of single numbers: unlike `pow`, the same bits at every place."""
    logs = [math.log(base) if base > 0 else -math.inf for base in base_K.tolist()]
    return torch.exp(exponent_SK * torch.tensor(logs, dtype=base_K.dtype))


OPTIMIZERS: Mapping[str, Callable[[], Optimizer]] = {
    "sgd": SGD,
    "adam": Adam,
    "adamw": lambda: Adam(decoupled=True),
}
