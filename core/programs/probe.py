"""A few calls of a task before it trains: do they depend on state in Python, and how long does a step take?"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from espalier.core.errors import briefly
from espalier.core.programs.faults import TRANSIENT_ERRORS
from espalier.core.programs.steps import autograd
from espalier.core.programs.task_functions import TaskFunctions, copied
from espalier.core.programs.validation import batch_size, evaluate
from espalier.core.python_state.detect import TaskRaised, find_python_state, state_restored
from espalier.core.python_state.state import PythonState
from espalier.core.rows import Row, own_generators
from espalier.core.task import Batch

CALL_S = 10e-6  # overhead of a tensor operation, including autograd's share
FEW_VALID = 64  # validation examples with which metrics() is called, to see whether it has state in Python
SLOW_S, FEW_OF_SLOW = 0.2, 8  # a slower loss is called with so few examples of either split


class TaskProbe:
    """Probes a task's loss and metrics once, by plain PyTorch, and caches the results."""

    def __init__(self, functions: TaskFunctions, slow_s: float = SLOW_S, clock: Callable[[], float] = time.thread_time):
        self.functions, self.slow_s, self.clock = functions, slow_s, clock
        self.result: PythonState | None = None
        """What `hidden` has returned."""
        self.step_s, self.operations = math.inf, 0
        """Of one lane's gradient by PyTorch, once `hidden` has been asked: its time, and how many operations it is."""

    @property
    def overhead(self) -> float:
        """The share of a step's time that is call overhead and not arithmetic: the most that many lanes can save."""
        return min(1.0, self.operations * CALL_S / self.step_s) if math.isfinite(self.step_s) else 1.0

    def hidden(self, train: Batch, valid: Batch) -> PythonState:
        """Return the task's state in Python, beside its model's tensors, as a few examples of either split show it.

        Empty for a task that raises: training will report that error.
        """
        if self.result is None:
            try:
                self.result = self._look(train, valid)
            except TRANSIENT_ERRORS:
                raise
            except TaskRaised:
                self.result = PythonState()
            except Exception as error:
                self.result = PythonState(f"what loss() keeps in Python cannot be looked at ({briefly(error)})")
        return self.result

    def _look(self, train: Batch, valid: Batch) -> PythonState:
        task, model = self.functions.task, self.functions.model
        lanes = tuple(tensor[None] for tensor in self.functions.fitting(train))
        few = min(FEW_VALID, batch_size(len(valid[0]), task.evaluation_batch_size))
        rows = [{name: t.to(lanes[0].device) for name, t in self.functions.fresh_row(seed).items()} for seed in (0, 1)]
        calls = _Calls(self, rows, lanes, tuple(t[:few] for t in self.functions.fitting(valid)))
        with own_generators():
            with suppress(Exception, SystemExit), state_restored(task, model):
                self._time(calls)
            if self.step_s > self.slow_s:
                small = calls.of_few_examples()
                with suppress(TaskRaised), state_restored(task, model):
                    return find_python_state(task, model, small.loss, small.metrics, TRANSIENT_ERRORS)
                calls.valid = small.valid  # a loss may require a fixed batch size
            return find_python_state(task, model, calls.loss, calls.metrics, TRANSIENT_ERRORS)

    def _time(self, calls: "_Calls") -> None:
        """Time a call of the loss, twice where it is slow: the first may load and compile."""
        calls.loss(False)
        if self.step_s > self.slow_s:
            small = calls.of_few_examples()
            small.loss(False)
            if small.last_s * calls.lanes[0].shape[1] / FEW_OF_SLOW < self.step_s / 2:
                calls.loss(False)


@dataclass
class _Calls:
    """The loss and the metrics of two trials, at fixed inputs, and at other ones."""

    probe: TaskProbe
    rows: Sequence[Row]
    lanes: Batch
    valid: Batch
    whole: bool = True
    last_s: float = math.inf  # CPU seconds of this thread in the last call of the loss

    def of_few_examples(self) -> "_Calls":
        """Return the same calls on a few examples of either split."""
        lanes = tuple(tensor[:, :FEW_OF_SLOW] for tensor in self.lanes)
        return _Calls(self.probe, self.rows, lanes, tuple(t[:FEW_OF_SLOW] for t in self.valid), whole=False)

    def loss(self, other: bool) -> list[Tensor]:
        """Return the loss of a batch and its gradients."""
        probe = self.probe
        batch = tuple(t[:, _paired(t.shape[1])] for t in self.lanes) if other else copied(self.lanes)
        rows = {name: tensor[None].clone() for name, tensor in self.rows[other].items()}  # a loss may change them in
        # place
        begin = probe.clock()
        with nullcontext() if probe.operations else _Counted(probe):
            loss_1, grads, _, _ = autograd(probe.functions, rows, batch, (int(other), int(other)))
        self.last_s = probe.clock() - begin
        if self.whole:
            probe.step_s = min(probe.step_s, self.last_s)
        return [loss_1, *grads.values()]

    def metrics(self, other: bool) -> Mapping[str, float]:
        """Return the metrics of a few examples."""
        split = tuple(t[_paired(len(t))] for t in self.valid) if other else self.valid
        return evaluate(self.probe.functions, self.rows[other], split, (int(other), int(other)), python=False)


class _Counted(TorchDispatchMode):
    """Counts the operations on tensors."""

    def __init__(self, probe: TaskProbe):
        super().__init__()  # pyright: ignore[reportUnknownMemberType]
        self.probe = probe

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # to skip it, it would have to be imported

    def __torch_dispatch__(self, func: Any, types: object, args: Any = (), kwargs: Any = None) -> object:
        self.probe.operations += 1
        return func(*args, **(kwargs or {}))


def _paired(examples: int) -> list[int]:
    """Return the first half of some examples, each twice: another batch of the same size."""
    return [k // 2 for k in range(examples)]
