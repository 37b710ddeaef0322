"""Functions that programs share: the gradient of one lane by PyTorch's autograd, and an in-place step of all lanes.

N = lanes, B = examples in a batch, C = the optimizer's coefficients, P = numbers of a parameter.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from espalier.core.errors import BadInput
from espalier.core.optimizers import Optimizer
from espalier.core.order import mix
from espalier.core.programs.task_functions import TaskFunctions, Tensors
from espalier.core.rows import Row, part, seed_python, seeded
from espalier.core.task import Batch, Clock

Stream = tuple[int, int]
"""(seed, step) of a trial, from which anything random is drawn."""


class Gradients(NamedTuple):
    """The results of a forward and a backward pass."""

    loss_N: Tensor
    grads: Tensors
    """Of each trained parameter, (N, ...)."""
    buffers: Tensors
    """After the forward pass, (N, ...)."""
    idle: frozenset[str]
    """Parameters that the loss makes no use of. A step leaves them as they are, and so does torch.optim: no decay."""


def autograd(
    functions: TaskFunctions, rows: Row, batch: Batch, stream: Stream = (0, 0), clock_N: Clock | None = None
) -> Gradients:
    """Return the gradients of one lane, N = 1, by PyTorch.

    The generators of torch, Python and numpy are seeded from `stream`. Those of Python and numpy are not restored:
    see `rows.own_generators`. clock_N: (N,) each; None for step 0.
    """
    functions.model.train()
    shapes = functions.parameters.shapes
    own = {name: parameter for name, parameter in functions.model.named_parameters() if name in shapes}
    theta = {name: rows[f"theta.{name}"][0].detach().requires_grad_(p.requires_grad) for name, p in own.items()}
    buffers = {name: tensor[0] for name, tensor in part(rows, "buffer.").items()}

    def differentiated(loss: Tensor) -> tuple[Tensor, Sequence[Tensor | None]]:
        """Differentiate while the parameters are still swapped in: activation checkpointing recomputes from them."""
        if isinstance(loss, Tensor) and loss.dim():  # pyright: ignore[reportUnnecessaryIsInstance] - a task's
            shape = tuple(loss.shape)
            raise BadInput(f"task: loss() returned a tensor of shape {shape}; it must be one number, the mean")
        moved = [tensor for tensor in theta.values() if tensor.requires_grad]  # a loss may freeze some for some steps
        grads = iter(torch.autograd.grad(loss, moved, allow_unused=True))
        return loss, [next(grads, None) if tensor.requires_grad else None for tensor in theta.values()]

    clock = functions.clock_of(batch[0], clock_N)
    seed_python(mix(*stream))
    with seeded(mix(*stream), batch[0].device, python=False):
        one = tuple(tensor[0] for tensor in batch)
        (loss, each), after = functions.loss(theta, buffers, one, (clock[0][0], clock[1][0]), differentiated)
    for name, parameter in own.items():  # a parameter that the loss froze stays frozen until the loss unfreezes it
        parameter.requires_grad_(theta[name].requires_grad)
    by_name = dict(zip(theta, each, strict=True))
    grads = {name: _dense(grad, theta[name])[None] for name, grad in by_name.items()}
    idle = frozenset(name for name, grad in by_name.items() if grad is None)
    return Gradients(loss.detach()[None], grads, {name: tensor[None] for name, tensor in after.items()}, idle)


def autograd_by_lane(
    functions: TaskFunctions, rows: Row, batch: Batch, stream: Stream = (0, 0), clock_N: Clock | None = None
) -> Gradients:
    """Return the gradients of N lanes by PyTorch, one lane after the other."""
    if len(batch[0]) == 1:
        return autograd(functions, rows, batch, stream, clock_N)
    each = [
        autograd(
            functions,
            {name: tensor[k : k + 1] for name, tensor in rows.items()},
            tuple(tensor[k : k + 1] for tensor in batch),
            stream,
            clock_N and (clock_N[0][k : k + 1], clock_N[1][k : k + 1]),
        )
        for k in range(len(batch[0]))
    ]
    grads, buffers = (
        {name: torch.cat([named[name] for named in lanes]) for name in lanes[0]}
        for lanes in ([lane.grads for lane in each], [lane.buffers for lane in each])
    )
    return Gradients(torch.cat([lane.loss_N for lane in each]), grads, buffers, each[0].idle)


class LaneGradients(Protocol):
    """How a program computes the gradients of all lanes, each of its own mean loss."""

    def prepare(self, batch: Batch) -> None:
        """Prepare for a kind of batch before the first step. Trains nothing."""
        ...

    def why_not(self, batch: Batch) -> str | None:
        """Return why the gradients cannot be computed for a task, or None if they can. Trains nothing."""
        ...

    def __call__(self, rows: Row, batch: Batch, clock_N: Clock | None = None, stream: Stream = (0, 0)) -> Gradients:
        """Return the gradients. clock_N: (N,) each; None for step 0. stream: (seed, step), if there is one lane."""
        ...


class AutogradByLane:
    """The gradients by PyTorch's autograd, one lane after the other. It works for every task."""

    def __init__(self, functions: TaskFunctions):
        self.functions = functions

    def prepare(self, batch: Batch) -> None:
        """Nothing to prepare."""

    def why_not(self, batch: Batch) -> str | None:
        """Return None."""
        return None

    def __call__(self, rows: Row, batch: Batch, clock_N: Clock | None = None, stream: Stream = (0, 0)) -> Gradients:
        """Return the gradients of N lanes."""
        return autograd_by_lane(self.functions, rows, batch, stream, clock_N)


