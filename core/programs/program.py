"""One step of all lanes, in place, by one of the programs: plain (one lane), native, vmap, compiled or captured (many).

N = lanes, S = steps, B = examples in a batch, C = the optimizer's coefficients. A batched product gives a lane the
same bits at every N >= 2 but may take another kernel at N = 1, so the vmap program is never narrower than two rows.
"""

import copy
import functools
import math
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from espalier.core import deadline
from espalier.core.deadline import TooLong
from espalier.core.errors import BadInput, briefly
from espalier.core.measures.ratios import step_ratios, step_ratios_of_a_lane
from espalier.core.native import Native, native_of
from espalier.core.native.stacked import Stacked, close, largest
from espalier.core.native.tensor_refs import NotNative
from espalier.core.optimizers import SGD, Optimizer
from espalier.core.order import mix
from espalier.core.programs.graph import NotOneGraph, graph_of
from espalier.core.python_state.detect import TaskRaised, find_python_state, state_restored
from espalier.core.python_state.state import PythonState
from espalier.core.rows import ParameterShapes, Row, own_generators, part, seed_python, seeded
from espalier.core.task import Batch, Clock, Data, Task, call, takes_of_clock

warnings.filterwarnings("ignore", "There is a performance drop")  # vmap's advice to who writes its rules
CALL_S = 10e-6  # of an operation on tensors, with its share of autograd
FEW = 64  # examples of a validation at which it is seen whether metrics() has state in Python
SLOW_S, FEWEST = 0.2, 8  # a loss that takes longer is looked at with so many examples of either split
VALIDATION = 1  # parts what a validation draws at random from what the step after it draws
TRANSIENT_ERRORS = (MemoryError, torch.OutOfMemoryError, torch.AcceleratorError, BadInput)  # no lane's fault
Named = dict[str, Tensor]
Stepper = Callable[..., Sequence[Tensor]]


class _Bound(nn.Module):
    """A task's functions over its model, so that functional_call can swap the parameters."""

    def __init__(self, task: Task, model: nn.Module):
        super().__init__()
        self.task, self.model = task, model

    def forward(self, what: str, batch: Batch, clock: Clock, then: Callable[[Any], Any] | None = None) -> Any:
        """Return what a function of the task does, or what is made of it while the parameters are in their places."""
        found = call(getattr(self.task, what), self.model, batch, clock)
        return then(found) if then else found


def attributes_of(model: nn.Module) -> Named:
    """Return the tensors that a model's modules hold beside their parameters and buffers, by name."""
    return {
        f"{place}.{name}".lstrip("."): value
        for place, module in model.named_modules()
        for name, value in vars(module).items()
        if isinstance(value, Tensor)
    }


def copied(batch: Batch) -> Batch:
    """Return a batch of its own memory: a task may change in place what it is given."""
    return tuple(tensor.clone() for tensor in batch)


