"""The native program: the step of one lane as machine code, called for one lane after the other (core.native).

N = lanes, S = steps, B = examples in a batch, C = the optimizer's coefficients.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from espalier.core.errors import briefly
from espalier.core.measures.ratios import step_ratios_of_a_lane
from espalier.core.native import Native, native_of
from espalier.core.native.stacked import Stacked
from espalier.core.native.tensor_refs import NotNative
from espalier.core.optimizers import Optimizer
from espalier.core.programs.batched import lane_axes
from espalier.core.programs.machine_code_validation import NativeValidation
from espalier.core.programs.program import Program, lane_step
from espalier.core.programs.steps import Gradients, Stream, autograd, example_coefficients, take_step
from espalier.core.programs.task_functions import Tensors
from espalier.core.rows import Row
from espalier.core.task import Batch, Clock, Task


class NativeProgram(Program):
    """A lane's step, and if possible its validation, compiled by the machine's C compiler.

    A lane's numbers stay in the processor's cache for the whole step, and a call costs almost nothing. So few lanes
    are as fast as many.
    """

    lanes_run_sequentially = True
    call_s = 120.0

    def __init__(self, task: Task, optimizer: Optimizer, dtype: torch.dtype = torch.float32):
        super().__init__(task, optimizer, dtype)
        self._steps: dict[tuple[object, ...], Native] = {}
        self._ratios: dict[tuple[int, ...], Native] = {}
        self._validation = NativeValidation(self.functions)

    def width(self, lanes: int) -> int:
        return lanes

    def step(
        self, rows: Row, train: Batch, index_NB: Tensor, c_CN1: Tensor, stream: Stream, keep: bool = False
    ) -> tuple[Tensor, Tensors]:
        inputs = [*rows.values(), *train, index_NB.contiguous(), c_CN1.contiguous()]

        def lost(k: int, _: int, error: Exception) -> bool:
            return self.faults.ends(k, lane_step(k, rows, train, index_NB, c_CN1, stream), error)

        native = self._native_step(list(rows), len(train), inputs)
        loss_N, *grads = native(len(index_NB), inputs, None if keep else 1, lost=lost)
        return loss_N, dict(zip(self.parameters.shapes, grads, strict=False))

    def steps(self, rows: Row, train: Batch, index_SNB: Tensor, c_SCN1: Tensor, stream: Stream) -> Tensor:
        """Train one lane by all its steps before the next lane begins: its numbers stay in the cache."""
        self.beat(len(index_SNB))
        state = [*rows.values(), *train]

        def lost(k: int, s: int, error: Exception) -> bool:
            return self.faults.ends(k, lane_step(k, rows, train, index_SNB[s], c_SCN1[s], stream), error)

        native = self._native_step(list(rows), len(train), [*state, index_SNB[0], c_SCN1[0]])
        inputs = [*state, index_SNB.contiguous(), c_SCN1.contiguous()]
        (loss_SN,) = native(index_SNB.shape[1], inputs, 1, len(index_SNB), lost)
        return loss_SN.reshape(len(index_SNB), -1).T

    def why_not(self, train: Batch, batch_size: int) -> str | None:
        """Return why the step cannot be machine code here; None if it can, and then it is compiled."""
        first, second = self.fresh_row(0), self.fresh_row(1)
        rows = {name: torch.stack([first[name], second[name]]) for name in first}
        for name in [name for name in rows if name.startswith("slot.")]:
            rows[name] = rows[f"theta.{name.split('.', 2)[2]}"].abs() / 8 + 0.125  # so that an update changes them
            # visibly
        examples = self.functions.fitting(train)
        size = min(batch_size, len(train[0]))
        index_NB = torch.arange(2 * size).view(2, size) % len(train[0])
        c_CN1 = example_coefficients(self.optimizer, self.clocked)
        try:
            self._native_step(list(rows), len(train), [*rows.values(), *examples, index_NB, c_CN1.to(self.dtype)])
        except NotNative as error:
            return briefly(error)
        return None

    def _native_step(self, names: list[str], splits: int, inputs: list[Tensor]) -> Native:
        """Return the step for inputs like these, compiled once. Raises NotNative."""
        train, index_NB = inputs[len(names) : len(names) + splits], inputs[-2]
        key = (index_NB.shape[1], *((tensor.shape, tensor.stride()) for tensor in train))
        if key not in self._steps:

            def differentiate(rows: Row, batch: Batch, clock_1: Clock | None) -> Gradients:
                return autograd(self.functions, rows, batch, (0, 0), clock_1)

            def step(*tensors: Tensor) -> list[Tensor]:
                rows, rest = dict(zip(names, tensors, strict=False)), tensors[len(names) :]
                train, index_1B, c_C11 = rest[:splits], rest[-2], rest[-1]
                with self.functions.restored():
                    loss_1, grads = take_step(
                        differentiate, self.optimizer, self.clocked, rows, train, index_1B, c_C11, keep=True
                    )
                return [loss_1, *grads.values()]

            self.model.train()
            axes, last = lane_axes(len(names), splits), len(inputs) - 1
            arguments = [Stacked(tensor, axis) for tensor, axis in zip(inputs, axes, strict=True)]
            self._steps[key] = native_of(step, arguments, (last - 1, last))
        return self._steps[key]

    def ratios(self, before: Sequence[Tensor], after: Sequence[Tensor], grads: Sequence[Tensor]) -> Tensor:
        key = tuple(tensor.shape[1] for tensor in before)
        if key not in self._ratios:
            self._ratios[key] = self._native_ratios([tensor.shape[1] for tensor in (*before, *after, *grads)])
        return self._ratios[key](len(after[0]), [*before, *after, *grads])[0]

    def _native_ratios(self, sizes: Sequence[int]) -> Native:
        """Compile the ratios of parameters of these sizes, from before and after a step and its gradients."""

        def ratios(*tensors: Tensor) -> list[Tensor]:
            each = len(tensors) // 3
            return [step_ratios_of_a_lane(tensors[:each], tensors[each : 2 * each], tensors[2 * each :])]

        # compared with the traced function on ordinary numbers: those of a lane may be infinite by now
        numbers = [torch.linspace(-1, 1 + n, 2 * n, dtype=self.dtype).view(2, n) for n in sizes]
        return native_of(ratios, [Stacked(tensor, 0) for tensor in numbers])

    def evaluate(
        self, row: Row, split: Batch, stream: Stream = (0, 0), share: float = 0.0, python: bool = True
    ) -> dict[str, float]:
        """Return the metrics of all batches by one call: the overhead of a call for each would add up."""
        if not (self.probe.result and self.probe.result.validation):
            metrics = self._validation.evaluate(row, split, stream[1], share)
            if metrics is not None:
                return metrics
        return super().evaluate(row, split, stream, share, python)
