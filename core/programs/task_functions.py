"""A task's model, loss and metrics as pure functions of a lane's tensors, by `torch.func.functional_call`.

B = examples in a batch. A lane's state is a row: "theta.<parameter>", "slot.<slot>.<parameter>", "buffer.<name>".
"""

import copy
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from espalier.core.errors import BadInput
from espalier.core.rows import ParameterShapes, Row, part, seeded
from espalier.core.task import Batch, Clock, Task, call, takes_of_clock

Tensors = dict[str, Tensor]
"""Tensors by the name of a parameter or of a buffer."""
Made = TypeVar("Made")


class TaskFunctions:
    """The functions of one task over one model, whose parameters are swapped for a lane's at each call."""

    def __init__(self, task: Task, dtype: torch.dtype = torch.float32):
        self.task, self.dtype = task, dtype
        self.model = self._new_model(0)
        self.parameters = ParameterShapes(self.model)
        self.clocked = bool(takes_of_clock(type(task).loss))  # whether the loss takes the step
        self._bound = _Bound(task, self.model)

    # --- a lane's state -----------------------------------------------------------------------------------------------

    def _new_model(self, seed: int) -> nn.Module:
        with seeded(seed):
            return self.task.model().to(self.dtype)

    def fresh_row(self, seed: int, slots: tuple[str, ...] = ()) -> Row:
        """Return the state of a trial before its first step: weights drawn under `seed`, optimizer state zero."""
        model = self._new_model(seed)
        theta = self.parameters.take(model)
        row = {f"theta.{name}": tensor for name, tensor in theta.items()}
        for slot in slots:
            row |= {f"slot.{slot}.{name}": torch.zeros_like(tensor) for name, tensor in theta.items()}
        return row | {f"buffer.{name}": tensor for name, tensor in _constants(model).items()}

    def module(self, row: Row) -> nn.Module:
        """Return a model of its own with one lane's state."""
        state = part(row, "theta.") | part(row, "buffer.")
        memo = {id(tensor): tensor.detach().clone() for tensor in _attributes(self.model).values()}
        model = copy.deepcopy(self.model, memo).to(next(iter(state.values())).device)
        own = dict(model.named_parameters()) | dict(model.named_buffers())
        with torch.no_grad():
            for name, tensor in state.items():
                own[name].copy_(tensor)  # in place: weights that are tied under two names stay so
        return model

    def fitting(self, batch: Batch) -> Batch:
        """Return examples with their floating-point numbers in the type of this model."""
        return tuple(t.to(self.dtype) if t.is_floating_point() else t for t in batch)

    # --- calls of the task's code -------------------------------------------------------------------------------------

    def loss(
        self, theta: Tensors, buffers: Tensors, batch: Batch, clock: Clock, then: Callable[[Tensor], Made]
    ) -> tuple[Made, Tensors]:
        """Return what `then` makes of the loss while the parameters are in their places, and the buffers after it.

        Raises BadInput for a buffer that changes its dtype.
        """
        after = {name: tensor.clone() for name, tensor in buffers.items()}
        state = _in_model(theta | after)
        result = functional_call(self._bound, state, ("loss", batch, clock, then))
        for name, before in after.items():
            value = cast("object", state[f"model.{name}"])  # the model may have assigned a new tensor
            if isinstance(value, Tensor) and value.shape == before.shape:  # a growing cache is rebuilt in each pass
                if value.dtype != before.dtype:
                    raise BadInput(
                        f"task: the model's buffer {name} begins as {before.dtype} and becomes {value.dtype} in a step;"
                        f" create it as {value.dtype}"
                    )
                after[name] = value.detach()
        return result, after

    def metrics(self, theta: Tensors, buffers: Tensors, batch: Batch, clock: Clock) -> Mapping[str, Tensor]:
        """Return the metrics of a batch. The model may change the given buffers in place."""
        return functional_call(self._bound, _in_model(theta | buffers), ("metrics", batch, clock))

    @contextmanager
    def restored(self) -> Generator[None]:
        """Restore the attributes of model and task after the block.

        A traced pass has tensors without numbers. One that the task stores (a mask, a position table, the last
        output) would be useless in the next pass. The model itself is called, not a copy: a function passed to it may
        refer to the model.
        """
        places = [vars(each) for each in (self.task, *self.model.modules()) if hasattr(each, "__dict__")]
        attributes = [(own, dict(own)) for own in places]
        containers = [
            (value, copy.copy(value))
            for own in places
            for name, value in own.items()
            if type(value) in (list, dict, set) and name not in ("_parameters", "_buffers", "_modules")
        ]
        try:
            yield
        finally:
            for own, before in attributes:
                own.clear()
                own.update(before)
            for value, before in containers:
                value.clear()
                value.extend(before) if isinstance(value, list) else value.update(before)  # pyright: ignore[reportUnknownMemberType]

    def clock_of(self, examples_NB: Tensor, clock_N: Clock | None) -> Clock:
        """Return the clock of N lanes, (N,) each; zeros where there is none."""
        zeros_N = torch.zeros(len(examples_NB), dtype=self.dtype, device=examples_NB.device)
        return clock_N or (zeros_N, zeros_N)


class _Bound(nn.Module):
    """A task's functions bound to its model, so that functional_call can swap the parameters."""

    def __init__(self, task: Task, model: nn.Module):
        super().__init__()
        self.task, self.model = task, model

    def forward(
        self, function: str, batch: Batch, clock: Clock, then: Callable[[Tensor], object] | None = None
    ) -> object:
        """Return the result of a function of the task, or `then` of it, while the parameters are swapped in."""
        value = call(getattr(self.task, function), self.model, batch, clock)
        return then(value) if then else value


def _in_model(state: Tensors) -> Tensors:
    return {f"model.{name}": tensor for name, tensor in state.items()}


def _constants(model: nn.Module) -> Tensors:
    """Return the tensors that a step does not train: buffers, and parameters frozen from the start."""
    frozen = {name: p.detach() for name, p in model.named_parameters() if not p.requires_grad}
    return dict(model.named_buffers()) | frozen


def _attributes(model: nn.Module) -> Tensors:
    """Return by name the tensors of a model's modules that are neither parameters nor buffers."""
    return {
        f"{path}.{name}".lstrip("."): value
        for path, module in cast("Iterable[tuple[str, nn.Module]]", model.named_modules())
        for name, value in vars(module).items()
        if isinstance(value, Tensor)
    }


def copied(batch: Batch) -> Batch:
    """Return a copy of a batch: a task may change its batch in place."""
    return tuple(tensor.clone() for tensor in batch)


def copied_buffers(row: Row) -> Row:
    """Return copies of a row's buffers, which a model may change."""
    return {name: tensor.clone() for name, tensor in row.items() if name.startswith("buffer.")}


def is_finite(row: Row) -> bool:
    """Whether all parameters of a lane are finite numbers."""
    return all(tensor.isfinite().all() for name, tensor in row.items() if name.startswith("theta."))
