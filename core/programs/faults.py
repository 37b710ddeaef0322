"""Attribute an error to one lane's numbers, to the task, or to neither."""

from collections.abc import Callable

import torch

from espalier.core.errors import BadInput, briefly
from espalier.core.programs.steps import LaneStep, autograd, with_clock
from espalier.core.programs.task_functions import TaskFunctions, is_finite
from espalier.core.rows import Row

TRANSIENT_ERRORS = (MemoryError, torch.OutOfMemoryError, torch.AcceleratorError, BadInput)  # never caused by a lane


class LaneFaults:
    """Finds the lanes that make a step raise, so that the others continue."""

    def __init__(self, functions: TaskFunctions, one_lane: bool):
        self.functions, self.one_lane = functions, one_lane
        self.raised: dict[int, str] = {}
        self.failed: dict[int, BaseException] = {}

    def ends(self, k: int, step: LaneStep, error: BaseException) -> bool:
        """Whether lane `k` makes a step raise; `raised` or `failed` then holds the error.

        A lane causes it by its own numbers, or because the task raises for that lane.
        """
        _, clock_1 = with_clock(step.c_C1[:, None], self.functions.clocked)

        def loss(row: Row) -> None:
            one = {name: tensor.detach()[None] for name, tensor in row.items()}
            batch = tuple(tensor[step.index_B[None]] for tensor in step.train)  # raises if one does not exist
            autograd(self.functions, one, batch, step.stream, clock_1)

        if self.lane_caused_error(step.row, loss):
            if is_finite(step.row):
                self.raised[k] = briefly(error)
            return True
        certain = self.one_lane and not isinstance(error, OSError)  # a single lane is the cause
        own = error if certain else _error_of(lambda: loss(step.row))
        if own is not None:
            self.failed.setdefault(k, own)
        return own is not None

    def lane_caused_error(self, row: Row, call: Callable[[Row], object]) -> bool:
        """Whether a lane's state is why a call raises: its parameters are no numbers, or with fresh ones none does."""
        if not is_finite(row):
            return True
        device = next(iter(row.values())).device
        fresh = {name: tensor.to(device) for name, tensor in self.functions.fresh_row(0).items()}
        return _error_of(lambda: call(row)) is not None and _error_of(lambda: call(fresh)) is None


def _error_of(call: Callable[[], object]) -> BaseException | None:
    """Call a function; return the exception that it raises, of any kind, or None."""
    try:
        call()
    except (Exception, SystemExit) as error:
        return error
    return None
