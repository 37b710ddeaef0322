"""A person's own training loop: what every program is compared with."""

import torch
from torch import nn

from espalier.core.task import Data, Task, takes_of_clock
from espalier.core.training.trial import Trial


def by_pytorch(task: Task, trial: Trial, batch_size: int) -> list[float]:
    """Return the loss of every step of a trial by torch.optim.SGD."""
    return trained_by_pytorch(task, trial, batch_size)[0]


def trained_by_pytorch(
    task: Task, trial: Trial, batch_size: int, dtype: torch.dtype = torch.float32
) -> tuple[list[float], nn.Module]:
    """Likewise, and return the model too."""
    data = task.data().to("cpu", dtype)
    with torch.random.fork_rng():
        torch.manual_seed(trial.seed)
        model = task.model().to(dtype)
    numbers = dict(trial.hyper.numbers)
    momentum, decay = numbers.get("momentum", 0.0), numbers.get("weight_decay", 0.0)
    optimizer = torch.optim.SGD(model.parameters(), trial.hyper.lr, momentum, weight_decay=decay)
    order, losses = task.order(trial.seed, len(data.train[0]), batch_size), []
    for step in range(trial.steps):
        batch = tuple(tensor[order(step, step + 1)[0]] for tensor in data.train)
        loss = task.loss(model.train(), batch, *[torch.tensor(float(step))][: len(takes_of_clock(type(task).loss))])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, model


def validation_loss(task: Task, model: nn.Module, data: Data) -> float:
    """Return the loss of the whole validation split."""
    with torch.no_grad():
        return float(task.metrics(model.eval(), data.valid)["loss"])
