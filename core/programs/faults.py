"""Whose fault an error is: a lane's, by its own numbers, or the task's, or nobody's."""

from collections.abc import Callable

import torch

from espalier.core.errors import BadInput, briefly
from espalier.core.programs.steps import LaneStep, autograd, with_clock
from espalier.core.programs.task_functions import TaskFunctions, is_finite
from espalier.core.rows import Row

TRANSIENT_ERRORS = (MemoryError, torch.OutOfMemoryError, torch.AcceleratorError, BadInput)  # no lane's fault


class LaneFaults:
    """Finds the lanes that make a step raise, so that the others train on."""

    def __init__(self, functions: TaskFunctions, one_lane: bool):
        self.functions, self.one_lane = functions, one_lane
        self.raised: dict[int, str] = {}
        self.failed: dict[int, BaseException] = {}

    def ends(self, k: int, step: LaneStep, error: BaseException) -> bool:
        """Whether lane `k` is why a step raises; `raised` or `failed` then says what.

        It is if its own numbers are the reason, or if the task raises for that lane.
        """
        _, clock_1 = with_clock(step.c_C1[:, None], self.functions.clocked)

        def loss(row: Row) -> None:
            one = {name: tensor.detach()[None] for name, tensor in row.items()}
            batch = tuple(tensor[step.index_B[None]] for tensor in step.train)  # which raises where it is not there
            autograd(self.functions, one, batch, step.stream, clock_1)

        if self.lane_caused_error(step.row, loss):
            if is_finite(step.row):
                self.raised[k] = briefly(error)
            return True
        certain = self.one_lane and not isinstance(error, OSError)  # nobody else can have raised it
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
    """Call something; return what it raises, whatever a person's code does."""
    try:
        call()
    except (Exception, SystemExit) as error:
        return error
    return None
