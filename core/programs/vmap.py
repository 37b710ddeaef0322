"""The vmap program: many lanes in one batched call."""

import torch
from torch import Tensor

from espalier.core.optimizers import Optimizer
from espalier.core.programs.batched import BatchedStep
from espalier.core.programs.program import Program
from espalier.core.programs.steps import Stream
from espalier.core.programs.task_functions import Tensors
from espalier.core.rows import Row
from espalier.core.task import Batch, Clock, Task


class VmapProgram(Program):
    """All lanes in one batched call of torch's kernels.

    A batched product gives a lane the same bits at every N >= 2 but may take another kernel at N = 1.
    """

    call_s = 120.0

    def __init__(self, task: Task, optimizer: Optimizer, dtype: torch.dtype = torch.float32):
        super().__init__(task, optimizer, dtype)
        self.batched = BatchedStep(self.functions, optimizer)

    def width(self, lanes: int) -> int:
        """Return one row more than there are lanes: its elements are the scalar tail of a loop, which nobody reads.

        See `bits.WholeVectors`.
        """
        return lanes + 1

    def prepare(self, batch: Batch) -> None:
        self.batched.gradients.prepare(batch)

    def gradients(
        self, rows: Row, batch: Batch, stream: Stream = (0, 0), clock_N: Clock | None = None
    ) -> tuple[Tensor, Tensors, Tensors]:
        return self.batched.gradients(rows, batch, clock_N)[:3]

    def step(
        self, rows: Row, train: Batch, index_NB: Tensor, c_CN1: Tensor, stream: Stream, keep: bool = False
    ) -> tuple[Tensor, Tensors]:
        return self.batched(rows, train, index_NB, c_CN1, keep)

    def why_not(self, train: Batch, batch_size: int) -> str | None:
        return self.batched.gradients.why_not(tuple(tensor[:batch_size] for tensor in train))
