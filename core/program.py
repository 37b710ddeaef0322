"""One step's losses and gradients for all lanes, by one of two programs: plain (one lane) or vmap (many).

N = lanes, P = parameters of a lane, B = examples in a batch. A batched product gives a lane the same bits at every
N >= 2 but may take another kernel at N = 1, so the vmap program is never narrower than two rows.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, functionalize, grad_and_value, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode

from core.lanes import Layout, Row, seeded
from core.optim import SGD, Optimizer
from core.order import mix
from core.task import Batch, Task

Buffers = dict[str, Tensor]


class _Bound(nn.Module):
    """A task's functions over its model, so that functional_call can swap the parameters."""

    def __init__(self, task: Task, model: nn.Module):
        super().__init__()
        self.task, self.model = task, model

    def forward(self, what: str, batch: Batch) -> Any:
        return getattr(self.task, what)(self.model, batch)


class Program:
    """The functions of one task: a fresh lane's state, a step's gradients, a validation."""

    narrowest = 1

    def width(self, lanes: int) -> int:
        """Return how many rows a step of so many lanes works on."""
        return lanes

    def __init__(self, task: Task, optimizer: Optimizer, dtype: torch.dtype = torch.float32):
        self.task, self.optimizer, self.dtype = task, optimizer, dtype
        self.model = self._new_model(0)
        self.layout = Layout(self.model)
        self.bound = _Bound(task, self.model)

    def _new_model(self, seed: int) -> nn.Module:
        with seeded(seed):
            return self.task.model().to(self.dtype)

    def _constants(self, model: nn.Module) -> Buffers:
        frozen = {name: p.detach() for name, p in model.named_parameters() if not p.requires_grad}
        return dict(model.named_buffers()) | frozen

    def fresh_row(self, seed: int) -> Row:
        """Return the state of a trial before its first step: weights drawn under `seed`, optimizer state zero."""
        model = self._new_model(seed)
        theta_P = self.layout.pack(model)
        slots = {f"slot.{name}": torch.zeros_like(theta_P) for name in self.optimizer.slots}
        return {"theta": theta_P} | slots | {f"buffer.{name}": b for name, b in self._constants(model).items()}

    def _call(self, what: str, theta_P: Tensor, buffers: Mapping[str, Tensor], batch: Batch) -> Any:
        state = self.layout.unpack(theta_P) | dict(buffers)
        return functional_call(self.bound, {f"model.{name}": tensor for name, tensor in state.items()}, (what, batch))

    def loss_shape(self, row: Mapping[str, Tensor], batch: Batch) -> tuple[int, ...]:
        """Return the shape of what the task's loss returns; it should be ()."""
        buffers = {name[len("buffer.") :]: tensor.clone() for name, tensor in row.items() if name.startswith("buffer.")}
        with torch.no_grad():
            return tuple(self._call("loss", row["theta"], buffers, batch).shape)

    def _loss(self, theta_P: Tensor, buffers: Buffers, batch: Batch) -> tuple[Tensor, Buffers]:
        after = {name: tensor.clone() for name, tensor in buffers.items()}
        return self._call("loss", theta_P, after, batch), after

    def gradients(
        self, theta_NP: Tensor, buffers: Buffers, batch: Batch, streams: Sequence[tuple[int, int]]
    ) -> tuple[Tensor, Tensor, Buffers]:
        """Return losses (N,), gradients (N, P) and the buffers after the forward pass.

        Each lane's gradient is that of its own mean loss. `streams` has the (seed, step) of the one lane of a plain
        program, from which anything random in the model is drawn; no other program runs such a model.
        """
        self.model.train()
        theta_P = theta_NP[0].detach().requires_grad_()
        row = {name: tensor[0] for name, tensor in buffers.items()}
        with seeded(mix(*streams[0]), theta_NP.device):
            loss, after = self._loss(theta_P, row, tuple(tensor[0] for tensor in batch))
        (grad_P,) = torch.autograd.grad(loss, theta_P)
        return loss.detach()[None], grad_P[None], {name: tensor[None] for name, tensor in after.items()}

    def evaluate(self, row: Mapping[str, Tensor], split: Batch) -> dict[str, float]:
        """Return the metrics of one lane's state over a split: means weighted by batch size, as `<name>`."""
        self.model.eval()
        buffers = {name[len("buffer.") :]: tensor for name, tensor in row.items() if name.startswith("buffer.")}
        examples = len(split[0])
        size = self.task.evaluation_batch_size or examples
        totals: dict[str, float] = {}
        with torch.no_grad():
            for start in range(0, examples, size):
                batch = tuple(tensor[start : start + size] for tensor in split)
                for name, value in self._call("metrics", row["theta"], buffers, batch).items():
                    totals[name] = totals.get(name, 0.0) + float(value) * len(batch[0])
        return {name: total / examples for name, total in totals.items()}


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
    return y if weight is None or bias is None else y * weight.view(column) + bias.view(column)


