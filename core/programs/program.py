"""The interface of programs: a program is one way to compute the next training step of many trials at once.

N = lanes, S = steps, B = examples in a batch, C = the optimizer's coefficients, P = numbers of a parameter.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from espalier.core.measures.ratios import step_ratios
from espalier.core.optimizers import Optimizer
from espalier.core.programs import validation
from espalier.core.programs.comparison import Reference
from espalier.core.programs.faults import TRANSIENT_ERRORS, LaneFaults
from espalier.core.programs.probe import TaskProbe
from espalier.core.programs.steps import AutogradByLane, LaneGradients, LaneStep, Stream
from espalier.core.programs.task_functions import TaskFunctions, Tensors
from espalier.core.python_state.state import PythonState
from espalier.core.rows import Row
from espalier.core.task import Batch, Clock, Task


class Program(ABC):
    """Takes training steps for all lanes of a cohort, in place.

    A lane is the slot of one trial in a batch of trials. The state of N lanes is a dictionary of tensors with one row
    per lane: "theta.<parameter>", "slot.<slot>.<parameter>" of the optimizer, "buffer.<name>". To add a program,
    subclass this class and write `step`; everything else has a default:

        class MyProgram(Program):
            def step(self, rows, train, index_NB, c_CN1, stream, keep=False):
                def differentiate(rows, batch, clock_N):
                    return steps.autograd_by_lane(self.functions, rows, batch, stream, clock_N)

                clocked = self.functions.clocked
                return steps.take_step(differentiate, self.optimizer, clocked, rows, train, index_NB, c_CN1, keep)

    A spec names it by `resources: {program: mine.py:MyProgram}`. Two laws hold for every program. A lane's numbers are
    the same to the last bit whatever trains beside it. A step is PyTorch's own up to rounding: while trials train,
    one lane's step is sometimes compared with PyTorch's (`differs`).
    """

    min_width: ClassVar[int] = 2
    """The fewest rows of a step. 1: a program of one lane, which runs the task's own Python in each step, so that a
    task may draw random numbers and keep state. All others write a step down or batch it."""
    fixed_width: ClassVar[bool] = False
    """Whether a cohort keeps one width to its end, since another width may give a lane other bits."""
    lanes_run_sequentially: ClassVar[bool] = False
    """Whether the lanes of a step are computed one after the other, so that a free lane costs nothing."""
    call_s: ClassVar[float] = 600.0
    """The least time in seconds that a call of `step` may take before its worker is ended; compilers need some."""

    def __init__(self, task: Task, optimizer: Optimizer, dtype: torch.dtype = torch.float32):
        """Build the task's model once. dtype: the type of all floating-point numbers."""
        self.task, self.optimizer, self.dtype = task, optimizer, dtype
        self.functions = TaskFunctions(task, dtype)
        self.model, self.parameters, self.clocked = (
            self.functions.model,
            self.functions.parameters,
            self.functions.clocked,
        )
        self.lane_gradients: LaneGradients = AutogradByLane(self.functions)
        """How the gradients of all lanes are computed; a program that batches them sets another."""
        self.probe = TaskProbe(self.functions)
        self.faults = LaneFaults(self.functions, one_lane=self.min_width == 1)
        self.raised = self.faults.raised
        """What the model raised at the finite numbers of a lane, by lane, until somebody takes it."""
        self.failed = self.faults.failed
        """What the task raised for a lane whatever its numbers, likewise."""
        self.beat: Callable[[int], None] = lambda steps: None
        """Called before each call of the task's code, with the steps that the call takes."""
        self._reference = Reference(task, optimizer, dtype)

    # --- for a program to override -----------------------------------------------------------------------------------

    @abstractmethod
    def step(
        self, rows: Row, train: Batch, index_NB: Tensor, c_CN1: Tensor, stream: Stream, keep: bool = False
    ) -> tuple[Tensor, Tensors]:
        """Train every row by one step, in place. Return the losses (N,) and, if asked to `keep` them, the gradients.

        train: the whole training split; index_NB: the examples of each lane's batch.
        c_CN1: the optimizer's coefficients at this step, then the clock if the loss takes it (trial.Structure).
        stream: the (seed, step) that seeds random draws, for a program of one lane.
        A step changes no row if it raises.
        """

    def steps(self, rows: Row, train: Batch, index_SNB: Tensor, c_SCN1: Tensor, stream: Stream) -> Tensor:
        """Train every row by S steps, in place. Return the losses (N, S). stream: that of the first step."""
        seed, first = stream
        losses = [
            self.safe_step(rows, train, index_NB, c_CN1, (seed, first + s))[0]
            for s, (index_NB, c_CN1) in enumerate(zip(index_SNB, c_SCN1, strict=True))
        ]
        return torch.stack(losses, 1)

    def width(self, lanes: int) -> int:
        """Return how many rows a step of `lanes` lanes computes."""
        return max(lanes, self.min_width)

    def prepare(self, batch: Batch) -> None:
        """Prepare for a kind of batch before the first step. Trains nothing."""
        self.lane_gradients.prepare(batch)

    def why_not(self, train: Batch, batch_size: int) -> str | None:
        """Return why this program cannot train its task on this machine, or None if it can. Trains nothing."""
        return self.lane_gradients.why_not(tuple(tensor[:batch_size] for tensor in train))

    # --- defaults for all programs --------------------------------------------------------------------------

    def gradients(
        self, rows: Row, batch: Batch, stream: Stream = (0, 0), clock_N: Clock | None = None
    ) -> tuple[Tensor, Tensors, Tensors]:
        """Return losses (N,), the gradient of each parameter (N, ...), and the buffers after the forward pass.

        Each lane's gradient is that of its own mean loss. clock_N: (N,) each; None for step 0.
        """
        loss_N, grads, buffers, _ = self.lane_gradients(rows, batch, clock_N, stream)
        return loss_N, grads, buffers

    def safe_step(
        self, rows: Row, train: Batch, index_NB: Tensor, c_CN1: Tensor, stream: Stream, keep: bool = False
    ) -> tuple[Tensor, Tensors]:
        """Take a step like `step`. The loss of a lane for which the model raises is NaN, and the others continue.

        `raised` and `failed` then hold the errors.
        """
        self.beat(1)
        try:
            return self.step(rows, train, index_NB, c_CN1, stream, keep)
        except TRANSIENT_ERRORS:
            raise
        except (Exception, SystemExit) as error:
            lanes = range(len(index_NB))
            lost = [k for k in lanes if self.faults.ends(k, lane_step(k, rows, train, index_NB, c_CN1, stream), error)]
            if not lost:
                raise
        sound = [k for k in lanes if k not in lost]
        loss_N = torch.full((len(lanes),), math.nan, dtype=self.dtype, device=index_NB.device)
        if not sound:
            return loss_N, {name: torch.full_like(rows[f"theta.{name}"], math.nan) for name in self.parameters.shapes}
        index_NB = index_NB.clone()
        for k in lost:
            index_NB[k] = index_NB[sound[0]]
            for tensor in rows.values():
                tensor[k].copy_(tensor[sound[0]])
        sound_loss_N, grads = self.step(rows, train, index_NB, c_CN1, stream, keep)
        loss_N[sound] = sound_loss_N[sound]
        return loss_N, grads

    def lane_caused_error(self, row: Row, call: Callable[[Row], object]) -> bool:
        """Whether a lane's state is why a call raises: its parameters are no numbers, or with fresh ones none does."""
        return self.faults.lane_caused_error(row, call)

    def differs(self, row: Row, train: Batch, index_B: Tensor, c_C1: Tensor, stream: Stream) -> str | None:
        """Take a step of a copy of a lane by this program and by PyTorch; return how they differ, None if they agree.

        A traced step may become outdated: a loss that reads the wall clock, or a task changed from outside.
        """
        step = LaneStep(row, train, index_B, c_C1, stream)
        return self._reference.difference(*self.copied_step(step), step)

    def copied_step(self, step: LaneStep) -> tuple[Tensor, Tensors]:
        """Take a step of a copy of a lane; return its loss (1,) and its gradients (1, ...)."""
        width = self.width(1)
        rows = {name: tensor[None].repeat(width, *[1] * tensor.dim()) for name, tensor in step.row.items()}
        index_NB, c_CN1 = step.index_B[None].repeat(width, 1), step.c_C1[:, None].repeat(1, width, 1)
        loss_N, grads = self.step(rows, step.train, index_NB, c_CN1, step.stream, keep=True)
        return loss_N[:1], {name: grad[:1] for name, grad in grads.items()}

    def ratios(self, before: Sequence[Tensor], after: Sequence[Tensor], grads: Sequence[Tensor]) -> Tensor:
        """Return the ratios of parameter tensors (N, P) around a step, (N, 2 T), as measures.ratios defines them."""
        return step_ratios(before, after, grads)

    def evaluate(
        self, row: Row, split: Batch, stream: Stream = (0, 0), share: float = 0.0, python: bool = True
    ) -> dict[str, float]:
        """Return the metrics of one lane's state over a split: means weighted by batch size.

        The state stays unchanged, even if a model updates its buffers in evaluation. Random draws are a function of
        `stream`, the trial's (seed, step). share: of the trial's budget, in [0, 1]. python: also restore Python's own
        generators.
        """
        return validation.evaluate(self.functions, row, split, stream, share, python, self.beat)

    def hidden(self, train: Batch, valid: Batch) -> PythonState:
        """Return the task's state in Python, beside its model's tensors, as a few examples of either split show it."""
        return self.probe.hidden(train, valid)

    def fresh_row(self, seed: int) -> Row:
        """Return the state of a trial before its first step: weights drawn under `seed`, optimizer state zero."""
        return self.functions.fresh_row(seed, self.optimizer.slots)

    def module(self, row: Row) -> nn.Module:
        """Return a new model with one lane's state."""
        return self.functions.module(row)


def lane_step(k: int, rows: Row, train: Batch, index_NB: Tensor, c_CN1: Tensor, stream: Stream) -> LaneStep:
    """Return the step of lane `k` alone."""
    return LaneStep({name: tensor[k] for name, tensor in rows.items()}, train, index_NB[k], c_CN1[:, k], stream)
