"""What a trial has to beat: a constant guess, and its own model before the first step.

A constant guess is known only where the loss has a name. So `loss` and `metrics` of the task are called once, with
weights moved at random. What they return is compared with torch's own losses (measures.guesses).
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

LOOKED_AT = 256  # examples: enough for the mean loss of an untrained model, few beside what a trial trains
MOVED = 0.1  # standard deviation of what is added to the weights, which without it may give every class one loss


@contextmanager
def _outputs(model: nn.Module) -> Generator[list[Tensor]]:
    """Collect what the layers put out, one number or one row for each example."""
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


def apart(task: Task) -> Task:
    """Return a copy of a task that shares its tensors and arrays and nothing else: what it counts stays as it is."""
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
    except Exception:  # it holds what cannot be copied: a file, a lock
        return copy.copy(task)


class Baselines:
    """What the trials of one task have to beat, computed when it is first asked for, and once for each seed.

    Works on a task, a model and a program of its own, so it changes no trial's numbers.
    """

    def __init__(self, task: Task, data: Data, batch_size: int, dtype: torch.dtype = torch.float32):
        self.task, self.data, self.batch_size, self.dtype = apart(task), data, batch_size, dtype
        self._before: dict[int, Mapping[str, float]] = {}

    @cached_property
    def program(self) -> Program:
        """The plain program, whatever the trials train by."""
        return PlainProgram(self.task, SGD(), self.dtype)

    @cached_property
    def guess(self) -> Mapping[str, float]:
        """What a constant guess has, by the name in a report (`train_loss`, `valid_loss`, `valid_accuracy` ...).

        A name is missing where its loss or metric was not recognised.
        """
        known: dict[str, float] = {}
        for name, (kind, place) in self.kinds.items():
            split = self.data.train if name == "train_loss" else self.data.valid
            with suppress(Exception):  # splits that cannot be compared: other shapes, other types
                known[name] = KNOWN[kind].guess(self.data.train[place], split[place])
        return known

    @cached_property
    def kinds(self) -> Mapping[str, tuple[str, int]]:
        """The name of each recognised loss or metric, with the place of its target in a batch."""
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
        except Exception:  # a task whose loss cannot be taken apart has no known guess
            return {}

    @property
    def target_index(self) -> int | None:
        """The place of the target in a batch: the one that the task names, or that its loss turned out to be of."""
        named = named_target(self.task, len(self.data.train))
        kind = self.kinds.get("train_loss")
        return kind[1] if named is None and kind else named

    def before(self, seed: int) -> Mapping[str, float]:
        """Return what a trial of a seed would report before its first step: `train_loss`, `valid_<name>`; finite."""
        if seed not in self._before:
            self._before[seed] = {name: v for name, v in self._untrained(seed).items() if math.isfinite(v)}
        return self._before[seed]

    def _untrained(self, seed: int) -> dict[str, float]:
        try:
            row = {name: tensor.to(self.data.train[0].device) for name, tensor in self.program.fresh_row(seed).items()}
            valid = self.program.evaluate(row, self.data.valid, (seed, 0))
            values = {f"valid_{name}": value for name, value in valid.items()}
            return values | {"train_loss": self._first_loss(self.program.module(row).train(), seed)}
        except Exception:  # the trial itself has met it, or will
            return {}

    def _first_loss(self, model: nn.Module, seed: int) -> float:
        """Return the mean loss of a seed's first batches, of so many examples that chance does not make it."""
        data, count = self.data.train, max(1, math.ceil(LOOKED_AT / self.batch_size))
        order = self.task.order(seed, len(data[0]), self.batch_size)
        losses: list[float] = []
        for step in range(count):
            index_B = order(step, step + 1)[0].to(data[0].device)
            with torch.no_grad(), seeded(mix(seed, step), data[0].device):
                losses.append(float(call(self.task.loss, model, tuple(tensor[index_B] for tensor in data))))
        return math.fsum(losses) / count

    def _few(self, split: Batch) -> Batch:
        few = (tensor[:LOOKED_AT].cpu().clone() for tensor in split)  # a task may change in place what it is given
        return tuple(t.to(self.dtype) if t.is_floating_point() else t for t in few)

    def _targets(self, batch: Batch) -> Mapping[int, Tensor]:
        """Return the tensors of a batch that may be its target, the last first; only that one if the task names it."""
        named = named_target(self.task, len(batch))
        places = reversed(range(len(batch))) if named is None else [named]
        return {place: batch[place] for place in places}
