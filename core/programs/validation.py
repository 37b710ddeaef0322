"""The metrics of one lane's state over a split of the data, batch by batch."""

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from espalier.core.order import mix
from espalier.core.programs.steps import Stream
from espalier.core.programs.task_functions import TaskFunctions, copied, copied_buffers
from espalier.core.rows import Row, part, seeded
from espalier.core.task import Batch, Clock

VALIDATION = 1  # separates the random draws of a validation from those of the next step


def evaluate(
    functions: TaskFunctions,
    row: Row,
    split: Batch,
    stream: Stream = (0, 0),
    share: float = 0.0,
    python: bool = True,
    before_batch: Callable[[int], None] = lambda steps: None,
) -> dict[str, float]:
    """Return the metrics of a lane over a split: means weighted by batch size.

    stream, share: see `Program.evaluate`. python: also restore Python's own generators.
    before_batch: called with 0 before each call of the task's code.
    """
    functions.model.eval()
    theta, buffers = part(row, "theta."), part(copied_buffers(row), "buffer.")
    examples = len(split[0])
    size = batch_size(examples, functions.task.evaluation_batch_size)
    totals: dict[str, float] = {}
    clock = clock_at(split[0], functions.dtype, stream[1], share)
    with torch.no_grad(), seeded(mix(*stream, VALIDATION), split[0].device, python):
        for start in range(0, examples, size):
            before_batch(0)
            batch = copied(tuple(tensor[start : start + size] for tensor in split))
            for name, value in functions.metrics(theta, buffers, batch, clock).items():
                totals[name] = totals.get(name, 0.0) + float(value) * len(batch[0])
    return {name: total / examples for name, total in totals.items()}


def batch_size(examples: int, most: int | None) -> int:
    """Return a batch size of at most `most` that gives the fewest batches, all of about the same size.

    >>> batch_size(10, 4), batch_size(10, None)
    (4, 10)
    """
    return -(-examples // -(-examples // (most or examples)))


def clock_at(like: Tensor, dtype: torch.dtype, step: int, share: float) -> Clock:
    """Return the clock (step, share of the budget) as tensors without axes, on the device of `like`."""
    number = functools.partial(torch.tensor, dtype=dtype, device=like.device)
    return number(float(step)), number(float(share))
