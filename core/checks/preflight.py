"""Checks that every task must pass before it trains: its model, loss, data, order and metrics can be used."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from espalier.core.checks.holes import Hole, holes
from espalier.core.errors import BadInput, as_bad_input, nearest
from espalier.core.optimizers import OPTIMIZERS
from espalier.core.order import Order
from espalier.core.programs.plain import PlainProgram
from espalier.core.programs.program import Program
from espalier.core.python_state.snapshot import Snapshot
from espalier.core.rows import own_generators, seeded
from espalier.core.task import Batch, Data, Task, load_data
from espalier.core.training.baselines import Baselines


@dataclass(frozen=True)
class Preflight:
    """What the checks learned about a task."""

    data: Data
    first_loss: float
    metrics: Sequence[str]
    parameters: int
    holes: Sequence[Hole] = ()
    """Where the data have numbers that are not finite, which the task's loss and metrics can take."""
    hidden: str = ""
    """What of the loss depends on Python's state, in a sentence (core.python_state)."""


def check(task: Task, batch_size: int = 32, precision: str = "float32", seed: int = 0) -> Preflight:
    """Load a task's data, compute one gradient and one validation, and train nothing.

    Raises BadInput that says what is wrong with the task and what would work.
    """
    dtype = getattr(torch, precision)
    data = _data(task).to("cpu", dtype)
    _model(task, seed)
    program = PlainProgram(task, OPTIMIZERS["sgd"](), dtype)
    if not program.parameters.count:
        raise BadInput("task: the model has no parameter that requires a gradient; nothing would be trained")
    examples = len(data.train[0])
    batch = _first_batch(task, data, examples, batch_size, seed)
    state = program.hidden(batch, data.valid)
    with state.of_trial(None):
        data.checked(Baselines(task, data, batch_size, dtype).target_index)
        bearable = _bearable_holes(program, data, batch_size, seed)
        loss = _first_loss(program, batch, seed)
        metrics = _metrics(program, data, seed)
    return Preflight(data, loss, metrics, program.parameters.count, bearable, state.reason)


def check_metric(wanted: str, metrics: Sequence[str]) -> None:
    """Raise BadInput if the task does not report the objective. metrics: of the validation data, without "valid_"."""
    validated = [f"valid_{name}" for name in metrics]
    if wanted in (*validated, "train_loss"):
        return
    hint = nearest(wanted, [*validated, "train_loss"])
    stem = wanted.removeprefix("valid_")  # which all names of the validation data have in common
    if validated and not wanted.startswith("train"):
        names = ", ".join(validated)
        hint = f"of the validation data it reports {names}: name one, with objective.mode max where more is better"
        if (close := nearest(stem, metrics)).startswith("did you mean"):
            hint = close.replace("'", "'valid_", 1)
    raise BadInput(f"objective.metric: the task reports no '{wanted}'; {hint}")


def _data(task: Task) -> Data:
    with as_bad_input(f"task: data() of {_named(task)} failed"):
        data = cast("object", load_data(task))  # user code may return anything
    tensors = cast("tuple[object, ...]", (*data.train, *data.valid)) if isinstance(data, Data) else ()
    if not isinstance(data, Data) or not all(isinstance(t, Tensor) for t in tensors):
        raise BadInput("task: data() must return espalier.Data(train=(tensors ...), valid=(tensors ...))")
    for name, split in (("training", data.train), ("validation", data.valid)):
        for i, tensor in enumerate(split):
            if tensor.layout != torch.strided:
                raise BadInput(f"task data: tensor {i} of the {name} split is sparse; give it as .to_dense()")
    return data.shaped()


def _bearable_holes(program: Program, data: Data, batch_size: int, seed: int) -> list[Hole]:
    """Return the holes that the task handles, by a mask or a loss that skips them. Raises BadInput for the others."""
    in_data = holes(data)
    for hole in in_data:
        if not _taken(program, data, hole, batch_size, seed):
            raise BadInput(f"task data: {hole.sentence()}; fill or drop what is missing, or leave it out in loss()")
    return in_data


def _taken(program: Program, data: Data, hole: Hole, batch_size: int, seed: int) -> bool:
    """Whether a batch with the hole in it has a finite loss and gradients; for the validation split, finite metrics."""
    split = data.train if hole.split == "training" else data.valid
    chosen = [hole.row, *(row for row in range(min(batch_size, len(split[0]))) if row != hole.row)][:batch_size]
    batch, row = tuple(tensor[chosen] for tensor in split), program.fresh_row(seed)
    try:
        if hole.split == "validation":
            values = program.evaluate(row, batch)
            return math.isfinite(values["loss"]) if "loss" in values else all(map(math.isfinite, values.values()))
        one = {name: tensor[None] for name, tensor in row.items()}
        losses, grads, _ = program.gradients(one, tuple(t[None] for t in batch), (seed, 0))
        return bool(losses.isfinite().all()) and all(bool(grad.isfinite().all()) for grad in grads.values())
    except Exception:  # a task that fails in its first batch too fails for another reason than the hole
        return True


# --- the parts of a task ----------------------------------------------------------------------------------------------