class Program:
    """The functions of one task: a fresh lane's state, a step, a validation. This one is plain: one lane."""

    min_width = 1
    fixed_width = False
    """Whether a cohort keeps one width to its end, since another one may give a lane other bits."""
    lanes_run_sequentially = False
    """Whether the lanes of a step are computed one after the other, so that one that is free costs nothing."""
    idle: frozenset[str] = frozenset()
    """Parameters that the loss makes no use of. A step leaves them as they are, and so does torch.optim: no decay."""
    raised: dict[int, str]
    """What the model raised at the finite numbers of a lane, by lane, until somebody takes it."""
    failed: dict[int, BaseException]
    """What the task raised for a lane whatever its numbers, likewise."""

    def width(self, lanes: int) -> int:
        """Return how many rows a step of so many lanes works on."""
        return lanes

    def prepare(self, batch: Batch) -> None:
        """See in a batch, before the first step, what its width and its idle parameters are."""

    def __init__(self, task: Task, optimizer: Optimizer, dtype: torch.dtype = torch.float32):
        self.task, self.optimizer, self.dtype = task, optimizer, dtype
        self.model = self._new_model(0)
        self.parameters = ParameterShapes(self.model)
        self.bound = _Bound(task, self.model)
        self.clocked = bool(takes_of_clock(type(task).loss))
        self.raised: dict[int, str] = {}
        self.beat: Callable[[int], None] = lambda steps: None  # called before each call of the task's code, with steps
        self.failed: dict[int, BaseException] = {}
        self._hidden: PythonState | None = None
        self.step_s, self.operations = math.inf, 0
        """Of one lane's gradient by PyTorch, once `hidden` has been asked: its time, and how many operations it is."""

    def fitting(self, batch: Batch) -> Batch:
        """Return examples with their floating-point numbers in the type that this program computes in."""
        return tuple(t.to(self.dtype) if t.is_floating_point() else t for t in batch)

    def _new_model(self, seed: int) -> nn.Module:
        with seeded(seed):
            return self.task.model().to(self.dtype)

    def _constants(self, model: nn.Module) -> Named:
        frozen = {name: p.detach() for name, p in model.named_parameters() if not p.requires_grad}
        return dict(model.named_buffers()) | frozen

    def fresh_row(self, seed: int) -> Row:
        """Return the state of a trial before its first step: weights drawn under `seed`, optimizer state zero."""
        model = self._new_model(seed)
        theta = self.parameters.take(model)
        row = {f"theta.{name}": tensor for name, tensor in theta.items()}
        for slot in self.optimizer.slots:
            row |= {f"slot.{slot}.{name}": torch.zeros_like(tensor) for name, tensor in theta.items()}
        return row | {f"buffer.{name}": tensor for name, tensor in self._constants(model).items()}

    @contextmanager
    def _apart(self) -> Iterator[None]:
        """Leave nothing of a pass in model and task: while a function is written down its tensors have no numbers, and
        one that is kept (a mask, a table of positions, the last output) would be of no use in the next.

        It is the model itself that is called: a function that somebody gave it may know it, and no copy.
        """
        places = [vars(each) for each in (self.task, *self.model.modules()) if hasattr(each, "__dict__")]
        kept = [(own, dict(own)) for own in places]
        containers = [
            (value, copy.copy(value))
            for own in places
            for name, value in own.items()
            if type(value) in (list, dict, set) and name not in ("_parameters", "_buffers", "_modules")
        ]
        try:
            yield
        finally:
            for own, before in kept:
                own.clear()
                own.update(before)
            for value, before in containers:
                value.clear()
                value.extend(before) if isinstance(value, list) else value.update(before)

    def _call(self, what: str, theta: Named, buffers: Named, batch: Batch, clock: Clock) -> Any:
        return functional_call(self.bound, _in_model(theta | buffers), (what, batch, clock))

    def hidden(self, train: Batch, valid: Batch) -> PythonState:
        """Return what the task keeps in Python beside its model's tensors, seen at a few examples of either split.

        Nothing of a task that raises there: whoever trains by it will meet that.
        """
        if self._hidden is None:
            try:
                self._hidden = self._seen(train, valid)
            except TRANSIENT_ERRORS:
                raise
            except TaskRaised:
                self._hidden = PythonState()
            except Exception as error:
                self._hidden = PythonState(f"what loss() keeps in Python cannot be looked at ({briefly(error)})")
        return self._hidden

    def _seen(self, train: Batch, valid: Batch) -> PythonState:
        both = [{name: t.to(train[0].device) for name, t in self.fresh_row(seed).items()} for seed in (0, 1)]
        spent = list[float]()
        lanes = whole = tuple(tensor[None] for tensor in self.fitting(train))
        few = tuple(t[: min(FEW, _evenly(len(t), self.task.evaluation_batch_size))] for t in self.fitting(valid))

        def loss(other: bool) -> list[Tensor]:
            given = tuple(t[:, _paired(t.shape[1])] for t in lanes) if other else copied(lanes)
            rows = {name: tensor[None].clone() for name, tensor in both[other].items()}  # a loss may write in them
            begin = time.thread_time()
            with nullcontext() if self.operations else _Counted(self):
                loss_1, grads, _ = Program.gradients(self, rows, given, (int(other), int(other)))
            spent.append(time.thread_time() - begin)
            if lanes is whole:
                self.step_s = min(self.step_s, spent[-1])
            return [loss_1, *grads.values()]

        def metrics(other: bool) -> Mapping[str, float]:
            given = tuple(t[_paired(len(t))] for t in few) if other else few
            return Program.evaluate(self, both[other], given, (int(other), int(other)), python=False)

        with own_generators():
            with suppress(Exception, SystemExit), state_restored(self.task, self.model):
                loss(False)
                if self.step_s > SLOW_S:  # or the first call alone, which loads and compiles what it needs
                    lanes = tuple(tensor[:, :FEWEST] for tensor in whole)
                    loss(False)
                    lanes = whole
                    if spent[-1] * whole[0].shape[1] / FEWEST < self.step_s / 2:
                        loss(False)
            if self.step_s > SLOW_S:
                lanes, few = tuple(t[:, :FEWEST] for t in whole), tuple(t[:FEWEST] for t in few)
                with suppress(TaskRaised), state_restored(self.task, self.model):
                    return find_python_state(self.task, self.model, loss, metrics, TRANSIENT_ERRORS)
                lanes = whole  # a loss may take batches of one size alone
            return find_python_state(self.task, self.model, loss, metrics, TRANSIENT_ERRORS)

    @property
    def overhead(self) -> float:
        """Which share of a step's time its calls take, and not its arithmetic: all that many lanes can save."""
        return min(1.0, self.operations * CALL_S / self.step_s) if math.isfinite(self.step_s) else 1.0

    def _loss(
        self, theta: Named, buffers: Named, batch: Batch, clock: Clock, then: Callable[[Tensor], Any] | None = None
    ) -> tuple[Any, Named]:
        """Return the loss, or what is made of it, and the buffers after it."""
        after = {name: tensor.clone() for name, tensor in buffers.items()}
        state = _in_model(theta | after)
        loss = functional_call(self.bound, state, ("loss", batch, clock, then))
        for name, tensor in after.items():
            found = state[f"model.{name}"]  # by now what the model has put in the buffer's place, if it has
            if isinstance(found, Tensor) and found.shape == tensor.shape:  # a cache that grows is made in each pass
                if found.dtype != tensor.dtype:
                    raise BadInput(
                        f"task: the model's buffer {name} begins as {tensor.dtype} and becomes {found.dtype} in a step;"
                        " let it begin as what it becomes"
                    )
                after[name] = found.detach()
        return loss, after

    def gradients(
        self, rows: Row, batch: Batch, stream: tuple[int, int] = (0, 0), clock_N: Clock | None = None
    ) -> tuple[Tensor, Named, Named]:
        """Return losses (N,), the gradient of each parameter (N, ...), and the buffers after the forward pass.

        Each lane's gradient is that of its own mean loss. `stream` is the (seed, step) of the one lane of a plain
        program, from which anything random is drawn, by torch, Python or numpy; no other program runs such a model.
        The generators of Python and numpy are left there: see `own_generators`. clock_N: (N,) each; None: the begin.
        """
        self.model.train()
        own = {name: parameter for name, parameter in self.model.named_parameters() if name in self.parameters.shapes}
        theta = {name: rows[f"theta.{name}"][0].detach().requires_grad_(p.requires_grad) for name, p in own.items()}
        buffers = {name: tensor[0] for name, tensor in part(rows, "buffer.").items()}

        def differentiated(loss: Tensor) -> tuple[Tensor, Sequence[Tensor | None]]:
            """What a layer computes again on the way back, it computes from these parameters."""
            if isinstance(loss, Tensor) and loss.dim():
                shape = tuple(loss.shape)
                raise BadInput(f"task: loss() returned a tensor of shape {shape}; it must be one number, the mean")
            moved = [tensor for tensor in theta.values() if tensor.requires_grad]  # a loss may freeze some for a while
            grads = iter(torch.autograd.grad(loss, moved, allow_unused=True))
            return loss, [next(grads, None) if tensor.requires_grad else None for tensor in theta.values()]

        clock = self._clock(batch[0], clock_N)
        seed_python(mix(*stream))
        with seeded(mix(*stream), batch[0].device, python=False):
            one = tuple(tensor[0] for tensor in batch)
            (loss, each), after = self._loss(theta, buffers, one, (clock[0][0], clock[1][0]), differentiated)
        for name, parameter in own.items():  # one that the loss has frozen stays so, till it lets it go
            parameter.requires_grad_(theta[name].requires_grad)
        found = dict(zip(theta, each, strict=True))
        self.idle = frozenset(name for name, grad in found.items() if grad is None)
        grads = {name: _dense(grad, theta[name])[None] for name, grad in found.items()}
        return loss.detach()[None], grads, {name: tensor[None] for name, tensor in after.items()}

    def _clock(self, examples_NB: Tensor, clock_N: Clock | None) -> Clock:
        nothing = torch.zeros(len(examples_NB), dtype=self.dtype, device=examples_NB.device)
        return clock_N or (nothing, nothing)

    def step(
        self, rows: Row, train: Batch, index_NB: Tensor, c_CN1: Tensor, stream: tuple[int, int], keep: bool = False
    ) -> tuple[Tensor, Named]:
        """Train every row by one step, in place. Return the losses (N,) and, if asked to `keep` them, the gradients.

        train: the whole training split; index_NB: the examples of each lane's batch.
        c_CN1: the optimizer's coefficients at this step, and where the loss takes it the clock (trial.Structure).
        stream: see `gradients`.
        """
        coefficients, clock_N = self._parts(c_CN1)
        loss_N, grads, after = self.gradients(rows, tuple(tensor[index_NB] for tensor in train), stream, clock_N)
        for name, tensor in after.items():
            rows[f"buffer.{name}"].copy_(tensor)
        kept = {name: grad.clone() for name, grad in grads.items()} if keep else {}
        for name, grad in [(name, grad) for name, grad in grads.items() if name not in self.idle]:
            slots = {slot: _flat(rows[f"slot.{slot}.{name}"]) for slot in self.optimizer.slots}
            self.optimizer.update(_flat(rows[f"theta.{name}"]), _flat(grad), slots, coefficients)
        return loss_N, kept

    def _parts(self, c_CN1: Tensor) -> tuple[Sequence[Tensor], Clock | None]:
        """Part what a step is given into the optimizer's coefficients, (N, 1) each, and the clock, (N,) each."""
        if not self.clocked:
            return c_CN1.unbind(), None
        *coefficients, step_N1, share_N1 = c_CN1.unbind()
        return coefficients, (step_N1[:, 0], share_N1[:, 0])

    def steps(self, rows: Row, train: Batch, index_SNB: Tensor, c_SCN1: Tensor, stream: tuple[int, int]) -> Tensor:
        """Train every row by S steps, in place. Return the losses (N, S). stream: that of the first of them."""
        seed, first = stream
        each = enumerate(zip(index_SNB, c_SCN1, strict=True))
        return torch.stack([self.safe_step(rows, train, *given, (seed, first + s))[0] for s, given in each], 1)

    def safe_step(
        self, rows: Row, train: Batch, index_NB: Tensor, c_CN1: Tensor, stream: tuple[int, int], keep: bool = False
    ) -> tuple[Tensor, Named]:
        """As `step`; but a lane with which the model raises takes no other with it: its loss is NaN.

        `raised` and `failed` tell why. Nothing has changed when a model raises: a step updates when all is computed.
        """
        self.beat(1)
        lanes = len(index_NB)
        try:
            return self.step(rows, train, index_NB, c_CN1, stream, keep)
        except TRANSIENT_ERRORS:
            raise
        except (Exception, SystemExit) as error:
            lost = [k for k in range(lanes) if self._lost(rows, k, train, index_NB[k], c_CN1[:, k], stream, error)]
            if not lost:
                raise
        sound = [k for k in range(lanes) if k not in lost]
        loss_N = torch.full((lanes,), math.nan, dtype=self.dtype, device=index_NB.device)
        if not sound:
            return loss_N, {name: torch.full_like(rows[f"theta.{name}"], math.nan) for name in self.parameters.shapes}
        index_NB = index_NB.clone()
        for k in lost:
            index_NB[k] = index_NB[sound[0]]
            for tensor in rows.values():
                tensor[k].copy_(tensor[sound[0]])
        found_N, kept = self.step(rows, train, index_NB, c_CN1, stream, keep)
        loss_N[sound] = found_N[sound]
        return loss_N, kept

    def _lost(
        self,
        rows: Row,
        k: int,
        train: Batch,
        index_B: Tensor,
        c_C1: Tensor,
        stream: tuple[int, int],
        error: BaseException,
    ) -> bool:
        """Whether a lane is why a step raises: by its own numbers, or since its task raises there (`failed`)."""
        _, clock_N = self._parts(c_C1[:, None])

        def loss(row: Row) -> None:
            one = {name: tensor.detach()[None] for name, tensor in row.items()}
            Program.gradients(self, one, tuple(tensor[index_B[None]] for tensor in train), stream, clock_N)

        row = {name: tensor[k] for name, tensor in rows.items()}
        if self.lane_caused_error(row, loss):
            if is_finite(row):
                self.raised[k] = briefly(error)
            return True
        alone = self.min_width == 1 and not isinstance(error, OSError)  # nobody else can have raised it
        own = error if alone else _raised_by(lambda: loss(row))
        if own is not None:
            self.failed.setdefault(k, own)
        return own is not None

    def lane_caused_error(self, row: Row, call: Callable[[Row], Any]) -> bool:
        """Whether a lane's state is why a call raises: its parameters are no numbers, or with fresh ones none does."""
        if not is_finite(row):
            return True
        device = next(iter(row.values())).device
        fresh = {name: tensor.to(device) for name, tensor in self.fresh_row(0).items()}
        return _raised_by(lambda: call(row)) is not None and _raised_by(lambda: call(fresh)) is None

    def ratios(self, before: Sequence[Tensor], after: Sequence[Tensor], grads: Sequence[Tensor]) -> Tensor:
        """Return the ratios of parameter tensors (N, P) around a step, (N, 2 T), as measures.ratios defines them."""
        return step_ratios(before, after, grads)

    def module(self, row: Row) -> nn.Module:
        """Return a model of its own with one lane's state."""
        state = part(row, "theta.") | part(row, "buffer.")
        kept = {id(tensor): tensor.detach().clone() for tensor in attributes_of(self.model).values()}
        model = copy.deepcopy(self.model, kept).to(next(iter(state.values())).device)
        own = dict(model.named_parameters()) | dict(model.named_buffers())
        with torch.no_grad():
            for name, tensor in state.items():
                own[name].copy_(tensor)  # in place: weights that are tied under two names stay so
        return model

    def evaluate(
        self, row: Row, split: Batch, stream: tuple[int, int] = (0, 0), share: float = 0.0, python: bool = True
    ) -> dict[str, float]:
        """Return the metrics of one lane's state over a split: means weighted by batch size, as `<name>`.

        The state stays as it is, though a model may move its buffers on the way. What is drawn at random is a function
        of `stream`, the trial's (seed, step); share: of its budget. python: put Python's own generators back, too.
        """
        self.model.eval()
        theta, buffers = part(row, "theta."), part(_moving(row), "buffer.")
        examples = len(split[0])
        size = _evenly(examples, self.task.evaluation_batch_size)
        totals: dict[str, float] = {}
        clock = self._time(split[0], stream[1], share)
        with torch.no_grad(), seeded(mix(*stream, VALIDATION), split[0].device, python):
            for start in range(0, examples, size):
                self.beat(0)
                batch = copied(tuple(tensor[start : start + size] for tensor in split))
                for name, value in self._call("metrics", theta, buffers, batch, clock).items():
                    totals[name] = totals.get(name, 0.0) + float(value) * len(batch[0])
        return {name: total / examples for name, total in totals.items()}

    def _time(self, like: Tensor, step: int, share: float) -> Clock:
        number = functools.partial(torch.tensor, dtype=self.dtype, device=like.device)
        return number(float(step)), number(float(share))


