"""Compare a program's step with PyTorch's own step of the same lane."""

import math

import torch
from torch import Tensor

from espalier.core.native.stacked import close, largest
from espalier.core.optimizers import Optimizer
from espalier.core.programs.steps import LaneStep, take_lane_step
from espalier.core.programs.task_functions import TaskFunctions, Tensors
from espalier.core.rows import own_generators
from espalier.core.task import Task

SAME_LOSS = 1e-4  # relative: rounding alone is a hundredth of it


class Reference:
    """A task's step by plain PyTorch, on a separate model."""

    def __init__(self, task: Task, optimizer: Optimizer, dtype: torch.dtype):
        self.task, self.optimizer, self.dtype = task, optimizer, dtype
        self._functions: TaskFunctions | None = None

    def difference(self, loss_1: Tensor, grads: Tensors, step: LaneStep) -> str | None:
        """Return how a loss and gradients (1, ...) differ from PyTorch's own at that step; None if they agree."""
        if self._functions is None:
            self._functions = TaskFunctions(self.task, self.dtype)
        with own_generators():
            expected_1, theirs = take_lane_step(self._functions, self.optimizer, step)
        ours, expected = loss_1.item(), expected_1.item()
        if not math.isfinite(expected) and not math.isfinite(ours):
            return None
        examples = (tensor[step.index_B] for tensor in step.train)
        scale = max(largest(t) for t in (*step.row.values(), *examples) if t.is_floating_point())
        noise = SAME_LOSS * abs(expected) + 16 * torch.finfo(self.dtype).eps * max(1.0, scale)
        same = abs(ours - expected) <= noise and all(close(grads[name], theirs[name], scale) for name in theirs)
        if same or self._is_rounding(step, ours, expected):
            return None
        return f"a step by this program has a loss of {ours:.6g}, by PyTorch {expected:.6g}"

    def _is_rounding(self, step: LaneStep, ours: float, expected: float) -> bool:
        """Whether rounding explains a difference: PyTorch's own loss changes by about as much in double precision."""
        if self.dtype == torch.float64:
            return False
        exact = TaskFunctions(self.task, torch.float64)
        row = {name: t.double() if t.is_floating_point() else t for name, t in step.row.items()}
        try:
            train = exact.fitting(step.train)
            with own_generators():
                loss_1, _ = take_lane_step(
                    exact, self.optimizer, LaneStep(row, train, step.index_B, step.c_C1.double(), step.stream)
                )
        except Exception:  # a model that works in one precision only
            return False
        wanted = loss_1.item()
        return abs(ours - wanted) <= 30 * abs(expected - wanted)
