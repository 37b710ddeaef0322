"""A program of the user's own takes a step before anything trains, so that its faults are found then."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from espalier.core.errors import BadInput, as_bad_input, shown
from espalier.core.optimizers import Optimizer
from espalier.core.programs import PROGRAMS
from espalier.core.programs.program import Program
from espalier.core.programs.steps import example_coefficients
from espalier.core.task import Batch, Task


def check_complete(reference: str) -> None:
    """Raise BadInput for a program that lacks a method."""
    lacking = sorted(getattr(PROGRAMS[reference], "__abstractmethods__", ()))
    if lacking:
        raise BadInput(f"resources.program: {reference} has no {lacking[0]}(); a program trains every lane by a step")


def try_program(reference: str, task: Task, train: Batch, batch_size: int, optimizer: Optimizer, dtype: str) -> None:
    """Make a program and take a step of copies of a fresh lane. Raises BadInput for what it raises or returns wrongly.

    It also says why the program cannot train the task, if its why_not() gives a reason.
    """
    field = f"resources.program: {reference}"
    with as_bad_input(field):
        program = PROGRAMS[reference](task, optimizer, getattr(torch, dtype))
        split = program.functions.fitting(train)
        if reason := program.why_not(split, batch_size):
            raise BadInput(f"{field}: it cannot train the model ({reason}); write auto")
        width = program.width(1)
        if type(width) is not int or width < 1:
            raise BadInput(f"{field}: width(1) is {shown(width)}; it must be how many rows a step of one lane has")
        program.prepare(tuple(tensor[:batch_size] for tensor in split))
        answer = _step(program, split, batch_size, width)
    if wrong := _wrong(answer, width, set(program.parameters.shapes)):
        raise BadInput(f"{field}: step() returned {wrong}; it must return the losses (N,), and the gradients by name")


def _step(program: Program, split: Batch, batch_size: int, width: int) -> object:
    rows = {name: tensor[None].repeat(width, *[1] * tensor.dim()) for name, tensor in program.fresh_row(0).items()}
    c_CN1 = example_coefficients(program.optimizer, program.clocked)[:, :1].repeat(1, width, 1).to(program.dtype)
    index_NB = torch.arange(min(batch_size, len(split[0]))).repeat(width, 1)
    return program.step(rows, split, index_NB, c_CN1, (0, 2), keep=True)


def _wrong(answer: object, width: int, names: set[str]) -> str:
    """Return what is wrong with the result of a step; "" if nothing."""
    if not isinstance(answer, tuple):
        return shown(answer)
    parts = cast("tuple[object, ...]", answer)
    loss_N, grads = parts if len(parts) == 2 else (None, None)
    if not isinstance(loss_N, Tensor) or loss_N.shape != (width,):
        return f"losses of shape {tuple(loss_N.shape)}" if isinstance(loss_N, Tensor) else shown(parts)
    if not isinstance(grads, Mapping) or names - {*cast("Mapping[object, object]", grads)}:
        return "not the gradients of all parameters"
    return ""