def _dense(grad: Tensor | None, theta: Tensor) -> Tensor:
    """Return a gradient as every lane has it: zeros for none, and no sparse one."""
    if grad is None:
        return torch.zeros_like(theta)
    return grad.to_dense() if grad.layout != torch.strided else grad


def is_finite(row: Row) -> bool:
    """Whether all parameters of a lane are finite numbers."""
    return all(tensor.isfinite().all() for name, tensor in row.items() if name.startswith("theta."))


def _raised_by(call: Callable[[], Any]) -> BaseException | None:
    try:
        call()
    except (Exception, SystemExit) as error:  # whatever a person's code does
        return error
    return None


def _paired(examples: int) -> list[int]:
    """Return the first half of some examples, each twice: another batch of the same size."""
    return [k // 2 for k in range(examples)]


def _moving(row: Row) -> Row:
    """Return copies of a row's buffers, which a model may move."""
    return {name: tensor.clone() for name, tensor in row.items() if name.startswith("buffer.")}


def _in_model(state: Named) -> Named:
    return {f"model.{name}": tensor for name, tensor in state.items()}


def _evenly(examples: int, most: int | None) -> int:
    """Return how many examples to take at once so that as few batches as can be are all of about one size."""
    return -(-examples // -(-examples // (most or examples)))


def _flat(rows_N: Tensor) -> Tensor:
    """Return rows (N, ...) as (N, P)."""
    return rows_N.view(len(rows_N), -1) if rows_N.is_contiguous() else rows_N.reshape(len(rows_N), -1)


def _batch_norm(
    x: Tensor,
    mean: Tensor | None,
    var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """F.batch_norm from parts that keep each lane's rows together, and so its bits."""
    axes, column = [0, *range(2, x.dim())], (1, -1, *[1] * (x.dim() - 2))
    if training or mean is None or var is None:
        here = x.mean(axes)
        spread = (x - here.view(column)).square().mean(axes)
        if training and mean is not None and var is not None:
            n = x.numel() // x.shape[1]
            with torch.no_grad():
                mean.mul_(1 - momentum).add_(here * momentum)
                var.mul_(1 - momentum).add_(spread * (momentum * n / (n - 1)))
        mean, var = here, spread
    y = (x - mean.view(column)) * torch.rsqrt(var + eps).view(column)
    y = y if weight is None else y * weight.view(column)
    return y if bias is None else y + bias.view(column)


@contextmanager
def _without_onednn() -> Iterator[None]:
    """oneDNN's grouped convolution has other bits at other numbers of groups."""
    before = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(before)


FAR = 2**40  # beyond the rows of all lanes together


def _far(index: Tensor, weight: Tensor) -> Tensor:
    """Return indexes of rows, those that are out of range so far that they are out of every lane's."""
    index = index.long()
    return index.add(index - index.clamp(0, len(weight) - 1), alpha=FAR)


def _embedding(input: Tensor, weight: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return F.embedding(_far(input, weight), weight, *args, **kwargs)


def _embedding_of(weight: Tensor, indices: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return torch.embedding(weight, _far(indices, weight), *args, **kwargs)


class _LaneByLane(TorchFunctionMode):
    """What vmap does to lanes side by side, and must not to a lane alone.

    It lays the channels of batch_norm side by side, where a lane's bits depend on how many lanes there are; and the
    rows of an embedding, where an index out of range is a row of another lane.
    """

    OURS: Mapping[Any, Callable[..., Any]] = {
        F.batch_norm: _batch_norm,
        F.embedding: _embedding,
        torch.embedding: _embedding_of,
    }

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.OURS.get(func, func)(*args, **(kwargs or {}))


class _Counted(TorchDispatchMode):
    """Counts a program's operations."""

    def __init__(self, program: Program):
        super().__init__()
        self.program = program

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # in order to be skipped it would be imported

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.program.operations += 1
        return func(*args, **(kwargs or {}))


TAIL = 63  # of two vector registers of half precision, the most that a loop of torch's takes at once, all but one
_EXACT = (
    "abs add bitwise_and bitwise_not bitwise_or bitwise_xor ceil clamp clamp_max clamp_min clone copy copy_ div eq "
    "fill floor ge gt hardtanh hardtanh_backward isfinite isinf isnan le leaky_relu leaky_relu_backward logical_and "
    "logical_not logical_or lt masked_fill maximum minimum mul ne neg ones_like reciprocal relu round rsqrt sgn sign "
    "sqrt sub threshold threshold_backward trunc where zeros_like _to_copy"
)
EXACT = {getattr(torch.ops.aten, name) for name in _EXACT.split()}
"""Functions that IEEE arithmetic rounds in one way only, or that only choose."""
_NOT_TAGGED = (
    "elu_backward hardsigmoid_backward hardswish hardswish_backward log_sigmoid_backward log_sigmoid_forward "
    "mish_backward softplus_backward special_i0 special_i0e special_i1 special_i1e"
)
NOT_TAGGED = {getattr(torch.ops.aten, name) for name in _NOT_TAGGED.split()}
"""Functions of single elements that torch does not mark as such."""


class _WholeVectors(TorchDispatchMode):
    """Gives elements the same bits wherever they lie.

    The last elements of a tensor, fewer than fill vector registers, go through scalar code that gives other bits for
    some functions (exp, sigmoid, softplus). Where each lane has many elements, side by side, they lie in the spare row
    of a VmapProgram; here all others get some more elements behind them.
    """

    def __init__(self, lanes: int):
        super().__init__()
        self.lanes = lanes
        self.has_small_lanes = False  # whether there was a lane with few elements

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        deadline.check()
        pointwise = torch.Tag.pointwise in func.tags or func.overloadpacket in NOT_TAGGED
        if not pointwise or func.overloadpacket in EXACT or "out" in kwargs:
            return func(*args, **kwargs)
        many = [a for a in args if isinstance(a, Tensor) and a.dim()]
        if not many or not any(a.is_floating_point() for a in many) or many[0].device.type != "cpu":
            return func(*args, **kwargs)
        shape = torch.broadcast_shapes(*(a.shape for a in many))
        size = math.prod(shape)
        if size > TAIL * self.lanes and all(self._lane_by_lane(a) for a in many if a.shape == shape):
            return func(*args, **kwargs)
        self.has_small_lanes = True
        padded = [
            torch.cat([a.expand(shape).reshape(-1), a.new_zeros(TAIL)]) if isinstance(a, Tensor) and a.dim() else a
            for a in args
        ]
        found = tree_map_only(Tensor, lambda t: t[:size].view(shape), func(*padded, **kwargs))
        return args[0].copy_(found) if func._schema.name.endswith("_") else found

    def _lane_by_lane(self, tensor: Tensor) -> bool:
        return len(tensor) == self.lanes and tensor.stride(0) == max(tensor.stride())


SAME_LOSS = 1e-4  # relative: rounding alone is a hundred times less


class VmapProgram(Program):
    """All lanes in one batched call, written down once as a list of operations where that can be done (graph).

    Such a list needs none of autograd's and vmap's bookkeeping of 1.5 ms a step, and serves every width.
    """

    min_width = 2

    def __init__(self, task: Task, optimizer: Optimizer, dtype: torch.dtype = torch.float32):
        super().__init__(task, optimizer, dtype)
        self._batched = vmap(grad_and_value(self._lane_loss, has_aux=True))
        self._graphs: dict[tuple[Any, ...], Stepper | None] = {}
        self._alone: Program | None = None
        self.has_small_lanes = False

    def width(self, lanes: int) -> int:
        """One row more than there are lanes: the last elements of a tensor lie in it, which nobody reads.

        See `_WholeVectors`.
        """
        return lanes + 1

    def differs(self, row: Row, train: Batch, index_B: Tensor, c_C1: Tensor, stream: tuple[int, int]) -> str | None:
        """Take a step of a copy of a lane by this program and by PyTorch; return how they differ, None if they do not.

        What was written down may hold no more: a loss that asks the clock, or what somebody has changed in the task.
        """
        if self._alone is None:
            self._alone = Program(self.task, self.optimizer, self.dtype)
        one, c_C11 = index_B[None], c_C1[:, None]
        loss_1, grads = self._copied_step(row, train, one, c_C11, stream)
        rows = {name: tensor[None].clone() for name, tensor in row.items()}
        with own_generators():
            expected_1, theirs = self._alone.step(rows, train, one, c_C11, stream, keep=True)
        ours, expected = loss_1[0].item(), expected_1[0].item()
        if not math.isfinite(expected) and not math.isfinite(ours):
            return None
        scale = max(largest(t) for t in (*row.values(), *(t[one] for t in train)) if t.is_floating_point())
        noise = SAME_LOSS * abs(expected) + 16 * torch.finfo(self.dtype).eps * max(1.0, scale)
        same = abs(ours - expected) <= noise and all(close(grads[name], theirs[name], scale) for name in theirs)
        if same or self._rounds(row, train, one, c_C11, stream, ours, expected):
            return None
        return f"a step by this program has a loss of {ours:.6g}, by PyTorch {expected:.6g}"

    def _copied_step(
        self, row: Row, train: Batch, index_1B: Tensor, c_C11: Tensor, stream: tuple[int, int]
    ) -> tuple[Tensor, Named]:
        width = self.width(1)
        rows = {name: tensor[None].repeat(width, *[1] * tensor.dim()) for name, tensor in row.items()}
        index_NB, c_CN1 = index_1B.repeat(width, 1), c_C11.repeat(1, width, 1)
        loss_N, grads = self.step(rows, train, index_NB, c_CN1, stream, keep=True)
        return loss_N[:1], {name: grad[:1] for name, grad in grads.items()}

    def _rounds(
        self,
        row: Row,
        train: Batch,
        index_1B: Tensor,
        c_C11: Tensor,
        stream: tuple[int, int],
        ours: float,
        expected: float,
    ) -> bool:
        """Whether rounding explains a difference: in double precision PyTorch's own loss moves by about as much."""
        if self.dtype == torch.float64:
            return False
        exact = Program(self.task, self.optimizer, torch.float64)
        rows = {name: (t.double() if t.is_floating_point() else t)[None] for name, t in row.items()}
        try:
            with own_generators():
                loss_1, _ = exact.step(rows, exact.fitting(train), index_1B, c_C11.double(), stream)
        except Exception:  # a model of one precision alone
            return False
        wanted = loss_1[0].item()
        return abs(ours - wanted) <= 30 * abs(expected - wanted)

    def prepare(self, batch: Batch) -> None:
        one = {name: tensor.to(batch[0].device)[None] for name, tensor in self.fresh_row(0).items()}
        with self._apart():
            Program.gradients(self, one, copied(tuple(tensor[None] for tensor in batch)))

    def gradients(
        self, rows: Row, batch: Batch, stream: tuple[int, int] = (0, 0), clock_N: Clock | None = None
    ) -> tuple[Tensor, Named, Named]:
        self.model.train()
        clock_N = self._clock(batch[0], clock_N)
        with _without_onednn(), _WholeVectors(len(batch[0])) as vectors:
            grads, (loss_N, after) = self._batched(part(rows, "theta."), part(rows, "buffer."), batch, clock_N)
        self.has_small_lanes = self.has_small_lanes or vectors.has_small_lanes
        return loss_N, grads, after

    def _lane_loss(self, theta: Named, buffers: Named, batch: Batch, clock: Clock) -> tuple[Tensor, Named]:
        with _LaneByLane():
            return self._loss(theta, buffers, batch, clock)

    def step(
        self, rows: Row, train: Batch, index_NB: Tensor, c_CN1: Tensor, stream: tuple[int, int], keep: bool = False
    ) -> tuple[Tensor, Named]:
        inputs = [*rows.values(), *train, index_NB, c_CN1]
        graph = self._stepper(list(rows), train, inputs, keep)
        if graph is None:
            return super().step(rows, train, index_NB, c_CN1, stream, keep)
        with _without_onednn():
            loss_N, *kept = graph(*inputs)
        return loss_N, dict(zip(self.parameters.shapes, kept, strict=False))

    def _stepper(self, names: list[str], train: Batch, inputs: list[Tensor], keep: bool) -> Stepper | None:
        """Return the list of operations for inputs like these, written down once; None if that cannot be done."""
        index_NB = inputs[-2]
        key = (keep, index_NB.shape[1], *(tensor.device for tensor in train), *(tensor.shape for tensor in train))
        if key not in self._graphs:
            try:
                self._graphs[key] = self._graph(names, len(train), inputs, keep)
            except NotOneGraph:
                self._graphs[key] = None
        return self._graphs[key]

    def _graph(self, names: list[str], splits: int, inputs: list[Tensor], keep: bool) -> Stepper:
        """Return the step as one list of operations over any number of lanes. Raises NotOneGraph."""

        def step(*tensors: Tensor) -> list[Tensor]:
            rows, rest = dict(zip(names, tensors, strict=False)), tensors[len(names) :]
            with self._apart():
                loss_N, kept = Program.step(self, rows, rest[:splits], rest[-2], rest[-1], (0, 0), keep)
            return [loss_N, *kept.values()]

        axes = _axes(len(names), splits)
        return graph_of(step, [Stacked(t, axis) for t, axis in zip(inputs, axes, strict=True)])


def _axes(rows: int, splits: int) -> list[int | None]:
    """Return which axis counts lanes, for each argument of a step: rows, splits of the data, index_NB, c_CN1."""
    return [0] * rows + [None] * splits + [0, 1]


REGISTER = 16  # numbers of float32 in the widest vector register there is


class CompiledProgram(VmapProgram):
    """The batched step's list of operations, fused by torch.compile: once for every number of lanes.

    Its bits are its own, not those of the vmap program, and a lane keeps them at every width.
    """

    def prepare(self, batch: Batch) -> None:
        super().prepare(batch)
        two = {name: t.to(batch[0].device).expand(2, *t.shape) for name, t in self.fresh_row(0).items()}
        self.gradients(two, tuple(tensor.expand(2, *tensor.shape) for tensor in batch))

    def width(self, lanes: int) -> int:
        """One row to spare; where a lane has few elements, a multiple of what fills a vector register.

        The fused loops then end with no scalar code. They would leave the elements out again that others get.
        """
        return -(-lanes // REGISTER) * REGISTER if self.has_small_lanes else super().width(lanes)

    def step(
        self, rows: Row, train: Batch, index_NB: Tensor, c_CN1: Tensor, stream: tuple[int, int], keep: bool = False
    ) -> tuple[Tensor, Named]:
        return super().step(rows, train, index_NB, c_CN1, stream, keep=True)  # at no cost: one list serves all steps

    def _graph(self, names: list[str], splits: int, inputs: list[Tensor], keep: bool) -> Stepper:
        fused = torch.compile(super()._graph(names, splits, inputs, keep))
        for tensor, axis in zip(inputs, _axes(len(names), splits), strict=True):
            if axis is not None:
                torch._dynamo.mark_dynamic(tensor, axis)
        return fused


class NativeProgram(VmapProgram):
    """The step of one lane as machine code, called for all lanes one after the other (core.native).

    A lane's numbers stay in the processor's cache for the whole step, and a call costs next to nothing, so that few
    lanes are as fast as many. Validations are machine code too where they can be.
    """

    lanes_run_sequentially = True

    def __init__(self, task: Task, optimizer: Optimizer, dtype: torch.dtype = torch.float32):
        super().__init__(task, optimizer, dtype)
        self._natives: dict[tuple[Any, ...], Native] = {}
        self._validations: dict[tuple[Any, ...], Native | None] = {}
        self._metrics: list[str] = []

    def width(self, lanes: int) -> int:
        return lanes

    def prepare(self, batch: Batch) -> None:
        """Nothing: a step is written down from one lane's own."""

    def step(
        self, rows: Row, train: Batch, index_NB: Tensor, c_CN1: Tensor, stream: tuple[int, int], keep: bool = False
    ) -> tuple[Tensor, Named]:
        inputs = [*rows.values(), *train, index_NB.contiguous(), c_CN1.contiguous()]
        native = self._native_step(list(rows), len(train), inputs)
        loss_N, *kept = native(
            len(index_NB),
            inputs,
            None if keep else 1,
            lost=lambda k, _, error: self._lost(rows, k, train, index_NB[k], c_CN1[:, k], stream, error),
        )
        return loss_N, dict(zip(self.parameters.shapes, kept, strict=False))

    def steps(self, rows: Row, train: Batch, index_SNB: Tensor, c_SCN1: Tensor, stream: tuple[int, int]) -> Tensor:
        """One lane takes all its steps before the next one takes its first: its numbers stay where they are."""
        self.beat(len(index_SNB))
        state = [*rows.values(), *train]
        native = self._native_step(list(rows), len(train), [*state, index_SNB[0], c_SCN1[0]])
        given = [*state, index_SNB.contiguous(), c_SCN1.contiguous()]
        (loss_SN,) = native(
            index_SNB.shape[1],
            given,
            1,
            len(index_SNB),
            lambda k, s, error: self._lost(rows, k, train, index_SNB[s, k], c_SCN1[s, :, k], stream, error),
        )
        return loss_SN.reshape(len(index_SNB), -1).T

    def why_not(self, train: Batch, batch_size: int) -> str | None:
        """Return why the step of this program's task cannot be machine code here, or None if it can, and then is."""
        first, second = self.fresh_row(0), self.fresh_row(1)
        rows = {name: torch.stack([first[name], second[name]]) for name in first}
        for name in [name for name in rows if name.startswith("slot.")]:
            rows[name] = rows[f"theta.{name.split('.', 2)[2]}"].abs() / 8 + 0.125  # what an update makes of them shows
        examples = self.fitting(train)
        size = min(batch_size, len(train[0]))
        index_NB = torch.arange(2 * size).view(2, size) % len(train[0])
        rate_12, step_12 = torch.tensor([[0.1, 0.03]], dtype=torch.float64), torch.tensor([[2.0, 5.0]]).double()
        c_CN1 = self.optimizer.columns(rate_12, step_12, self.optimizer.typical())[0][..., None]
        if self.clocked:
            c_CN1 = torch.cat([c_CN1, torch.tensor([[[2.0], [5.0]], [[0.25], [0.625]]]).double()])
        try:
            self._native_step(list(rows), len(train), [*rows.values(), *examples, index_NB, c_CN1.to(self.dtype)])
        except NotNative as error:
            return briefly(error)
        return None

    def _native_step(self, names: list[str], splits: int, inputs: list[Tensor]) -> Native:
        """Return the step for inputs like these, compiled once. Raises NotNative."""
        train, index_NB = inputs[len(names) : len(names) + splits], inputs[-2]
        key = (index_NB.shape[1], *((tensor.shape, tensor.stride()) for tensor in train))
        if key not in self._natives:

            def step(*tensors: Tensor) -> list[Tensor]:
                rows, rest = dict(zip(names, tensors, strict=False)), tensors[len(names) :]
                with self._apart():
                    loss_N, kept = Program.step(self, rows, rest[:splits], rest[-2], rest[-1], (0, 0), True)
                return [loss_N, *kept.values()]

            self.model.train()
            axes, last = _axes(len(names), splits), len(inputs) - 1
            given = [Stacked(t, axis) for t, axis in zip(inputs, axes, strict=True)]
            self._natives[key] = native_of(step, given, (last - 1, last))
        return self._natives[key]

    def gradients(
        self, rows: Row, batch: Batch, stream: tuple[int, int] = (0, 0), clock_N: Clock | None = None
    ) -> tuple[Tensor, Named, Named]:
        if len(batch[0]) > 1:
            return super().gradients(rows, batch, stream, clock_N)
        return Program.gradients(self, rows, batch, stream, clock_N)  # torch.func would import torch's compiler

    def ratios(self, before: Sequence[Tensor], after: Sequence[Tensor], grads: Sequence[Tensor]) -> Tensor:
        inputs = [*before, *after, *grads]
        key = ("ratios", *(tensor.shape[1] for tensor in before))
        if key not in self._natives:

            def ratios(*tensors: Tensor) -> list[Tensor]:
                each = len(tensors) // 3
                return [step_ratios_of_a_lane(tensors[:each], tensors[each : 2 * each], tensors[2 * each :])]

            # compared with what it was made of on plain numbers: those of a lane may be infinite by now
            sizes = [tensor.shape[1] for tensor in inputs]
            plain = [torch.linspace(-1, 1 + n, 2 * n, dtype=self.dtype).view(2, n) for n in sizes]
            self._natives[key] = native_of(ratios, [Stacked(tensor, 0) for tensor in plain])
        return self._natives[key](len(after[0]), inputs)[0]

    def evaluate(
        self, row: Row, split: Batch, stream: tuple[int, int] = (0, 0), share: float = 0.0, python: bool = True
    ) -> dict[str, float]:
        """All batches in one call, since what they cost beside their numbers adds up."""
        if self._hidden is not None and self._hidden.validation:
            return super().evaluate(row, split, stream, share, python)
        self.model.eval()
        clock = self._time(split[0], stream[1], share)
        state = {name: tensor.contiguous() for name, tensor in row.items() if name.startswith("theta.")}
        state |= {name: tensor.contiguous() for name, tensor in _moving(row).items()}
        size, examples = _evenly(len(split[0]), self.task.evaluation_batch_size), len(split[0])
        totals: dict[str, float] = {}
        for start, end in ((0, examples - examples % size), (examples - examples % size, examples)):
            if start < end:
                size = min(size, end - start)
                found = self._measured(state, tuple(tensor[start:end].contiguous() for tensor in split), size, clock)
                if found is None:
                    return super().evaluate(row, split, stream, share, python)
                for name, values in found.items():
                    totals[name] = totals.get(name, 0.0) + sum(value * size for value in values)
        return {name: total / examples for name, total in totals.items()}

    def _measured(self, state: Row, examples: Batch, size: int, clock: Clock) -> Mapping[str, list[float]] | None:
        """Return the metrics of batches of `size` examples, one after the other; None if they are no machine code."""
        key = (size, *(tensor.shape[1:] for tensor in examples))
        if key not in self._validations:
            inputs = [*(state | _moving(state)).values(), *clock, *(tensor[:size] for tensor in examples)]

            def metrics(*tensors: Tensor) -> list[Tensor]:
                named = dict(zip(state, tensors, strict=False))
                step, share, *rest = tensors[len(named) :]
                with self._apart():
                    given = part(named, "theta."), part(named, "buffer."), tuple(rest), (step, share)
                    found = self._call("metrics", *given)
                self._metrics = list(found)
                return [torch.as_tensor(value) for value in found.values()]

            batches = range(len(state) + len(clock), len(inputs))
            try:
                with torch.no_grad():
                    first = inputs[: batches.start]
                    if not self._leaves(inputs[batches.start :], lambda batch: metrics(*first, *batch)):
                        raise NotNative("metrics() changes its batch in place")
                    self._validations[key] = native_of(metrics, [Stacked(tensor, None) for tensor in inputs], batches)
            except NotNative:
                self._validations[key] = None
        native = self._validations[key]
        if native is None:
            return None
        found = native(1, [*state.values(), *clock, *examples], steps=len(examples[0]) // size)
        return {name: value.view(-1).tolist() for name, value in zip(self._metrics, found, strict=True)}

    def _leaves(self, batch: Sequence[Tensor], call: Callable[[Batch], Any]) -> bool:
        """Whether a function leaves its batch as it is."""
        with own_generators(), seeded(0):
            call(given := copied(tuple(batch)))
        return all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(batch, given, strict=True))


Replay = Callable[[], Any]


class CapturedProgram(VmapProgram):
    """The batched step's list of operations as one CUDA graph: a step is one launch, and nothing in it synchronises.

    A graph works on the very tensors it was captured with, so what changes from step to step is copied into them. The
    width stays what it was at first: a GPU may take other kernels, with other bits, at another one.
    """

    fixed_width = True

    def __init__(self, task: Task, optimizer: Optimizer, dtype: torch.dtype = torch.float32):
        super().__init__(task, optimizer, dtype)
        self._held: dict[Any, tuple[list[int], Tensor, Tensor, Replay, Sequence[Tensor]]] = {}

    def width(self, lanes: int) -> int:
        """Return the next power of two."""
        return 1 << (max(lanes, self.min_width) - 1).bit_length()

    def step(
        self, rows: Row, train: Batch, index_NB: Tensor, c_CN1: Tensor, stream: tuple[int, int], keep: bool = False
    ) -> tuple[Tensor, Named]:
        places = [tensor.data_ptr() for tensor in (*rows.values(), *train)]
        key = keep, index_NB.shape
        if key not in self._held or self._held[key][0] != places:
            graph = self._stepper(list(rows), train, [*rows.values(), *train, index_NB, c_CN1], keep)
            if graph is None:
                return super().step(rows, train, index_NB, c_CN1, stream, keep)
            index, c = index_NB.clone(), c_CN1.clone()
            inputs = [*rows.values(), *train, index, c]
            self._held[key] = (places, index, c, *self._capture(lambda: graph(*inputs), list(rows.values())))
        _, index, c, replay, outputs = self._held[key]
        index.copy_(index_NB)
        c.copy_(c_CN1)
        with _without_onednn():
            replay()
        loss_N, *kept = outputs
        return loss_N.clone(), dict(zip(self.parameters.shapes, kept, strict=False))

    def _copied_step(
        self, row: Row, train: Batch, index_1B: Tensor, c_C11: Tensor, stream: tuple[int, int]
    ) -> tuple[Tensor, Named]:
        """By the list of operations that was captured: a graph of its own would be captured for the copy."""
        held, self._held = self._held, {}
        try:
            return super()._copied_step(row, train, index_1B, c_C11, stream)
        finally:
            self._held = held

    def _capture(self, run: Callable[[], Sequence[Tensor]], rows: Sequence[Tensor]) -> tuple[Replay, Sequence[Tensor]]:
        """Return what repeats a step, and the tensors in which it leaves its results. Changes no row.

        On a CPU, which captures nothing, the step is simply taken again: by that the laws hold this program too.
        """
        before = [tensor.clone() for tensor in rows]
        replay, outputs = self._graph_of(run) if rows[0].is_cuda else self._stand_in(run)
        for tensor, values in zip(rows, before, strict=True):
            tensor.copy_(values)
        return replay, outputs

    def _stand_in(self, run: Callable[[], Sequence[Tensor]]) -> tuple[Replay, Sequence[Tensor]]:
        outputs = [tensor.clone() for tensor in run()]

        def again() -> None:
            for kept, tensor in zip(outputs, run(), strict=True):
                kept.copy_(tensor)

        return again, outputs

    def _graph_of(self, run: Callable[[], Sequence[Tensor]]) -> tuple[Replay, Sequence[Tensor]]:
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):  # libraries set themselves up at their first calls, which cannot be captured
            for _ in range(3):
                run()
        torch.cuda.current_stream().wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = run()
        return graph.replay, outputs


PROGRAMS: dict[str, type[Program]] = {
    "plain": Program,
    "native": NativeProgram,
    "vmap": VmapProgram,
    "compiled": CompiledProgram,
    "captured": CapturedProgram,
}
NATIVE_FROM = 20_000  # steps of trials in a cohort: to compile takes 1-2 s, once, and saves 80 us a lane and step
COMPILE_FROM = 1_000_000  # steps of trials in a cohort: compiling takes 10-17 s, and saves 40-80 us a lane and step


def why_not_vmap(task: Task, batch: Batch) -> str | None:
    """Return why a task's loss cannot run for many lanes at once, or None if it can. Trains nothing."""
    program = VmapProgram(task, SGD())
    rows = {name: tensor.expand(2, *tensor.shape) for name, tensor in program.fresh_row(0).items()}
    try:
        with program._apart():
            program.gradients(rows, tuple(torch.stack([tensor] * 2) for tensor in program.fitting(batch)))
    except TooLong:
        raise
    except Exception as error:
        return _plainly(error)
    return None


_ADVICE = {
    "called random operation": "it draws random numbers, as dropout does",
    ".item()": "it looks at a number in a tensor: .item(), or control flow on data",
    "in-place operation": "it changes a tensor in place that is neither parameter nor buffer",
    "inplace arithmetic": "it changes a tensor in place that all lanes share",
    "dynamic shape": "the sizes of its tensors depend on the data",
    "data pointer": "it hands a tensor to another library, as numpy",
    "Sparse": "it has sparse tensors",
    "Batching rule not implemented": "torch cannot batch one of its operations",
}


def _plainly(error: Exception) -> str:
    """Return why vmap refuses, in words that are meant for a person: torch's own are advice to its caller."""
    known = next((words for part_, words in _ADVICE.items() if part_ in str(error)), None)
    return known or briefly(error).replace("vmap: ", "").partition(" Please")[0]


def why_hidden(task: Task, batch: Batch, valid: Batch | None = None) -> str:
    """Return what of a task's loss depends on Python's state, in a sentence; "" if nothing does. Trains nothing."""
    return Program(task, SGD()).hidden(batch, batch if valid is None else valid).reason


def why_not_compiled(task: Task, batch: Batch) -> str | None:
    """Return why a task's step cannot be compiled here, or None if it can. Trains nothing."""
    if batch[0].device.type == "cpu" and not any(map(shutil.which, ("g++", "clang++", os.environ.get("CXX", "g++")))):
        return "there is no C++ compiler here: install g++"
    program = VmapProgram(task, SGD())
    rows = {name: torch.stack([tensor] * 2) for name, tensor in program.fresh_row(0).items()}
    batch, index_NB = program.fitting(batch), torch.arange(len(batch[0]), device=batch[0].device).repeat(2, 1)
    program.model.train()
    try:
        c_CN1 = torch.zeros(5 if program.clocked else 3, 2, 1)
        program._graph(list(rows), len(batch), [*rows.values(), *batch, index_NB, c_CN1], False)
    except NotOneGraph as error:
        return _plainly(error)
    return None


def why_not_here(program: str, task: Task, data: Data, batch_size: int) -> str | None:
    """Return why a program by which trials have trained elsewhere cannot be had on this machine, or None if it can."""
    batch = tuple(tensor[:batch_size] for tensor in data.train)
    if program == "compiled":
        return why_not_compiled(task, batch)
    return NativeProgram(task, SGD()).why_not(batch, batch_size) if program == "native" else None


def choose(
    task: Task,
    batch: Batch,
    lanes: int,
    wanted: str = "auto",
    work: int = 0,
    device: str = "cpu",
    why_not_native: Callable[[], str | None] | None = None,
    hidden: str | None = None,
) -> tuple[str, str]:
    """Choose the program of a cohort and say why: `wanted` if it is named and can be had, else what suits the work.

    lanes: how many may train at once; work: how many steps all trials of the cohort have together.
    why_not_native: what tells why the cohort's step cannot be machine code; without it a step of plain SGD is tried.
    hidden: what `why_hidden` says, if it has been asked.
    """
    if wanted == "plain":
        return wanted, "as the spec says"
    if reason := why_hidden(task, batch) if hidden is None else hidden:
        return "plain", f"one lane at a time: {reason}"
    try:
        return _chosen(task, batch, lanes, wanted, work, device, why_not_native)
    except TooLong as error:
        return "plain", f"one lane at a time: to try another program was given up, {error}"


def _chosen(
    task: Task,
    batch: Batch,
    lanes: int,
    wanted: str,
    work: int,
    device: str,
    why_not_native: Callable[[], str | None] | None,
) -> tuple[str, str]:
    if wanted == "vmap":
        return wanted, "as the spec says"
    if wanted == "captured" and device == "cpu":
        return "vmap", "there is no GPU here whose graph could be captured"
    if wanted == "native" and device != "cpu":
        return "captured", "machine code is for CPUs"
    without = ""
    if wanted == "native" or (wanted == "auto" and device == "cpu" and work >= NATIVE_FROM):
        reason = (why_not_native or (lambda: NativeProgram(task, SGD()).why_not(batch, len(batch[0]))))()
        if reason is None:
            return "native", "as the spec says" if wanted == "native" else f"{work:,} steps of trials ahead"
        without = f"; there is no machine code for it ({reason})"
    if wanted in ("auto", "native") and lanes == 1:
        return "plain", f"one lane{without}"
    if reason := why_not_vmap(task, batch):
        return "plain", f"one lane at a time, since the model cannot run under vmap ({reason})"
    if wanted == "captured" or (wanted == "auto" and device != "cpu"):
        return "captured", "as the spec says" if wanted == "captured" else "many lanes in one CUDA graph"
    if wanted == "native" or (wanted == "auto" and work < COMPILE_FROM):
        return "vmap", f"many lanes{without}"
    if reason := why_not_compiled(task, batch):
        return "vmap", f"many lanes; they cannot be compiled ({reason})"
    return "compiled", "as the spec says" if wanted == "compiled" else f"{work:,} steps of trials ahead{without}"
