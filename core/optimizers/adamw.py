"""AdamW."""

from dataclasses import dataclass, replace

from espalier.core.optimizers.adam import BETA1, BETA2, EPS, Adam
from espalier.core.optimizers.sgd import WEIGHT_DECAY


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101), as torch.optim.AdamW.

    theta <- theta - lr * weight_decay * theta, and then Adam's step without weight decay.

    >>> AdamW().slots, [number.name for number in AdamW.numbers]
    (('mean', 'square'), ['beta1', 'beta2', 'eps', 'weight_decay'])
    """

    numbers = (BETA1, BETA2, EPS, replace(WEIGHT_DECAY, default=0.01))
    decoupled = True
