"""Baselines of a trial: a constant guess, and its own model before the first step.

A constant guess is known only for a known loss. So `loss` and `metrics` of the task are called once, with perturbed
weights, and their values are compared with torch's own losses (measures.guesses).
"""

import copy
import math
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from espalier.core.measures.guesses import KNOWN, recognised
from espalier.core.optimizers import SGD
from espalier.core.order import mix
from espalier.core.programs.plain import PlainProgram
from espalier.core.programs.program import Program
from espalier.core.rows import seeded
from espalier.core.task import Batch, Data, Task, call, named_target

LOOKED_AT = 256  # examples: enough for the mean loss of an untrained model, few compared with a trial
MOVED = 0.1  # standard deviation of the perturbation; without it, initial weights may give every class the same loss


@contextmanager
def _outputs(model: nn.Module) -> Generator[list[Tensor]]:
    """Collect the layers' outputs, one number or one row for each example."""
    outputs: list[Tensor] = []

    def keep(module: nn.Module, args: object, out: object) -> None:
        if isinstance(out, Tensor) and out.is_floating_point() and 1 <= out.dim() <= 2:
            outputs.append(out.detach())

    hooks = [module.register_forward_hook(keep) for module in model.modules()]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def copied_task(task: Task) -> Task:
    """Return a copy of a task that shares only its tensors and arrays, so that calls do not change the task's state."""
    shared: dict[int, object] = {}
    waiting: list[object] = list(vars(task).values())
    while waiting:
        value = waiting.pop()
        if isinstance(value, (Tensor, np.ndarray, Data)):
            shared[id(cast("object", value))] = value
        elif isinstance(value, list | tuple | dict):
            container = cast("Mapping[object, object] | Sequence[object]", value)
            items = list(container.values() if isinstance(container, Mapping) else container)
            waiting += items if len(items) < 64 else []
    try:
        return copy.deepcopy(task, shared)
    except Exception:  # it has attributes that cannot be copied, such as a file or a lock
        return copy.copy(task)


class Baselines:
    """The baselines of a task's trials, computed on first use, and once for each seed.

    It uses its own copy of the task, its own model and program, so it changes no trial's numbers.
    """

    def __init__(self, task: Task, data: Data, batch_size: int, dtype: torch.dtype = torch.float32):
        self.task, self.data, self.batch_size, self.dtype = copied_task(task), data, batch_size, dtype
        self._before: dict[int, Mapping[str, float]] = {}

    @cached_property
    def program(self) -> Program:
        """The plain program, whichever program trains the trials."""
        return PlainProgram(self.task, SGD(), self.dtype)

    @cached_property
    def guess(self) -> Mapping[str, float]:
        """The values of a constant guess by the names in reports (`train_loss`, `valid_loss`, `valid_accuracy` ...).

        A loss or metric that was not recognised is missing.
        """
        known: dict[str, float] = {}
        for name, (kind, place) in self.kinds.items():
            split = self.data.train if name == "train_loss" else self.data.valid
            with suppress(Exception):  # splits that cannot be compared: different shapes or types
                known[name] = KNOWN[kind].guess(self.data.train[place], split[place])
        return known

    @cached_property
    def kinds(self) -> Mapping[str, tuple[str, int]]:
        """The name of each recognised loss or metric, with the position of its target in a batch."""
        try:
            with seeded(0):
                model = self.task.model().to(self.dtype)
            with torch.no_grad(), seeded(1):
                for parameter in model.parameters():
                    parameter.add_(MOVED * torch.randn_like(parameter))
            train, valid = (self._few(split) for split in (self.data.train, self.data.valid))
            with torch.no_grad(), seeded(2), _outputs(model.train()) as outputs:
                loss = call(self.task.loss, model, train)
            values = {"train_loss": (loss, outputs, train)}
            with torch.no_grad(), seeded(2), _outputs(model.eval()) as outputs:
                metrics = call(self.task.metrics, model, valid)
            values |= {f"valid_{name}": (value, outputs, valid) for name, value in metrics.items()}
            named = {n: recognised(value, outs, self._targets(batch)) for n, (value, outs, batch) in values.items()}
            return {name: kind for name, kind in named.items() if kind}
        except Exception:  # no guess is known for a task whose outputs cannot be collected
            return {}

    @property
    def target_index(self) -> int | None:
        """The position of the target in a batch: named by the task, or recognised with its loss."""
        named = named_target(self.task, len(self.data.train))
        kind = self.kinds.get("train_loss")
        return kind[1] if named is None and kind else named

    def before(self, seed: int) -> Mapping[str, float]:
        """Return the finite values of a seed's model before its first step: `train_loss`, `valid_<name>`."""
        if seed not in self._before:
            self._before[seed] = {name: v for name, v in self._untrained(seed).items() if math.isfinite(v)}
        return self._before[seed]

    def _untrained(self, seed: int) -> dict[str, float]:
        try:
            row = {name: tensor.to(self.data.train[0].device) for name, tensor in self.program.fresh_row(seed).items()}
            valid = self.program.evaluate(row, self.data.valid, (seed, 0))
            values = {f"valid_{name}": value for name, value in valid.items()}
            return values | {"train_loss": self._first_loss(self.program.module(row).train(), seed)}
        except Exception:  # the trial itself meets this error, too
            return {}

    def _first_loss(self, model: nn.Module, seed: int) -> float:
        """Return the mean loss of a seed's first batches, over enough examples to average out noise."""
        data, count = self.data.train, max(1, math.ceil(LOOKED_AT / self.batch_size))
        order = self.task.order(seed, len(data[0]), self.batch_size)
        losses: list[float] = []
        for step in range(count):
            index_B = order(step, step + 1)[0].to(data[0].device)
            with torch.no_grad(), seeded(mix(seed, step), data[0].device):
                losses.append(float(call(self.task.loss, model, tuple(tensor[index_B] for tensor in data))))
        return math.fsum(losses) / count

    def _few(self, split: Batch) -> Batch:
        few = (tensor[:LOOKED_AT].cpu().clone() for tensor in split)  # a task may change its batch in place
        return tuple(t.to(self.dtype) if t.is_floating_point() else t for t in few)

    def _targets(self, batch: Batch) -> Mapping[int, Tensor]:
        """Return the possible targets in a batch, last first; only the one that the task names, if it does."""
        named = named_target(self.task, len(batch))
        places = reversed(range(len(batch))) if named is None else [named]
        return {place: batch[place] for place in places}
