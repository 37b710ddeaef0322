"""The subject of a checkup: a task, with the settings that it is to be trained with.

B = examples in a batch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from espalier.core.rows import seeded
from espalier.core.task import Batch, Data, Task, call
from espalier.core.training.trial import Hyperparameters, Structure


@dataclass(frozen=True)
class Subject:
    """A task and its data as a sweep would train them. steps: the budget of a trial."""

    task: Task
    data: Data
    structure: Structure
    hyper: Hyperparameters
    steps: int
    seed: int = 0

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the model."""
        return getattr(torch, self.structure.dtype)

    def new_model(self, seed: int | None = None) -> nn.Module:
        """Return a new model, initialised under a seed (None: the subject's)."""
        with seeded(self.seed if seed is None else seed):
            return self.task.model().to(self.dtype)

    def batch(self, step: int = 0) -> Batch:
        """Return the training batch (B, ...) of a step."""
        order = self.task.order(self.seed, len(self.data.train[0]), self.structure.batch_size)
        chosen = order(step, step + 1)[0]
        return tuple(tensor[chosen] for tensor in self.data.train)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the loss, under the same seed at every call. A loss that takes the step gets half of the budget."""
        half = torch.tensor(self.steps / 2, dtype=self.dtype), torch.tensor(0.5, dtype=self.dtype)
        with seeded(self.seed):  # the same dropout masks at every call
            return call(self.task.loss, model, batch, half)
