"""The plain program: one lane, by ordinary PyTorch, for any task."""

from torch import Tensor

from espalier.core.programs.program import Program
from espalier.core.programs.steps import Gradients, Stream, autograd, take_step
from espalier.core.programs.task_functions import Tensors
from espalier.core.rows import Row
from espalier.core.task import Batch, Clock


class PlainProgram(Program):
    """Calls the loss and autograd in each step, so a task may draw random numbers and have state in Python."""

    min_width = 1
    call_s = 60.0

    def step(
        self, rows: Row, train: Batch, index_NB: Tensor, c_CN1: Tensor, stream: Stream, keep: bool = False
    ) -> tuple[Tensor, Tensors]:
        def differentiate(rows: Row, batch: Batch, clock_N: Clock | None) -> Gradients:
            return autograd(self.functions, rows, batch, stream, clock_N)

        return take_step(differentiate, self.optimizer, self.clocked, rows, train, index_NB, c_CN1, keep)
