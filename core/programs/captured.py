"""The captured program: the batched step's list of operations as one CUDA graph."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from espalier.core.optimizers import Optimizer
from espalier.core.programs.batched import BatchedStep
from espalier.core.programs.bits import without_onednn
from espalier.core.programs.program import Program
from espalier.core.programs.steps import LaneStep, Stream
from espalier.core.programs.task_functions import Tensors
from espalier.core.rows import Row
from espalier.core.task import Batch, Task

Replay = Callable[[], object]


@dataclass(frozen=True)
class _Capture:
    """A captured step. It reads and writes the tensors that it was captured with."""

    pointers: Sequence[int]
    """Of the rows and the training split."""
    index_NB: Tensor
    c_CN1: Tensor
    replay: Replay
    outputs: Sequence[Tensor]


class CapturedProgram(Program):
    """A step is one launch of a CUDA graph, and nothing in it synchronises.

    The inputs of each step are copied into the tensors that the graph was captured with.
    The width stays constant: at another width a GPU may choose other kernels, with other bits.
    """

    fixed_width = True

    def __init__(self, task: Task, optimizer: Optimizer, dtype: torch.dtype = torch.float32):
        super().__init__(task, optimizer, dtype)
        self.batched = BatchedStep(self.functions, optimizer)
        self.lane_gradients = self.batched.gradients
        self._captures: dict[tuple[bool, torch.Size], _Capture] = {}

    def width(self, lanes: int) -> int:
        """Return the next power of two."""
        return 1 << (max(lanes, self.min_width) - 1).bit_length()

    def step(
        self, rows: Row, train: Batch, index_NB: Tensor, c_CN1: Tensor, stream: Stream, keep: bool = False
    ) -> tuple[Tensor, Tensors]:
        pointers = [tensor.data_ptr() for tensor in (*rows.values(), *train)]
        key = keep, index_NB.shape
        if key not in self._captures or self._captures[key].pointers != pointers:
            stepper = self.batched.stepper(list(rows), train, [*rows.values(), *train, index_NB, c_CN1], keep)
            if stepper is None:
                return self.batched.by_vmap(rows, train, index_NB, c_CN1, keep)
            index, c = index_NB.clone(), c_CN1.clone()
            inputs = [*rows.values(), *train, index, c]
            replay, outputs = _capture(lambda: stepper(*inputs), list(rows.values()))
            self._captures[key] = _Capture(pointers, index, c, replay, outputs)
        capture = self._captures[key]
        capture.index_NB.copy_(index_NB)
        capture.c_CN1.copy_(c_CN1)
        with without_onednn():
            capture.replay()
        loss_N, *grads = capture.outputs
        return loss_N.clone(), dict(zip(self.parameters.shapes, grads, strict=False))

    def copied_step(self, step: LaneStep) -> tuple[Tensor, Tensors]:
        """Take a step of a copy of a lane by a graph of its own; the cohort's graph is kept."""
        captures, self._captures = self._captures, {}
        try:
            return super().copied_step(step)
        finally:
            self._captures = captures

    def forget(self) -> None:
        """Free the captured graphs and the memory that they hold."""
        self._captures.clear()


def _capture(run: Callable[[], Sequence[Tensor]], rows: Sequence[Tensor]) -> tuple[Replay, Sequence[Tensor]]:
    """Return a function that replays a step, and the tensors of its results. Changes no row.

    A CPU cannot capture, so there the step is run again. This way tests on a CPU cover this program too.
    """
    before = [tensor.clone() for tensor in rows]
    replay, outputs = _graph_of(run) if rows[0].is_cuda else _stand_in(run)
    for tensor, values in zip(rows, before, strict=True):
        tensor.copy_(values)
    return replay, outputs


def _stand_in(run: Callable[[], Sequence[Tensor]]) -> tuple[Replay, Sequence[Tensor]]:
    outputs = [tensor.clone() for tensor in run()]

    def replay() -> None:
        for output, tensor in zip(outputs, run(), strict=True):
            output.copy_(tensor)

    return replay, outputs


def _graph_of(run: Callable[[], Sequence[Tensor]]) -> tuple[Replay, Sequence[Tensor]]:
    side_stream = torch.cuda.Stream()
    side_stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side_stream):  # libraries initialise themselves in their first calls, which cannot be
        # captured
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side_stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = run()
    return graph.replay, outputs