def take_step(
    differentiate: Callable[[Row, Batch, Clock | None], Gradients],
    optimizer: Optimizer,
    clocked: bool,
    rows: Row,
    train: Batch,
    index_NB: Tensor,
    c_CN1: Tensor,
    keep: bool = False,
) -> tuple[Tensor, Tensors]:
    """Train every row by one step, in place. Return the losses (N,) and, if asked to `keep` them, the gradients.

    train: the whole training split; index_NB: the examples of each lane's batch.
    c_CN1: the optimizer's coefficients at this step; if `clocked`, the clock follows (trial.Structure).
    """
    coefficients, clock_N = with_clock(c_CN1, clocked)
    loss_N, grads, after, idle = differentiate(rows, tuple(tensor[index_NB] for tensor in train), clock_N)
    for name, tensor in after.items():
        rows[f"buffer.{name}"].copy_(tensor)
    copies = {name: grad.clone() for name, grad in grads.items()} if keep else {}
    for name, grad in [(name, grad) for name, grad in grads.items() if name not in idle]:
        slots = {slot: _flat(rows[f"slot.{slot}.{name}"]) for slot in optimizer.slots}
        optimizer.update(_flat(rows[f"theta.{name}"]), _flat(grad), slots, coefficients)
    return loss_N, copies


def with_clock(c_CN1: Tensor, clocked: bool) -> tuple[Sequence[Tensor], Clock | None]:
    """Split the inputs of a step into the optimizer's coefficients, (N, 1) each, and the clock, (N,) each."""
    if not clocked:
        return c_CN1.unbind(), None
    *coefficients, step_N1, share_N1 = c_CN1.unbind()
    return coefficients, (step_N1[:, 0], share_N1[:, 0])


@dataclass(frozen=True)
class LaneStep:
    """One step of one lane, for repetition: its row without the axis of lanes, and the step's inputs."""

    row: Row
    train: Batch
    index_B: Tensor
    c_C1: Tensor
    stream: Stream


def take_lane_step(functions: TaskFunctions, optimizer: Optimizer, step: LaneStep) -> tuple[Tensor, Tensors]:
    """Take a step of a copy of a lane by PyTorch. Return the loss (1,) and the gradients (1, ...)."""
    rows = {name: tensor[None].clone() for name, tensor in step.row.items()}

    def differentiate(rows: Row, batch: Batch, clock_1: Clock | None) -> Gradients:
        return autograd(functions, rows, batch, step.stream, clock_1)

    index_1B, c_C11 = step.index_B[None], step.c_C1[:, None]
    return take_step(differentiate, optimizer, functions.clocked, rows, step.train, index_1B, c_C11, keep=True)


def _dense(grad: Tensor | None, theta: Tensor) -> Tensor:
    """Return a gradient as a dense tensor; zeros if there is none."""
    if grad is None:
        return torch.zeros_like(theta)
    return grad.to_dense() if grad.layout != torch.strided else grad


def _flat(rows_N: Tensor) -> Tensor:
    """Return rows (N, ...) as (N, P)."""
    return rows_N.view(len(rows_N), -1) if rows_N.is_contiguous() else rows_N.reshape(len(rows_N), -1)


def example_coefficients(optimizer: Optimizer, clocked: bool) -> Tensor:
    """Return coefficients of two lanes with different rates and steps, (C, 2, 1) in float64, for trying a step.

    If `clocked`, the clock follows.
    """
    rate_12, step_12 = torch.tensor([[0.1, 0.03]], dtype=torch.float64), torch.tensor([[2.0, 5.0]]).double()
    c_C21 = optimizer.columns(rate_12, step_12, optimizer.typical())[0][..., None]
    if clocked:
        c_C21 = torch.cat([c_C21, torch.tensor([[[2.0], [5.0]], [[0.25], [0.625]]]).double()])
    return c_C21
