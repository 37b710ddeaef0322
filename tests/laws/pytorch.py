"""An ordinary training loop in float64, by PyTorch's own optimizers and schedules."""

import math
from collections.abc import Iterable

import torch
from torch import nn
from torch.optim import lr_scheduler

from espalier.core.rows import seeded
from espalier.core.task import Data, Task
from espalier.core.training.history import history
from espalier.core.training.trial import Hyperparameters, Structure, Trial
from tests.laws.cases import (
    BATCH,
    COMMON,
    PHASES,
    Case,
)


def torch_optimizer(name: str, hyper: Hyperparameters, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    if name in ("Adam", "AdamW"):
        kind = torch.optim.Adam if name == "Adam" else torch.optim.AdamW
        return kind(parameters, lr=hyper.lr, weight_decay=hyper.get("weight_decay", 0.0))
    nesterov = name == "Nesterov"
    momentum = 0.0 if name == "SGD" else hyper.get("momentum", 0.0)
    decay = hyper.get("weight_decay", 0.0)
    return torch.optim.SGD(parameters, hyper.lr, momentum, weight_decay=decay, nesterov=nesterov)


def torch_scheduler(name: str, trial: Trial, optimizer: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
    """PyTorch's own schedule where it has one; with warm-up, LambdaLR of the formula written out."""
    hyper, steps = trial.hyper, trial.steps
    warmup, floor, decay = hyper.get("warmup", 0.0), hyper.get("floor", 0.0), hyper.get("decay_factor", 0.1)
    if not warmup and name == "step":
        milestones = [math.ceil(point * steps - 1e-9) for point in hyper.decay_points]
        return lr_scheduler.MultiStepLR(optimizer, milestones, decay)
    if not warmup and name == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, steps, hyper.lr * floor)
    if name not in COMMON:  # held against PyTorch's own in tests/core/schedules/test_schedule.py
        structure = Structure(schedule=name, phases=PHASES)
        table = history(structure, [trial], [0], steps + 1)[:, 0, 0] / hyper.lr
        return lr_scheduler.LambdaLR(optimizer, lambda step: table[step].item())

    def factor(step: int) -> float:
        u = step / steps
        ramp = min(1.0, u / warmup) if warmup else 1.0
        if name == "step":
            return ramp * decay ** sum(u >= point for point in hyper.decay_points)
        if name == "cosine":
            share = max(0.0, (u - warmup) / (1 - warmup))
            return ramp * (floor + (1 - floor) * (1 + math.cos(math.pi * share)) / 2)
        return ramp

    return lr_scheduler.LambdaLR(optimizer, factor)


def trained_by_pytorch(task: Task, data: Data, case: Case, trial: Trial) -> tuple[list[float], float]:
    """Return the losses of an ordinary training loop in float64, and the validation loss at its end."""
    data = data.to("cpu", torch.float64)
    with seeded(trial.seed):
        model = task.model().to(torch.float64)
    optimizer = torch_optimizer(case.optimizer, trial.hyper, model.parameters())
    scheduler = torch_scheduler(case.schedule, trial, optimizer)
    losses = []
    for indexes in task.order(trial.seed, len(data.train[0]), BATCH)(0, trial.steps):
        loss = task.loss(model, tuple(tensor[indexes] for tensor in data.train))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    model.eval()
    with torch.no_grad():
        return losses, task.loss(model, data.valid).item()
