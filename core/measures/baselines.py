"""What a trial has to beat: a constant guess, and its own model before the first step.

B = examples in a batch, C = classes.

A constant guess can be named only where the loss is one that has a name. So `loss` and `metrics` of the task are
called once, with weights moved at random, and compared with torch's own losses of what the model's layers put out.
"""

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from espalier.core.optimizers import SGD
from espalier.core.order import mix
from espalier.core.programs.plain import PlainProgram
from espalier.core.programs.program import Program
from espalier.core.rows import seeded
from espalier.core.task import Batch, Data, Task, call, named_target

LOOKED_AT = 256  # examples: enough for the mean loss of an untrained model, few beside what a trial trains
SAME = 1e-3  # relative: float32 rounds by 1e-6; a class weight or label smoothing differs by a tenth
ROWS = 2**14  # of a target at once: images may be targets
MOVED = 0.1  # standard deviation of what is added to the weights, which without it may give every class one loss


# --- losses that have a name ------------------------------------------------------------------------------------------


def entropy(seen: Tensor, target: Tensor) -> float:
    """Return the cross-entropy of always guessing the classes' shares among the targets `seen`.

    >>> round(entropy(torch.arange(10), torch.arange(10)), 4)
    2.3026
    """
    classes, seen_counts = seen.unique(return_counts=True)
    valued, counts = target.unique(return_counts=True)
    known = dict(zip(classes.tolist(), seen_counts.tolist(), strict=True))
    extra = float(any(value not in known for value in valued.tolist()))  # a new class is guessed as if seen once
    total = seen.numel() + extra * len(known.keys() | set(valued.tolist()))
    parts = zip(valued.tolist(), counts.tolist(), strict=True)
    logs = [count * math.log((known.get(value, 0) + extra) / total) for value, count in parts]
    return -math.fsum(logs) / target.numel()


def commonest(seen: Tensor, target: Tensor) -> float:
    """Return the accuracy of always guessing the most frequent class of the targets `seen`."""
    return float((target.flatten() == seen.flatten().mode().values).double().mean())


def variance(seen: Tensor, target: Tensor) -> float:
    """Return the mean squared error of always guessing the mean, of each column, of the targets `seen`."""
    mean = seen.mean(0, dtype=torch.float64)
    return math.fsum(float((piece - mean).square().sum()) for piece in target.split(ROWS)) / target.numel()


def deviation(seen: Tensor, target: Tensor) -> float:
    """Return the mean absolute error of always guessing the median, of each column, of the targets `seen`."""
    middle = seen.median(0).values.double()
    return math.fsum(float((piece - middle).abs().sum()) for piece in target.split(ROWS)) / target.numel()


def _classes(out: Tensor, target: Tensor) -> bool:
    whole = not target.is_floating_point() and not target.is_complex() and target.dim() == 1 and out.dim() == 2
    return whole and len(out) == len(target) and int(target.min()) >= 0 and int(target.max()) < out.shape[1]


def _two(out: Tensor, target: Tensor) -> bool:
    flat = not target.is_complex() and out.numel() == target.numel() and target.numel() == len(target)
    return flat and bool(((target == 0) | (target == 1)).all())


def _shares(out: Tensor, target: Tensor) -> bool:
    return _two(out, target) and float(out.min()) >= 0 and float(out.max()) <= 1


def _numbers(out: Tensor, target: Tensor) -> bool:
    return target.is_floating_point() and out.numel() == target.numel() and len(out) == len(target)


@dataclass(frozen=True)
class Known:
    """A loss or a metric with a name: where it may apply, and what it is of (output, target).

    guess: what the best constant guess has, of (targets trained on, targets judged by).
    """

    applies: Callable[[Tensor, Tensor], bool]
    value: Callable[[Tensor, Tensor], Tensor]
    guess: Callable[[Tensor, Tensor], float]


KNOWN: Mapping[str, Known] = {
    "cross-entropy": Known(_classes, lambda out, y: F.cross_entropy(out, y.long()), entropy),
    "accuracy": Known(_classes, lambda out, y: (out.argmax(-1) == y).double().mean(), commonest),
    "binary cross-entropy of logits": Known(
        _two, lambda out, y: F.binary_cross_entropy_with_logits(out.flatten(), y.flatten().to(out)), entropy
    ),
    "binary cross-entropy": Known(
        _shares, lambda out, y: F.binary_cross_entropy(out.flatten(), y.flatten().to(out)), entropy
    ),
    "accuracy of logits": Known(
        _two, lambda out, y: ((out.flatten() > 0) == (y.flatten() > 0.5)).double().mean(), commonest
    ),
    "squared error": Known(_numbers, lambda out, y: F.mse_loss(out.flatten(), y.flatten().to(out)), variance),
    "absolute error": Known(_numbers, lambda out, y: F.l1_loss(out.flatten(), y.flatten().to(out)), deviation),
}


@contextmanager
def _outputs(model: nn.Module) -> Iterator[list[Tensor]]:
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


def _recognised(value: Tensor, outputs: list[Tensor], targets: Mapping[int, Tensor]) -> tuple[str, int] | None:
    """Return the name of the loss that gave `value`, and which tensor of the batch is its target."""
    if float(value) in (0.0, 1.0):  # which many a metric is by chance
        return None
    for out in reversed(outputs):  # the last one is most likely the model's own
        for place, target in targets.items():
            for name, known in KNOWN.items():
                if known.applies(out, target) and math.isclose(
                    float(known.value(out, target)), float(value), rel_tol=SAME, abs_tol=1e-9
                ):
                    return name, place
    return None


def apart(task: Task) -> Task:
    """Return a copy of a task that shares its tensors and arrays and nothing else: what it counts stays as it is."""
    shared: dict[int, Any] = {}
    waiting = list(vars(task).values())
    while waiting:
        value = waiting.pop()
        if isinstance(value, Tensor | np.ndarray | Data):
            shared[id(value)] = value
        elif isinstance(value, list | tuple | dict) and len(value) < 64:
            waiting += value.values() if isinstance(value, dict) else value
    try:
        return copy.deepcopy(task, shared)
    except Exception:  # it holds what cannot be copied: a file, a lock
        return copy.copy(task)


# --- the baselines of a task ------------------------------------------------------------------------------------------


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
            found = {name: _recognised(value, outs, self._targets(b)) for name, (value, outs, b) in values.items()}
            return {name: kind for name, kind in found.items() if kind}
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
        losses = []
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
