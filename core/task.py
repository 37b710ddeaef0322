"""Task: the user's model, loss and data; and how a task is loaded by name.

B = examples in a batch. A batch is a tuple of tensors with B first.
"""

import hashlib
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from types import FunctionType
from typing import Any, cast
from weakref import finalize

import torch
from torch import Tensor, nn

from espalier.core import order as orders
from espalier.core.arguments import Rule, check_fields
from espalier.core.errors import FAULT_MOST, BadInput, Exited, as_bad_input, briefly, nearest, shown
from espalier.core.loading.fingerprint import fingerprint
from espalier.core.loading.references import load_class
from espalier.core.rows import seeded

Batch = tuple[Tensor, ...]
Clock = tuple[Tensor, Tensor]
"""How far a trial is: the step (from 0), and its share of the budget, in [0, 1]. Tensors without axes."""
BEGIN: Clock = (torch.zeros(()), torch.zeros(()))


def _tensors(split: object) -> Batch:
    """Return the tensors of a split, of which a list will do too. Raises TypeError for anything else."""
    parts = cast("Sequence[object]", split if isinstance(split, tuple | list) else (None,))
    tensors = tuple(part for part in parts if isinstance(part, Tensor))
    if len(tensors) < len(parts):
        raise TypeError
    return tensors


SPLIT = Rule(_tensors, "a tuple of tensors, each with the example as its first axis")


