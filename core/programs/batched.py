"""A step of all lanes as one batched computation: by vmap, or by a flat list of operations traced from it.

N = lanes, B = examples in a batch, C = the optimizer's coefficients.
"""

import warnings
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor, fx
from torch.func import grad_and_value, vmap

from espalier.core import deadline
from espalier.core.deadline import TooLong
from espalier.core.native.stacked import Stacked
from espalier.core.optimizers import Optimizer
from espalier.core.programs.bits import LaneByLane, WholeVectors, without_onednn
from espalier.core.programs.graph import NotOneGraph, graph_of
from espalier.core.programs.refusals import reason_of
from espalier.core.programs.steps import Gradients, Stream, autograd, take_step
from espalier.core.programs.task_functions import TaskFunctions, Tensors, copied
from espalier.core.rows import Row, part
from espalier.core.task import Batch, Clock

warnings.filterwarnings("ignore", "There is a performance drop")  # a warning meant for authors of batching rules

Stepper = Callable[..., Sequence[Tensor]]
"""A step as a function of rows, splits of the data, index_NB and c_CN1. It returns losses (N,) and gradients."""


def lane_axes(rows: int, splits: int) -> list[int | None]:
    """Return the axis of lanes of each argument of a step: rows, splits of the data, index_NB, c_CN1."""
    return [0] * rows + [None] * splits + [0, 1]


@cache
def load_transforms() -> None:
    """Load what torch needs for its first gradient under vmap: a second of CPU time, once in a process."""
    with deadline.paused():
        vmap(grad_and_value(_total))(torch.zeros(2, 1))


def _total(vector: Tensor) -> Tensor:
    return vector.sum()


class BatchedGradients:
    """The gradients of all lanes by one call: `vmap` over the gradient of one lane."""

    def __init__(self, functions: TaskFunctions):
        self.functions = functions
        self.idle = frozenset[str]()  # parameters that the loss does not use
        self.has_small_lanes = False  # whether a tensor had few elements in each lane
        self._batched = vmap(grad_and_value(self._lane_loss, has_aux=True))

    def prepare(self, batch: Batch) -> None:
        """Find by a step of one lane which parameters are unused: vmap would give them gradients of zero."""
        row = self.functions.fresh_row(0)
        one = {name: tensor.to(batch[0].device)[None] for name, tensor in row.items()}
        with self.functions.restored():
            self.idle = autograd(self.functions, one, copied(tuple(tensor[None] for tensor in batch))).idle

    def __call__(self, rows: Row, batch: Batch, clock_N: Clock | None = None, stream: Stream = (0, 0)) -> Gradients:
        """Return the gradients of N lanes, each of its own mean loss. `stream` is not used."""
        self.functions.model.train()
        clock_N = self.functions.clock_of(batch[0], clock_N)
        with without_onednn(), WholeVectors(len(batch[0])) as vectors:
            grads, (loss_N, after) = self._batched(part(rows, "theta."), part(rows, "buffer."), batch, clock_N)
        self.has_small_lanes = self.has_small_lanes or vectors.has_small_lanes
        return Gradients(loss_N, grads, after, self.idle)

    def why_not(self, batch: Batch) -> str | None:
        """Return why the loss cannot run for many lanes at once, or None if it can. Trains nothing."""
        load_transforms()
        rows = {name: tensor.expand(2, *tensor.shape) for name, tensor in self.functions.fresh_row(0).items()}
        try:
            with self.functions.restored():
                self(rows, tuple(torch.stack([tensor] * 2) for tensor in self.functions.fitting(batch)))
        except TooLong:
            raise
        except Exception as error:  # a user's model may raise anything under vmap
            return reason_of(error)
        return None

    def _lane_loss(self, theta: Tensors, buffers: Tensors, batch: Batch, clock: Clock) -> tuple[Tensor, Tensors]:
        with LaneByLane():
            return self.functions.loss(theta, buffers, batch, clock, lambda loss: loss)


class BatchedStep:
    """The step of all lanes, traced once into a list of operations (a graph) where that is possible.

    Such a list avoids the overhead of autograd and vmap, 1.5 ms a step, and serves every width.
    """

    def __init__(
        self,
        functions: TaskFunctions,
        optimizer: Optimizer,
        finish: Callable[[fx.GraphModule, Sequence[Stacked]], Stepper] = lambda module, arguments: module,
    ):
        """finish: transforms the traced graph before use (compiles it, say), given the arguments it was traced for."""
        self.functions, self.optimizer, self.finish = functions, optimizer, finish
        self.gradients = BatchedGradients(functions)
        self._steppers: dict[tuple[object, ...], Stepper | None] = {}

    def __call__(
        self, rows: Row, train: Batch, index_NB: Tensor, c_CN1: Tensor, keep: bool = False
    ) -> tuple[Tensor, Tensors]:
        """Take a step, as `Program.step` does."""
        inputs = [*rows.values(), *train, index_NB, c_CN1]
        stepper = self.stepper(list(rows), train, inputs, keep)
        if stepper is None:
            return self.by_vmap(rows, train, index_NB, c_CN1, keep)
        with without_onednn():
            loss_N, *grads = stepper(*inputs)
        return loss_N, dict(zip(self.functions.parameters.shapes, grads, strict=False))

    def by_vmap(self, rows: Row, train: Batch, index_NB: Tensor, c_CN1: Tensor, keep: bool) -> tuple[Tensor, Tensors]:
        """Take a step by vmap itself."""
        clocked = self.functions.clocked
        return take_step(self.gradients, self.optimizer, clocked, rows, train, index_NB, c_CN1, keep)

    def stepper(self, names: list[str], train: Batch, inputs: list[Tensor], keep: bool) -> Stepper | None:
        """Return the cached list of operations for inputs like these; None if the step cannot be traced."""
        index_NB = inputs[-2]
        key = (keep, index_NB.shape[1], *(tensor.device for tensor in train), *(tensor.shape for tensor in train))
        if key not in self._steppers:
            try:
                self._steppers[key] = self.finish(*self.graph(names, len(train), inputs, keep))
            except NotOneGraph:
                self._steppers[key] = None
        return self._steppers[key]

    def graph(
        self, names: list[str], splits: int, inputs: list[Tensor], keep: bool
    ) -> tuple[fx.GraphModule, Sequence[Stacked]]:
        """Trace the step for any number of lanes; return the operations and their arguments. Raises NotOneGraph."""

        def step(*tensors: Tensor) -> list[Tensor]:
            rows, rest = dict(zip(names, tensors, strict=False)), tensors[len(names) :]
            with self.functions.restored():
                loss_N, grads = self.by_vmap(rows, rest[:splits], rest[-2], rest[-1], keep)
            return [loss_N, *grads.values()]

        axes = lane_axes(len(names), splits)
        arguments = [Stacked(tensor, axis) for tensor, axis in zip(inputs, axes, strict=True)]
        return graph_of(step, arguments), arguments
