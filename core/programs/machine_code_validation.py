"""The metrics of one lane as machine code, over all batches of a split in one call."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from espalier.core.native import Native, native_of
from espalier.core.native.stacked import Stacked
from espalier.core.native.tensor_refs import NotNative
from espalier.core.programs.task_functions import TaskFunctions, copied, copied_buffers
from espalier.core.programs.validation import batch_size, clock_at
from espalier.core.rows import Row, own_generators, part, seeded
from espalier.core.task import Batch, Clock
from espalier.core.tensors import as_list


class NativeValidation:
    """The metrics of a task, compiled once for each size of a batch."""

    def __init__(self, functions: TaskFunctions):
        self.functions = functions
        self._compiled: dict[tuple[object, ...], Native | None] = {}
        self._names: list[str] = []

    def evaluate(self, row: Row, split: Batch, step: int, share: float) -> dict[str, float] | None:
        """Return the metrics of a lane over a split, means weighted by batch size; None if they cannot be compiled."""
        self.functions.model.eval()
        clock = clock_at(split[0], self.functions.dtype, step, share)
        state = {name: tensor.contiguous() for name, tensor in row.items() if name.startswith("theta.")}
        state |= {name: tensor.contiguous() for name, tensor in copied_buffers(row).items()}
        examples = len(split[0])
        size = batch_size(examples, self.functions.task.evaluation_batch_size)
        totals: dict[str, float] = {}
        for start, end in ((0, examples - examples % size), (examples - examples % size, examples)):
            if start < end:
                size = min(size, end - start)
                values = self._of_batches(state, tuple(t[start:end].contiguous() for t in split), size, clock)
                if values is None:
                    return None
                for name, each in values.items():
                    totals[name] = totals.get(name, 0.0) + sum(value * size for value in each)
        return {name: total / examples for name, total in totals.items()}

    def _of_batches(self, state: Row, examples: Batch, size: int, clock: Clock) -> Mapping[str, list[float]] | None:
        """Return the metrics of batches of `size` examples, one after the other; None if they cannot be compiled."""
        key = (size, *(tensor.shape[1:] for tensor in examples))
        if key not in self._compiled:
            self._compiled[key] = self._compile(state, tuple(tensor[:size] for tensor in examples), clock)
        native = self._compiled[key]
        if native is None:
            return None
        values = native(1, [*state.values(), *clock, *examples], steps=len(examples[0]) // size)
        return {name: as_list(value.view(-1)) for name, value in zip(self._names, values, strict=True)}

    def _compile(self, state: Row, batch: Batch, clock: Clock) -> Native | None:
        inputs = [*(state | copied_buffers(state)).values(), *clock, *batch]
        batches = range(len(state) + len(clock), len(inputs))

        def metrics(*tensors: Tensor) -> list[Tensor]:
            named = dict(zip(state, tensors, strict=False))
            step, share, *rest = tensors[len(named) :]
            with self.functions.restored():
                theta, buffers = part(named, "theta."), part(named, "buffer.")
                values = self.functions.metrics(theta, buffers, tuple(rest), (step, share))
            self._names = list(values)
            return [torch.as_tensor(value) for value in values.values()]

        try:
            with torch.no_grad():
                if not _leaves(batch, lambda batch: metrics(*inputs[: batches.start], *batch)):
                    raise NotNative("metrics() changes its batch in place")
                return native_of(metrics, [Stacked(tensor, None) for tensor in inputs], batches)
        except NotNative:
            return None


def _leaves(batch: Sequence[Tensor], call: Callable[[Batch], object]) -> bool:
    """Whether a function leaves its batch unchanged."""
    argument = copied(tuple(batch))
    with own_generators(), seeded(0):
        call(argument)
    return all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(batch, argument, strict=True))
