"""The vmap program: many lanes in one batched call."""

import torch
from torch import Tensor

from espalier.core.optimizers import Optimizer
from espalier.core.programs.batched import BatchedStep
from espalier.core.programs.program import Program
from espalier.core.programs.steps import Stream
from espalier.core.programs.task_functions import Tensors
from espalier.core.rows import Row
from espalier.core.task import Batch, Task


class VmapProgram(Program):
    """All lanes in one batched call of torch's kernels.

    A batched product gives a lane the same bits at every N >= 2 but may take another kernel at N = 1.
    """

    call_s = 120.0

    def __init__(self, task: Task, optimizer: Optimizer, dtype: torch.dtype = torch.float32):
        super().__init__(task, optimizer, dtype)
        self.batched = BatchedStep(self.functions, optimizer)
        self.lane_gradients = self.batched.gradients

    def width(self, lanes: int) -> int:
        """Return one row more than there are lanes: its elements are the scalar tail of loops, and never read.

        See `bits.WholeVectors`.
        """
        return lanes + 1

    def step(
        self, rows: Row, train: Batch, index_NB: Tensor, c_CN1: Tensor, stream: Stream, keep: bool = False
    ) -> tuple[Tensor, Tensors]:
        return self.batched(rows, train, index_NB, c_CN1, keep)
