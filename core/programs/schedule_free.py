"""Schedule-free optimizers of the package schedulefree, as programs of one lane.

Defazio et al. 2024, The Road Less Scheduled, arXiv:2405.15682. Such an optimizer trains weights y and is evaluated at
their average x, to which its `eval()` goes. So the rows of a lane have y, and everything that looks at a lane sees x.
"""

import importlib
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from espalier.core.programs.plain import PlainProgram
from espalier.core.programs.steps import Stream, autograd, with_clock
from espalier.core.programs.task_functions import Tensors
from espalier.core.rows import Row, part
from espalier.core.task import Batch

GROUP = "group."  # in a row: numbers of the optimizer that all parameters share
NUMBERS = {"k": 0.0, "weight_sum": 0.0, "lr_max": -1.0}  # with the package's values before the first step


class ScheduleFreeProgram(PlainProgram):
    """Trains one lane by an optimizer of the package, at its defaults but for the rate.

    The rate is the trial's: its schedule has to be constant. All state is in the row, so that lanes can be saved.
    """

    name: ClassVar[str]
    """The class of the package."""
    slots: ClassVar[tuple[str, ...]]
    """Its state of each parameter."""

    def fresh_row(self, seed: int) -> Row:
        row = self.functions.fresh_row(seed, self.slots)
        for name, theta in part(row, "theta.").items():
            row[f"slot.z.{name}"] = theta.clone()  # as the package does at its first step
        numbers = {f"{GROUP}{n}": torch.tensor(value, dtype=torch.float64) for n, value in NUMBERS.items()}
        return row | numbers

    def step(
        self, rows: Row, train: Batch, index_NB: Tensor, c_CN1: Tensor, stream: Stream, keep: bool = False
    ) -> tuple[Tensor, Tensors]:
        coefficients, clock_N = with_clock(c_CN1, self.clocked)
        batch = tuple(tensor[index_NB] for tensor in train)
        loss_N, grads, after, idle = autograd(self.functions, rows, batch, stream, clock_N)
        for name, tensor in after.items():
            rows[f"buffer.{name}"].copy_(tensor)
        copies = {name: grad.clone() for name, grad in grads.items()} if keep else {}
        theta = {name: tensor[0] for name, tensor in part(rows, "theta.").items()}
        for name, tensor in theta.items():
            tensor.grad = None if name in idle else grads[name][0].to(tensor.dtype)
        optimizer = self._optimizer({name: tensor[0] for name, tensor in rows.items()}, theta)
        group = optimizer.param_groups[0]
        group["lr"], group["train_mode"] = float(coefficients[0]), True
        optimizer.step()
        for name in NUMBERS:
            rows[f"{GROUP}{name}"].fill_(group[name])
        return loss_N, copies

    def evaluate(
        self, row: Row, split: Batch, stream: Stream = (0, 0), share: float = 0.0, python: bool = True
    ) -> dict[str, float]:
        return super().evaluate(self._evaluated(row), split, stream, share, python)

    def module(self, row: Row) -> nn.Module:
        return super().module(self._evaluated(row))

    def _evaluated(self, row: Row) -> Row:
        """Return a row with the averaged weights x."""
        theta = {name: tensor.clone() for name, tensor in part(row, "theta.").items()}
        optimizer = self._optimizer(row, theta)
        optimizer.param_groups[0]["train_mode"] = True
        optimizer.eval()
        return row | {f"theta.{name}": tensor for name, tensor in theta.items()}

    def _optimizer(self, row: Row, theta: Tensors) -> Any:
        """Return the optimizer of these weights, with the state of a row of one lane; steps change both in place."""
        optimizer: Any = getattr(importlib.import_module("schedulefree"), self.name)(
            list(theta.values()), foreach=False
        )
        optimizer.param_groups[0].update({name: row[f"{GROUP}{name}"].item() for name in NUMBERS})
        for name, tensor in theta.items():
            optimizer.state[tensor] = {slot: row[f"slot.{slot}.{name}"] for slot in self.slots}
        return optimizer


class ScheduleFreeSGD(ScheduleFreeProgram):
    """schedulefree.SGDScheduleFree."""

    name, slots = "SGDScheduleFree", ("z",)


class ScheduleFreeAdamW(ScheduleFreeProgram):
    """schedulefree.AdamWScheduleFree."""

    name, slots = "AdamWScheduleFree", ("z", "exp_avg_sq")
