"""The order of data: which examples a step sees, as a pure function of (seed, step).

S = steps, B = examples in a batch. It does not depend on the lane, on its neighbours, or on where a run was resumed.
"""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

Order = Callable[[int, int], Tensor]
"""order(first, last) -> the indexes of the examples of steps first ... last - 1, an int64 tensor (last - first, B)."""

_MASK = (1 << 64) - 1


def mix(*numbers: int) -> int:
    """Hash integers to 63 bits (the finaliser of splitmix64), so that nearby seeds give unrelated streams.

    >>> mix(1, 2) == mix(1, 2), mix(1, 2) == mix(2, 1)
    (True, False)
    """
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 1


@lru_cache(maxsize=16)
def _permutation(seed: int, epoch: int, examples: int) -> Tensor:
    return torch.randperm(examples, generator=torch.Generator().manual_seed(mix(seed, epoch)))


def shuffled(seed: int, examples: int, batch_size: int) -> Order:
    """Epochs without replacement, each shuffled anew; an incomplete last batch is dropped.

    With batch_size >= examples every step sees all examples, unshuffled.
    """
    if batch_size >= examples:
        return lambda first, last: torch.arange(examples).expand(last - first, examples)
    batches = examples // batch_size

    def order(first: int, last: int) -> Tensor:
        parts: list[Tensor] = []
        while first < last:
            epoch, place = divmod(first, batches)
            steps = min(last - first, batches - place)
            begin = place * batch_size
            whole = _permutation(seed, epoch, examples)[begin : begin + steps * batch_size]
            parts.append(whole.view(steps, batch_size))
            first += steps
        return torch.cat(parts)

    return order