@dataclass(frozen=True)
class Data:
    """Examples for training and validation: tuples of tensors whose first axis is the example."""

    train: Batch
    valid: Batch

    def __post_init__(self) -> None:
        check_fields(self, "task data: ", train=SPLIT, valid=SPLIT)

    def shaped(self) -> "Data":
        """Return the data. Raises BadInput if a split is empty or its tensors disagree in length."""
        for name, split in (("training", self.train), ("validation", self.valid)):
            if any(tensor.dim() == 0 for tensor in split):
                raise BadInput(f"task data: the {name} split has a tensor without axes; the first axis is the example")
            lengths = {len(tensor) for tensor in split}
            if len(lengths) > 1:
                raise BadInput(
                    f"task data: the tensors of the {name} split have {sorted(lengths)} examples; all must agree"
                )
            if lengths in (set(), {0}):
                raise BadInput(f"task data: the {name} split is empty; at least one example is needed")
        return self

    def checked(self, target_index: int | None = None) -> "Data":
        """Return the data. Raises BadInput if a split is empty, its lengths differ, or there is only one class.

        target_index: the position of the target in a batch. None: the second of two tensors; unknown if there are more.
        """
        self.shaped()
        place = 1 if target_index is None and len(self.train) == 2 else target_index
        target = None if place is None else self.train[place]
        if target is None or target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
            return self
        if torch.unique(target).numel() < 2:  # pyright: ignore[reportUnknownMemberType]
            raise BadInput(
                f"task data: all {len(target)} training targets are of one class ({target.flatten()[0].item()}); "
                "at least two are needed"
            )
        return self

    def fingerprint(self) -> str:
        """Return a hash of every number, type and shape in both splits."""
        digest = hashlib.sha256()
        for name, split in (("train", self.train), ("valid", self.valid)):
            for tensor in split:
                digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
                for piece in _pieces(tensor.detach()):
                    digest.update(piece.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()[:16]

    def to(self, device: str, dtype: torch.dtype) -> "Data":
        """Return the data on a device, floating-point tensors in `dtype`."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, dtype if tensor.is_floating_point() else tensor.dtype)

        return Data(tuple(map(move, self.train)), tuple(map(move, self.valid)))


PIECE_BYTES = 16 * 2**20  # bytes of a split read at once: a memory-mapped one is never loaded as a whole


def _pieces(tensor: Tensor) -> Iterator[Tensor]:
    """Yield a tensor's examples in order, in pieces."""
    if tensor.dim() == 0 or not tensor.numel():
        yield tensor
        return
    examples = max(1, PIECE_BYTES * len(tensor) // (tensor.numel() * tensor.element_size()))
    yield from (tensor[begin : begin + examples] for begin in range(0, len(tensor), examples))


class Task:
    """A model, its loss and its data. Subclass it and write `model`, `loss` and `data`.

    The keyword arguments of `__init__` are the task's own hyperparameters: a spec may fix them under `task_options` or
    search them in its space.
    """

    evaluation_batch_size: int | None = 4096
    """Examples evaluated at once; None: a whole split. The same for every trial, so that means add up alike."""

    target_index: int | None = None
    """Which tensor of a batch is the target: batch[target_index]. None: the one that the loss turns out to be a known
    loss of (cross-entropy, squared or absolute error); where it is of none, nothing is said of targets."""

    def __new__(cls, *args: object, **options: object) -> "Task":
        """Record the arguments of `__init__`, so that a worker can make the task again."""
        task = super().__new__(cls)
        _recorded_arguments[id(task)] = (args, options)
        finalize(task, _recorded_arguments.pop, id(task), None).atexit = False
        return task

    def model(self) -> nn.Module:
        """Return a new model. It is called under a seed: draw initial weights from torch's global generator."""
        raise BadInput(f"task: {type(self).__name__} has no model(); it must return a torch.nn.Module")

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the mean loss of a batch, a tensor without axes.

        It should depend on the model and the batch alone: many lanes train by a trace of its first call. A loss that
        depends on state in Python (a counter, `random`, the clock) is detected, and trains by plain PyTorch.

        With a third parameter, `loss(self, model, batch, step)`, it gets the number of the step, from 0. With a
        fourth, or one named `share`, it gets the share of the budget that is done. Both are tensors without axes, of
        the model's dtype: compute with them as with any tensor, as in `(step / 1000).clamp(max=1)`. In a validation,
        `step` is the number of steps trained so far.
        """
        raise BadInput(f"task: {type(self).__name__} has no loss(); it must return the mean loss of (model, batch)")

    def data(self) -> Data:
        """Return the examples. It is called once in each process."""
        raise BadInput(f"task: {type(self).__name__} has no data(); it must return espalier.Data(train, valid)")

    def metrics(self, model: nn.Module, batch: Batch, *clock: Tensor) -> Mapping[str, Tensor]:
        """Return the metrics of a validation batch, each a mean over its examples; recorded as `valid_<name>`.

        Like loss() it may take a third parameter, the step, and a fourth, the share.
        """
        return {"loss": call(self.loss, model, batch, (clock[0], clock[1]) if len(clock) > 1 else BEGIN)}

    def order(self, seed: int, examples: int, batch_size: int) -> orders.Order:
        """Return which examples each step sees. A task may override it; it must stay a function of (seed, step)."""
        return orders.shuffled(seed, examples, batch_size)


_recorded_arguments: dict[int, tuple[tuple[object, ...], dict[str, object]]] = {}
"""The arguments of each task, by its id(): a task may be a dataclass, which has no hash, or none before __init__."""


def recorded_options(task: object) -> dict[str, object]:
    """Return the options that a task object was made with, by name.

    Raises BadInput for an object whose class takes options but is no Task, since they were not recorded.
    """
    signature = inspect.signature(type(task))
    if not isinstance(task, Task):
        if signature.parameters:
            raise BadInput(
                f"task: {type(task).__name__} is no espalier.Task, so what it was made with is not known; "
                "inherit from Task, or hand over the class, and its options as task_options"
            )
        return {}
    args, options = _recorded_arguments[id(task)]
    bound = signature.bind(*args, **options).arguments
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            bound |= bound.pop(name, {})
        if parameter.kind is parameter.VAR_POSITIONAL and bound.pop(name, ()):
            raise BadInput(f"task: {type(task).__name__} was made with options without names; give them by name")
    return bound


def call(method: Callable[..., Any], model: nn.Module, batch: Batch, clock: Clock = BEGIN) -> Any:
    """Call loss() or metrics() of a task, with the parts of the clock that it takes. Raises Exited for a sys.exit()."""
    try:
        function = getattr(method, "__func__", method)
        takes = _known_takes(function) if isinstance(function, FunctionType) else takes_of_clock(function)
        return method(model, batch, *(clock[i] for i in takes))
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise Exited(briefly(error)).with_traceback(error.__traceback__) from None


def takes_of_clock(function: Callable[..., object]) -> tuple[int, ...]:
    """Return which parts of the clock a method takes after model and batch: 0 the step, 1 the share.

    >>> takes_of_clock(lambda self, model, batch: 0), takes_of_clock(lambda self, model, batch, step: 0)
    ((), (0,))
    >>> takes_of_clock(lambda self, model, batch, share: 0), takes_of_clock(lambda self, model, batch, t, u: 0)
    ((1,), (0, 1))
    """
    places = [p for p in inspect.signature(function).parameters.values() if p.kind is not p.KEYWORD_ONLY]
    skipped = 3 if places and places[0].name == "self" else 2
    more = [p for p in places[skipped:] if p.kind is not p.VAR_KEYWORD]
    if any(p.kind is p.VAR_POSITIONAL for p in more):
        return (0, 1)
    taken = [p.name for p in more if p.default is p.empty or p.name in ("step", "share")][:2]
    if not taken:
        return ()
    first = 1 if taken[0] == "share" else 0
    return (first, 1 - first)[: len(taken)]


@lru_cache(maxsize=64)
def _known_takes(function: FunctionType) -> tuple[int, ...]:
    return takes_of_clock(function)


def task_class(reference: str) -> type[Task]:
    """Find the task that `pkg.mod:Name` or `path/file.py:Name` names.

    Raises BadInput if it cannot be imported, is no class, or lacks model(), loss() or data().
    """
    kind: type[object] = load_class(reference)
    for method in ("model", "loss", "data"):
        if getattr(kind, method, None) in (None, getattr(Task, method)):
            raise BadInput(f"task: {reference} has no {method}(); a task is a class with model(), loss() and data()")
    return kind if issubclass(kind, Task) else _completed(kind)


def _completed(kind: type[Any]) -> type[Task]:
    """Return a class with Task's defaults for everything except the three methods."""
    return type(kind.__name__, (kind, Task), {"__module__": kind.__module__})


def options_of(task: type[Task]) -> dict[str, object]:
    """Return the names of a task's own hyperparameters with their defaults (Parameter.empty: none).

    Where `__init__` has `**options`, those of the next base class are included.
    """
    signature, options = inspect.signature(task), _named(inspect.signature(task))
    owners = [kind for kind in task.__mro__ if kind is not object and "__init__" in vars(kind)]
    for kind in owners[1:]:
        if not any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
            break
        signature = inspect.signature(partial(vars(kind)["__init__"], None))  # without self
        options |= {name: default for name, default in _named(signature).items() if name not in options}
    return options


def _named(signature: inspect.Signature) -> dict[str, object]:
    """Return the parameters that can be passed by name, with their defaults."""
    parameters = signature.parameters.values()
    return {p.name: p.default for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}


def load_data(task: Task) -> Data:
    """Return a task's examples. Random draws in data() are the same in every process."""
    with seeded(0):
        return task.data()


def check_options(reference: str, known: Collection[str], options: Iterable[str]) -> None:
    """Raise BadInput for an option that the task of a reference does not know."""
    for key in options:
        if key not in known:
            raise BadInput(f"task_options.{key}: unknown option of {reference}; {nearest(key, known)}")


def load_task(reference: str, options: Mapping[str, object]) -> Task:
    """Make the task that a spec names. Raises BadInput for a bad reference, an unknown or a bad option."""
    return make_task(task_class(reference), reference, options)


def make_task(kind: type[Task], reference: str, options: Mapping[str, object]) -> Task:
    """Make a task of the class that a reference names. Raises BadInput for an unknown or a bad option."""
    check_options(reference, options_of(kind), options)
    # random draws are the same in every process
    with as_bad_input(f"task: {reference} cannot be made with {shown(dict(options), FAULT_MOST)}"), seeded(0):
        return kind(**options)


def code_fingerprint(task: Task) -> str:
    """Return a hash of a task's source files: its own, and those of the same author that it imports."""
    return fingerprint(type(task))


def named_target(task: Task, tensors: int) -> int | None:
    """Return the index of the target in a batch, if the task names it in `target_index`; else None.

    Raises BadInput for an index that a batch does not have.
    """
    place = getattr(task, "target_index", None)
    if place is None:
        return None
    if not isinstance(place, int) or isinstance(place, bool) or not -tensors <= place < tensors:
        raise BadInput(f"task: target_index is {place!r}; a batch has {tensors} tensors, 0 to {tensors - 1}")
    return place % tensors