def _first_batch(task: Task, data: Data, examples: int, batch_size: int, seed: int) -> Batch:
    with as_bad_input(f"task: order() of {_named(task)} failed"):
        order = task.order(seed, examples, batch_size)
        chosen = order(0, 1)[0]
        batch = tuple(tensor[chosen] for tensor in data.train)
    if not _is_pure(lambda: task.order(seed, examples, batch_size), order):
        raise BadInput(
            f"task: order() of {_named(task)} gives a step other examples when it is called again or with "
            "another interval, so no trial could be repeated; draw them from the seed and the step's number alone"
        )
    return batch


def _is_pure(make: Callable[[], Order], order: Order) -> bool:
    """Whether an order of data is a function of (seed, step), whichever steps are asked for together."""
    try:
        both = order(0, 2)
        answers = [torch.cat([order(0, 1), order(1, 2)]), make()(0, 2), torch.cat([make()(1, 2), make()(0, 1)]).flip(0)]
        return all(torch.equal(both, answer) for answer in answers)
    except Exception:  # with a budget of one step there is nothing to compare; an error will show in training
        return True


def _named(task: Task) -> str:
    plain = {name: value for name, value in vars(task).items() if isinstance(value, bool | int | float | str)}
    return f"{type(task).__name__}({', '.join(f'{name}={value!r}' for name, value in plain.items())})"


def _model(task: Task, seed: int) -> None:
    with as_bad_input(f"task: model() of {_named(task)} failed"), seeded(seed):
        model = cast("object", task.model())
    if isinstance(model, nn.Module) and any(map(is_lazy, (*model.parameters(), *model.buffers()))):
        raise BadInput(
            f"task: model() of {_named(task)} has parameters without a shape (a Lazy module); write the sizes, or pass "
            "an example through it in model()"
        )
    if not isinstance(model, nn.Module):
        raise BadInput(f"task: model() returned {type(model).__name__}; it must return a torch.nn.Module")
    for kind, named in (("parameter", model.named_parameters()), ("buffer", model.named_buffers())):
        for name, tensor in named:
            if tensor.layout != torch.strided:
                raise BadInput(
                    f"task: {kind} {name} of the model is sparse and cannot be stacked into lanes; keep it "
                    "dense (.to_dense()), or a constant one as an attribute of the module"
                )
    for name, parameter in model.named_parameters():
        if parameter.is_complex():
            raise BadInput(
                f"task: parameter {name} of the model is complex; write its real and imaginary parts as two real ones"
            )
        if parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None):
            raise BadInput(
                f"task: parameter {name} of the model has a hook, which would not run in a lane; do its work in loss()"
            )
    for path in unregistered_random_numbers(task, model, seed):
        raise BadInput(
            f"task: the model's {path} differs from seed to seed, but is neither a parameter nor a buffer; register it "
            "(register_buffer; a list of modules as nn.ModuleList), so that each trial has its own; for spectral_norm "
            "use the one of torch.nn.utils.parametrizations"
        )


def unregistered_random_numbers(task: Task, model: nn.Module, seed: int) -> list[str]:
    """Return the paths of random numbers in a model that are neither parameters nor buffers.

    model: task.model() called under `seed`. All lanes share one model, so all of them would have these numbers of one
    trial.
    """

    def made(seed: int) -> Snapshot:
        with seeded(seed):
            return Snapshot({"model": task.model(), "self": task}, values=False)

    first = Snapshot({"model": model, "self": task}, values=False)
    differ = first.numbers_changed(made(seed + 1))
    if not differ:
        return []
    counted = first.numbers_changed(made(seed))  # of names, say: the seed has no part in it
    return [path.removeprefix("model.") for path in differ if path not in counted]


def _first_loss(program: Program, batch: Batch, seed: int) -> float:
    rows = {name: tensor[None] for name, tensor in program.fresh_row(seed).items()}
    with own_generators(), as_bad_input("task: the loss of the first batch cannot be computed"):
        try:
            losses, grads, _ = program.gradients(rows, tuple(t[None] for t in batch), (seed, 0))
        except RuntimeError as error:
            if "does not require grad" in str(error) or "not have been used in the graph" in str(error):
                raise BadInput(_NOTHING_MOVES) from error
            raise
        moves = any(grad.any() for grad in grads.values()) or not math.isfinite(losses[0].item())
        if not moves and program.clocked:  # a loss that grows with the step may be zero at the first one
            middle = torch.tensor([LATER]), torch.tensor([0.5])
            _, grads, _ = program.gradients(rows, tuple(t[None] for t in batch), (seed, 0), middle)
            moves = any(grad.any() for grad in grads.values())
    if not moves:
        raise BadInput(_NOTHING_MOVES)
    return losses[0].item()


LATER = 10_000.0  # a later step, at which such a loss is no longer zero

_NOTHING_MOVES = (
    "task: no parameter would ever change: the gradient of the loss is zero for all of them; "
    "loss() must depend on the model's output (no .detach(), no torch.no_grad())"
)


def _metrics(program: Program, data: Data, seed: int) -> list[str]:
    few = tuple(tensor[:64] for tensor in data.valid)
    with as_bad_input("task: metrics() of a validation batch cannot be computed"):
        return list(program.evaluate(program.fresh_row(seed), few))
