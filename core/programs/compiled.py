# pyright: basic
# torch types little of what this file needs: its graphs, its dispatcher, its private switches
"""The compiled program: the batched step's list of operations, fused by torch.compile."""

import os
import shutil
from collections.abc import Sequence

import torch
from torch import Tensor, fx

from espalier.core.native.stacked import Stacked
from espalier.core.optimizers import Optimizer
from espalier.core.programs.batched import BatchedStep, Stepper
from espalier.core.programs.graph import NotOneGraph
from espalier.core.programs.program import Program
from espalier.core.programs.refusals import reason_of
from espalier.core.programs.steps import Stream, example_coefficients
from espalier.core.programs.task_functions import Tensors
from espalier.core.rows import Row
from espalier.core.task import Batch, Task

REGISTER = 16  # float32 numbers in the widest vector register


class CompiledProgram(Program):
    """All lanes by fused kernels, compiled once for every number of lanes.

    Its results differ from the vmap program's by rounding. A lane has the same bits at every width.
    """

    def __init__(self, task: Task, optimizer: Optimizer, dtype: torch.dtype = torch.float32):
        super().__init__(task, optimizer, dtype)
        self.batched = BatchedStep(self.functions, optimizer, _fused)
        self.lane_gradients = self.batched.gradients

    def width(self, lanes: int) -> int:
        """Return one row more than there are lanes; where a lane has few elements, a multiple of a vector register.

        The fused loops then end with no scalar code. They would leave out the padding of `bits.WholeVectors`.
        """
        return -(-lanes // REGISTER) * REGISTER if self.batched.gradients.has_small_lanes else lanes + 1

    def prepare(self, batch: Batch) -> None:
        self.lane_gradients.prepare(batch)
        two = {name: t.to(batch[0].device).expand(2, *t.shape) for name, t in self.fresh_row(0).items()}
        self.lane_gradients(two, tuple(tensor.expand(2, *tensor.shape) for tensor in batch))

    def step(
        self, rows: Row, train: Batch, index_NB: Tensor, c_CN1: Tensor, stream: Stream, keep: bool = False
    ) -> tuple[Tensor, Tensors]:
        return self.batched(rows, train, index_NB, c_CN1, keep=True)  # at no cost: one graph serves all steps

    def why_not(self, train: Batch, batch_size: int) -> str | None:
        on_cpu = train[0].device.type == "cpu"
        if on_cpu and not any(map(shutil.which, ("g++", "clang++", os.environ.get("CXX", "g++")))):
            return "there is no C++ compiler here: install g++"
        batch = self.functions.fitting(tuple(tensor[:batch_size] for tensor in train))
        rows = {name: torch.stack([tensor] * 2) for name, tensor in self.fresh_row(0).items()}
        index_NB = torch.arange(len(batch[0]), device=batch[0].device).repeat(2, 1)
        c_CN1 = torch.zeros_like(example_coefficients(self.optimizer, self.clocked), dtype=torch.float32)
        self.model.train()
        try:
            self.batched.graph(list(rows), len(batch), [*rows.values(), *batch, index_NB, c_CN1], False)
        except NotOneGraph as error:
            return reason_of(error)
        return None


def _fused(module: fx.GraphModule, arguments: Sequence[Stacked]) -> Stepper:
    fused = torch.compile(module)
    for argument in arguments:
        if argument.lanes is not None:
            torch._dynamo.mark_dynamic(argument.tensor, argument.lanes)
    return fused
