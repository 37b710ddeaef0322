"""The averaged weights of a model in any training loop, by the engine's own rule.

They imitate a decay of the rate without a step: a score of them says early what a trial will be worth at its end.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from espalier.core.arguments import checked, instance
from espalier.core.training.averages import AVERAGE_EVERY, share_of


class WeightAverage:
    """A moving average of a model's weights and buffers, whose width stays a tenth of the steps so far.

    Call `update(step)` after each step, counted from 1. Source: Karras et al. 2024, arXiv:2312.02696, equation 2.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> average = WeightAverage(model)
    >>> for step in range(1, 33):
    ...     _ = model.weight.data.fill_(float(step))
    ...     average.update(step)
    >>> with average.applied():
    ...     round(model.weight.item(), 2)
    31.15
    >>> model.weight.item()
    32.0
    """

    @checked(model=instance(lambda: nn.Module, "a torch.nn.Module"))
    def __init__(self, model: nn.Module):
        """Begin with the model's present weights. Raises BadInput for what is no model."""
        self.model = model
        self._averages = {name: tensor.detach().clone() for name, tensor in self._tensors().items()}

    def _tensors(self) -> dict[str, Tensor]:
        named = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
        return {name: tensor for name, tensor in named.items() if tensor.is_floating_point()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the model's weights after `step` steps into the average; it does so at every eighth."""
        if step % AVERAGE_EVERY:
            return
        share = torch.tensor(share_of(step))
        for name, tensor in self._tensors().items():
            mean = self._averages[name]
            self._averages[name] = mean + (tensor.detach() - mean) * share.to(mean)

    @contextmanager
    def applied(self) -> Generator[nn.Module]:
        """Give the model its averaged weights for the block, as for a validation."""
        own = {name: tensor.detach().clone() for name, tensor in self._tensors().items()}
        self._set(self._averages)
        try:
            yield self.model
        finally:
            self._set(own)

    @torch.no_grad()
    def _set(self, values: dict[str, Tensor]) -> None:
        for name, tensor in self._tensors().items():
            tensor.copy_(values[name])

    def state_dict(self) -> dict[str, Any]:
        """Return the averages, for a checkpoint."""
        return dict(self._averages)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from a checkpoint."""
        for name, tensor in state.items():
            self._averages[name].copy_(tensor)