@contextmanager
def _without_onednn() -> Iterator[None]:
    """oneDNN's grouped convolution has other bits at other numbers of groups."""
    before = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(before)


class _LaneByLane(TorchFunctionMode):
    """vmap lays the channels of batch_norm side by side, where a lane's bits depend on how many lanes there are."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return (_batch_norm if func is F.batch_norm else func)(*args, **(kwargs or {}))


class VmapProgram(Program):
    """All lanes in one batched call.

    A width that is used often is recorded once as a flat list of operations (make_fx): the same kernels in the same
    order, and so the same bits, without autograd's and vmap's bookkeeping of 1.5 ms a step.
    """

    narrowest = 2

    def __init__(self, task: Task, optimizer: Optimizer, dtype: torch.dtype = torch.float32):
        super().__init__(task, optimizer, dtype)
        self._batched = vmap(grad_and_value(self._lane_loss, has_aux=True))
        self._uses: dict[tuple[int, ...], int] = {}
        self._recorded: dict[tuple[int, ...], Callable[..., tuple[Tensor, ...]] | None] = {}

    def width(self, lanes: int) -> int:
        """One row more than there are lanes, rounded up.

        The last elements of a tensor, fewer than fill a vector register, go through scalar code that gives other bits
        for some functions (sigmoid, softplus). They lie in the spare row, which nobody reads.
        """
        return lanes + 1 if lanes < 6 else _round_up(lanes + 1)

    def gradients(
        self, theta_NP: Tensor, buffers: Buffers, batch: Batch, streams: Sequence[tuple[int, int]]
    ) -> tuple[Tensor, Tensor, Buffers]:
        self.model.train()
        inputs = (theta_NP, *buffers.values(), *batch)
        key = tuple(size for tensor in (theta_NP, *batch) for size in tensor.shape)
        self._uses[key] = self._uses.get(key, 0) + 1
        if self._uses[key] == RECORD_AFTER:
            self._recorded[key] = self._record(list(buffers), inputs)
        recorded = self._recorded.get(key)
        with _without_onednn():
            loss_N, grad_NP, *after = recorded(*inputs) if recorded else self._flat(list(buffers), *inputs)
        return loss_N, grad_NP, dict(zip(buffers, after, strict=True))

    def _lane_loss(self, theta_P: Tensor, buffers: Buffers, batch: Batch) -> tuple[Tensor, Buffers]:
        with _LaneByLane():
            return self._loss(theta_P, buffers, batch)

    def _flat(self, names: list[str], theta_NP: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        buffers = dict(zip(names, rest[: len(names)], strict=True))
        grad_NP, (loss_N, after) = self._batched(theta_NP, buffers, rest[len(names) :])
        return loss_N, grad_NP, *after.values()

    def _record(self, names: list[str], inputs: tuple[Tensor, ...]) -> Callable[..., tuple[Tensor, ...]] | None:
        """Return the recorded step, or None where recording fails or does not give what the model itself gives."""
        try:
            recorded = make_fx(functionalize(partial(self._flat, names)))(*inputs)
            same = all(map(_same_bits, recorded(*inputs), self._flat(names, *inputs)))
        except Exception:  # what cannot be recorded runs as it is
            return None
        return recorded if same else None


RECORD_AFTER = 40  # steps at one width; recording takes as long as a hundred steps save


def _round_up(lanes: int) -> int:
    """Return the next width of which there are four to every doubling, so that few widths occur.

    >>> [_round_up(lanes) for lanes in (7, 8, 9, 17, 33, 64)]
    [7, 8, 10, 20, 40, 64]
    """
    step = max(1, 1 << (lanes - 1).bit_length() - 3)
    return -(-lanes // step) * step


def _same_bits(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool(((a == b) | (a.isnan() & b.isnan())).all())


PROGRAMS: dict[str, type[Program]] = {"plain": Program, "vmap": VmapProgram}


def why_not_vmap(task: Task, batch: Batch) -> str | None:
    """Return why a task's loss cannot run for many lanes at once, or None if it can. Trains nothing."""
    program = VmapProgram(task, SGD())
    row = program.fresh_row(0)
    buffers = {name[len("buffer.") :]: t.expand(2, *t.shape) for name, t in row.items() if name.startswith("buffer.")}
    try:
        program.gradients(row["theta"].expand(2, -1), buffers, tuple(t.expand(2, *t.shape) for t in batch), [])
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        return f"{type(error).__name__}: {lines[0] if lines else error}"[:200]
    return None


def choose(task: Task, batch: Batch, lanes: int, wanted: str = "auto") -> tuple[str, str]:
    """Choose the program of a cohort and say why: `wanted` if it is named, else vmap where many lanes can use it."""
    if wanted != "auto":
        return wanted, "as the spec says"
    if lanes == 1:
        return "plain", "one lane"
    reason = why_not_vmap(task, batch)
    return (
        ("plain", f"one lane at a time, since the model cannot run under vmap ({reason})")
        if reason
        else ("vmap", "many lanes")
    )
