"""A small task whose loss a test adds something to, and how it is trained: by us and by plain PyTorch."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from espalier.core.optimizers import SGD
from espalier.core.task import Batch, Data, Task
from espalier.core.training.cohort import Cohort
from espalier.core.training.events import Ended, Event
from espalier.core.training.setup import CohortSetup
from espalier.core.training.trial import Hyperparameters, Structure, Trial

F = nn.functional
STEPS, BATCH = 60, 16
PLAIN_SGD = Structure(SGD(momentum=False, decay=False), "constant", BATCH)


class Base(Task):
    """A small perceptron; a subclass says what is added to its loss."""

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))

    def data(self) -> Data:
        x = torch.randn(256, 4, generator=torch.Generator().manual_seed(0))
        y = (x[:, :1] * x[:, 1:2]).sin()
        return Data((x[:192], y[:192]), (x[192:], y[192:]))

    def metrics(self, model: nn.Module, batch: Batch, *clock: Tensor) -> Mapping[str, Tensor]:
        return {"loss": F.mse_loss(model(batch[0]), batch[1])}

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return F.mse_loss(model(batch[0]), batch[1]) * (1 + self.share(model))

    def share(self, model: nn.Module) -> Any:
        return 0.0


def trials(count: int = 3) -> list[Trial]:
    return [Trial(str(k), k % 2, STEPS, Hyperparameters(lr=0.05 / (k + 1)), 3) for k in range(count)]


def ends(task: Task, of: list[Trial], program: str = "plain", **more: Any) -> dict[str, Event]:
    cohort = Cohort(CohortSetup(task, task.data(), PLAIN_SGD, of, 8, program, **more))
    return {event.trial: event for event in cohort.train() if isinstance(event, Ended)}


def batch_of(task: Task) -> Batch:
    return tuple(tensor[:BATCH] for tensor in task.data().train)
