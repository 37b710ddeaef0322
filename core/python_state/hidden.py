"""State that Python keeps beside a model's tensors: counters, caches, generators, the clock.

A program that writes a step down as a list of operations freezes whatever Python decided in it. So a loss is watched
while it is called: what a second call at the same inputs changes, or would decide otherwise, is hidden state. Such a
task trains by plain PyTorch, and what can be kept apart of its state each trial has for itself.
"""

import dis
import functools
import hashlib
import os
import random
import sys
import sysconfig
import time
import types
import warnings
from collections import ChainMap, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor, nn

from espalier.core.order import mix
from espalier.core.own import is_own
from espalier.core.python_state.cells import (
    ABSENT,
    ATOMS,
    MOST_COPIED,
    UNKEPT,
    Cell,
    Decoder,
    Memo,
    Unwritable,
    copied,
    copied_contents,
    encoded_together,
    is_opaque,
    plain_contents,
    stays,
)
from espalier.core.rows import seed_python

MOST_NODES = 20_000  # values that a snapshot looks at, the nearest to the task first: some 30 ms
MOST_ITEMS = 500  # of one list or dictionary; of a longer one as many, evenly spread
REMEMBERED_S = 0.2  # a call that takes longer is nearly all arithmetic, which plain PyTorch does: it is looked at less
_MODULE_OWN = ("_parameters", "_buffers", "_modules", "training", "_non_persistent_buffers_set")
_LIBRARIES = tuple({str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "platstdlib", "purelib")})
_CLOCKS = ("time", "datetime")
_GLOBAL = (random.random.__self__, np.random.random_sample.__self__)  # type: ignore[attr-defined] # seeded for each step


@dataclass
class Hidden:
    """What a task keeps in Python beside its model's tensors.

    reason: one sentence, "" where there is nothing. cells: what is kept apart for each trial. shared: what cannot be.
    validation: the same sentence of metrics().
    """

    reason: str = ""
    cells: list[Cell] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)
    validation: str = ""
    roots: Mapping[str, Any] = field(default_factory=dict)
    before: "Snapshot | None" = None  # of what a new trial begins with
    places: Mapping[str, Cell] = field(default_factory=dict)  # that were there before the first step: in any process
    caches: list[Cell] = field(default_factory=list)  # where what was looked at has left something

    def clear(self) -> None:
        """Put back what lay in the caches. What steps are written down from is better left: a table is one number."""
        if self.before:
            self.before.restore(self.caches)

    @contextmanager
    def of_trial(self, values: Mapping[str, Any] | None) -> Iterator[None]:
        """Let a trial's own state (None: a new trial's) lie in the cells for a while; else a new trial's does.

        values: as `taken` gave them. What the trial's code changes inside of them is changed for good.
        """
        if not self.cells:
            yield
            return
        self._put(self.begin() if values is None else values)
        try:
            yield
        finally:
            self._put(self.begin())

    def taken(self) -> dict[str, Any]:
        """Return what lies in the cells, by path."""
        return {cell.path: cell.take() for cell in self.cells}

    def begin(self) -> dict[str, Any]:
        """Return what a new trial begins with."""
        memo = self.memo()
        return {cell.path: copied(self._initial(cell.path), memo) for cell in self.cells}

    def memo(self) -> Memo:
        """Return what copies of one trial's state are to be made with, all together."""
        return self.before.memo() if self.before else {}

    def _initial(self, path: str) -> Any:
        return self.before.value(path) if self.before else ABSENT

    def late(self) -> dict[str, Any]:
        """Return what a trial has changed beyond the known cells, and let it lie there as at the begin from now on.

        A loss may leave alone for a thousand steps what it changes at the next. To be called while all known cells
        hold what a new trial begins with.
        """
        if self.before is None:
            return {}
        after = Snapshot(self.roots, self.before, values=False)
        known = {cell.path for cell in self.cells} | set(self.shared)
        changed = _holders(_changed(self.before, self.before, after))
        cells = {path: cell for path, cell in changed.items() if path not in known}
        self.shared += [path for path in cells if self._initial(path) is UNKEPT]
        mine = [cell for path, cell in cells.items() if self._initial(path) is not UNKEPT]
        values = {cell.path: cell.take() for cell in mine}
        memo = self.memo()
        for cell in mine:
            cell.put(copied(self._initial(cell.path), memo))
        self.cells += mine
        return values

    def spare(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a trial's state for a validation, which is to leave the trial's own as it is."""
        return self.copy(values) if self.validation else values

    def copy(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return a copy of a trial's state for another that goes on from there."""
        memo = self.memo()
        return {path: copied(value, memo) for path, value in values.items()}

    def _put(self, values: Mapping[str, Any]) -> None:
        memo = self.memo()
        for cell in self.cells:
            cell.put(values[cell.path] if cell.path in values else copied(self._initial(cell.path), memo))

    def encoded(self, values: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Return a trial's state as a checkpoint takes it. Raises Unwritable."""
        if values is None:
            return None
        for path in values:
            if path not in self.places:
                raise Unwritable(f"{path}, which came to be while training")
        contents = {path: plain_contents(value, self._initial(path)) for path, value in self.copy(values).items()}
        return encoded_together(contents, self.before.names if self.before else {})

    def decoded(self, values: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Return what `encoded` was given, by another process maybe."""
        known = {cell.path for cell in self.cells}
        self.cells += [self.places[path] for path in values or () if path not in known]
        decode = Decoder(self.before.staying if self.before else {})
        return None if values is None else {path: decode(value) for path, value in values.items()}


# --- what is watched ------------------------------------------------------------------------------------------------


class Raised(Exception):
    """A call of the task's code raised, and so nothing can be seen of it."""


def hidden_state(
    task: Any,
    model: nn.Module,
    loss: Callable[[bool], Any],
    metrics: Callable[[bool], Any],
    passing: tuple[type[BaseException], ...] = (),
) -> Hidden:
    """Return what calls of `loss` and `metrics`, each at the same inputs every time, change in Python or decide anew.

    loss and metrics return numbers or tensors, which are compared to the last bit; called with True they are to be
    computed with other weights at other inputs. The state is left as it was.
    Raises Raised where one of them raises; what is `passing` as it is.
    """

    def guarded(call: Callable[[bool], Any], other: bool = False) -> Any:
        try:
            return call(other)
        except passing:
            raise
        except (Exception, SystemExit) as error:
            raise Raised from error

    roots = {"self": task, "model": model}
    begin = Snapshot(roots)
    reasons, changed = [], {}
    for name, function, seed in (("loss", loss, mix(0, 0)), ("metrics", metrics, 0)):
        call = functools.partial(guarded, function)
        of_first, made = _made_at_first(name, call, roots, seed, begin)
        reason, cells = _watched(name, call, roots, seed, begin)
        reasons.append(reason or of_first)
        changed |= made | cells
    end = Snapshot(roots, begin, values=False)
    moved = _holders(_changed(begin, begin, end))
    if changed:  # with it belongs what no second call has moved: an object that was replaced by then
        filled = {path for path in moved if begin.value(path) is None or begin.value(path) is ABSENT}  # once, for all
        changed |= {path: cell for path, cell in moved.items() if path not in filled}
    shared = sorted(path for path in changed if begin.value(path) is UNKEPT)
    if reasons[0] and shared:
        reasons[0] += f"; trials of a process share {', '.join(shared)}, so no rerun gives the same numbers"
    cells = [cell for path, cell in changed.items() if path not in shared]
    places = begin.cells | _holders({path: cell for path in end.cells if (cell := begin.cell(path, end))})
    caches = [cell for path, cell in moved.items() if path not in changed]
    hidden = Hidden(reasons[0], cells, shared, reasons[1], roots, begin, places, caches)
    with hidden.of_trial(None):
        return hidden


@contextmanager
def left_alone(task: Any, model: nn.Module) -> Iterator[None]:
    """Put back whatever calls of the task's functions change in Python meanwhile."""
    roots = {"self": task, "model": model}
    begin = Snapshot(roots)
    try:
        yield
    finally:
        begin.restore(_holders(_changed(begin, begin, Snapshot(roots, begin, values=False))).values())


def _made_at_first(
    name: str, call: Callable[..., Any], roots: Mapping[str, Any], seed: int, begin: "Snapshot"
) -> tuple[str, dict[str, Cell]]:
    """Make the first call, in which a mask or a table may be made once and for all; return as `_watched` does.

    Where that comes from the weights or from the batch, as a copy of the first weights does, it is a trial's own.
    """
    before = Snapshot(roots, begin) if name == "metrics" else begin
    seed_python(seed)
    numbers = _numbers(call())
    after = Snapshot(roots, begin, values=False)
    made = [
        cell for cell in _holders(_changed(before, before, after)).values() if before.value(cell.path) is not UNKEPT
    ]
    if not made:
        return "", {}
    contents = [cell.take() for cell in made]
    before.restore(made)
    call(True)
    seed_python(seed)
    again = _numbers(call())
    for cell, value in zip(made, contents, strict=True):
        cell.put(value)
    if all(map(_same_bits, again, numbers)):
        return "", {}
    return f"{name}() keeps in {made[0].path} what its first call makes", _holders(_changed(begin, before, after))


def _watched(
    name: str, call: Callable[..., Any], roots: Mapping[str, Any], seed: int, begin: "Snapshot"
) -> tuple[str, dict[str, Cell]]:
    """Call twice, and again after a call at other inputs; return a sentence about what that changed, and where.

    seed: what the call itself draws under.
    """
    seed_python(seed)
    first, before = _numbers(call()), Snapshot(roots, begin, values=False)
    seed_python(seed)
    shared = _shared()
    start = time.thread_time()
    with _clocks() as clocks:
        second = _numbers(call())
    seconds = time.thread_time() - start
    after = Snapshot(roots, begin, values=False)
    cells = _changed(begin, before, after)
    touched = _touched(shared)
    if touched:  # by another thread maybe, as Ray's while it starts: not at every call
        seed_python(seed)
        shared = _shared()
        call()
        touched &= _touched(shared)
    if "random" in touched:
        return f"{name}() draws from Python's random", _holders(cells)
    if "numpy" in touched:
        return f"{name}() draws from numpy.random", _holders(cells)
    counters = [path for path in cells if _counts(before.tokens.get(path), after.tokens.get(path))]
    if counters:
        advice = "keep the count in a buffer, or take `step`" if name == "loss" else "metrics() should count nothing"
        return f"{name}() counts its calls in {counters[0]}; {advice}", _holders(cells)
    if cells:
        return f"{name}() changes {next(iter(cells))}, which is neither parameter nor buffer", _holders(cells)
    if touched:
        return f"{name}() depends on the environment, which it changes", {}
    if clocks:
        return f"{name}() depends on {clocks[0]}", {}
    if not (len(first) == len(second) and all(map(_same_bits, first, second))):
        return f"two calls of {name}() at the same inputs give different numbers", {}
    if seconds > REMEMBERED_S:
        return "", {}
    return _remembered(name, call, roots, seed, begin, after, second)


def _shared() -> dict[str, Any]:
    """Return what belongs to the whole process: its generators, and its environment by the names of variables."""
    own = {"random": random.getstate(), "numpy": np.random.get_state(legacy=False)}
    return own | {f"${name}": value for name, value in os.environ.items()}


def _touched(before: Mapping[str, Any]) -> set[str]:
    """Return what of that has changed since."""
    now = _shared()
    moved = {"numpy"} if not _same_state(now.pop("numpy"), before["numpy"]) else set()
    return moved | {name for name in now.keys() | (before.keys() - {"numpy"}) if now.get(name) != before.get(name)}


def _remembered(
    name: str,
    call: Callable[..., Any],
    roots: Mapping[str, Any],
    seed: int,
    begin: "Snapshot",
    after: "Snapshot",
    numbers: Sequence[Tensor],
) -> tuple[str, dict[str, Cell]]:
    """See whether a call depends on the inputs of the one before; what is kept and never looked at does no harm."""
    seed_python(seed)
    call(True)
    cells = _changed(begin, after, Snapshot(roots, begin, values=False))
    seed_python(seed)
    if all(map(_same_bits, _numbers(call()), numbers)):
        return "", {}
    where = f" in {next(iter(cells))}" if cells else ""
    return f"{name}() depends on what it kept{where} from the call before", _holders(cells)


def _changed(begin: "Snapshot", before: "Snapshot", after: "Snapshot") -> dict[str, Cell]:
    """Return the places whose contents differ, by the path of what does."""
    return {path: cell for path in before.changed(after) if (cell := begin.cell(path, after))}


def _holders(cells: Mapping[str, Cell]) -> dict[str, Cell]:
    """Return the attributes and globals in which the changed values lie, each once."""
    return {cell.path: cell for cell in cells.values()}


def _numbers(value: Any) -> list[Tensor]:
    if isinstance(value, Mapping):
        value = list(value.values())
    values = list(value) if isinstance(value, list | tuple) else [value]
    return [torch.as_tensor(each).detach().clone() for each in values]


def _same_bits(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.device.type != "cpu":  # sums by atomic additions have other last bits each time
        return torch.allclose(a.double(), b.double(), rtol=1e-4, atol=1e-6, equal_nan=True)
    return torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0)) if a.is_floating_point() else torch.equal(a, b)


def _same_state(a: Any, b: Any) -> bool:
    return a["state"]["pos"] == b["state"]["pos"] and np.array_equal(a["state"]["key"], b["state"]["key"])


def _counts(before: Any, after: Any) -> bool:
    numbers = [token[1] for token in (before, after) if isinstance(token, tuple) and token[0] in ("int", "float")]
    return len(numbers) == 2 and float(numbers[1]) - float(numbers[0]) == 1


@contextmanager
def _clocks() -> Iterator[list[str]]:
    """Note what a person's own code asks meanwhile of the clock, of files, and of the system's randomness."""
    asked: list[str] = []

    def profile(frame: types.FrameType, event: str, function: Any) -> None:
        if event != "c_call":
            return
        name = getattr(function, "__name__", "")
        module = getattr(function, "__module__", None) or getattr(getattr(function, "__self__", None), "__module__", "")
        if name == "urandom":
            asked.append("os.urandom")
        elif _in_library(frame.f_code.co_filename):
            return
        elif module in _CLOCKS and name != "sleep":
            asked.append(f"the clock ({module}.{name})")
        elif module in ("_io", "io") and name == "open":
            asked.append("a file that it opens")

    previous = sys.getprofile()
    sys.setprofile(profile)
    try:
        yield asked
    finally:
        if previous is None or callable(previous):
            sys.setprofile(previous)
        else:  # cProfile's, which is no function of Python's
            previous.enable()


def _in_library(file: str) -> bool:
    return (
        is_own(file) or file.startswith(("<frozen", *_LIBRARIES)) or "site-packages" in file or "dist-packages" in file
    )


# --- snapshots ------------------------------------------------------------------------------------------------------


class Snapshot:
    """What can be reached from a task and its model, each value by its path, as tokens that compare equal or not.

    Tensors are held, so that their contents can be compared: parameters and buffers, which a step may change, are not
    among them.
    """

    def __init__(self, roots: Mapping[str, Any], since: "Snapshot | None" = None, values: bool = True):
        """since: one whose objects are looked at even where nothing leads to them any more.
        values: whether to copy what the cells hold.
        """
        self.tokens: dict[str, Any] = {}
        self.cells: dict[str, Cell] = {}
        self._values: dict[str, Any] = {}
        self._parents: dict[str, str] = {}
        self._objects: dict[str, Any] = {}  # what lies there, in a cell
        self._first: dict[str, Any] = {}  # of each object the nearest path
        self._places: dict[Any, str] = {}  # paths by what they are paths to, which may have another one later
        self._modules = {id(module) for module in roots["model"].modules()}
        self._trained = {id(tensor) for tensor in (*roots["model"].parameters(), *roots["model"].buffers())}
        top = type(roots["self"]).__module__.partition(".")[0]
        self._own = "" if top == __name__.partition(".")[0] else top
        self._seen: dict[int, tuple[Any, Any]] = {}  # with their tokens; held, so that no other gets the id of one
        self._owners = set[int]()
        self.tensors = dict[int, list[str]](since.tensors if since else {})  # the names that each module's had at first
        self._walk(roots.items())
        self._walk(
            (path, each) for path, each in (since.staying.items() if since else ()) if id(each) not in self._seen
        )
        self._owners |= self._seen.keys() | {id(cell.owner) for cell in self.cells.values()}
        self.staying = {path: each for path, each in self._first.items() if stays(each)}
        self.names = {id(each): path for path, each in self.staying.items()}
        self._ids = {id(each): each for each in self.staying.values()}
        memo = self.memo()
        for path, cell in self.cells.items() if values else ():
            if cell.path == path:
                self._values[path] = copied_contents(cell.look(), memo)

    def _walk(self, roots: Iterable[tuple[str, Any]]) -> None:
        """Note whatever can be reached from the roots, the nearest first."""
        waiting: deque[tuple[str, Any, Cell | None]] = deque((name, root, None) for name, root in roots)
        while waiting and len(self.tokens) < MOST_NODES:
            path, value, cell = waiting.popleft()
            atom = isinstance(value, ATOMS)
            if (cell and _place(path, cell) in self._places) or (not atom and any(value is each for each in _GLOBAL)):
                continue
            path, cell = self._named(path, cell)
            _, known = self._seen.get(id(value), (None, None)) if not atom else (None, None)
            self.tokens[path] = known or _token(value)
            self._places[_place(path, cell)] = path
            if cell:
                self.cells[path], self._objects[path] = cell, value
            if atom or known:
                continue
            self._seen[id(value)], self._first[path] = (value, self.tokens[path]), value
            for child in self._children(path, value, cell):
                self._parents.setdefault(child[0], path)
                waiting.append(child)

    def _named(self, path: str, cell: Cell | None) -> tuple[str, Cell | None]:
        """Return a path and its cell, by another name where there has been one of that name: closures of one kind."""
        number, given = 2, path
        while path in self.tokens:
            path, number = f"{given} ({number})", number + 1
        if cell and cell.path == given and path != given:
            cell = replace(cell, path=path)
        return path, cell

    def memo(self) -> Memo:
        """Return a memo for copies that belong together: two names of one thing are to stay two names of one.

        Objects that were there stay themselves in all copies: what changes of them is in cells of their own.
        """
        return ChainMap({}, self._ids)

    def value(self, path: str) -> Any:
        """Return a copy of what an attribute or a global was; ABSENT if it was not there, UNKEPT if it has none."""
        return self._values.get(path, ABSENT)

    def restore(self, cells: Iterable[Cell]) -> None:
        """Put back what lay in these places; what cannot be copied stays as it is by now."""
        memo = self.memo()
        for cell in cells:
            if (value := self.value(cell.path)) is not UNKEPT:
                cell.put(copied(value, memo))

    def cell(self, path: str, later: "Snapshot") -> Cell | None:
        """Return the place to which what another snapshot sees at a path belongs: one seen here, or new on something
        that was. What has come with a new object belongs to the place where that lies."""
        while path:
            cell = later.cells.get(path) or self.cells.get(path)
            if cell and id(cell.owner) in self._owners:
                return self._mine(cell)
            path = later._parents.get(path) or self._parents.get(path, "")
        return None

    def _mine(self, cell: Cell) -> Cell:
        """Return a place as it is called here."""
        if path := self._places.get(_place(cell.path, cell)):
            return self.cells[path]
        return replace(cell, path=f"{cell.path} (new)") if cell.path in self.tokens else cell

    def changed(self, after: "Snapshot") -> list[str]:
        """Return the paths at which another snapshot differs, the nearest to the task first."""
        pairs = [(self._same(path, after), path) for path in after.tokens]
        matched = {path for path, _ in pairs if path}
        pairs += [(path, None) for path in self.tokens if path not in matched]
        differ = [there or here for here, there in pairs if self._differ(here, there, after)]
        return [path for path in differ if path and (path in self.cells or path in after.cells)]

    def numbers_changed(self, after: "Snapshot") -> list[str]:
        """Return the paths at which another snapshot has other numbers, but for the model's own and what they give."""
        paths = [path for path in self.changed(after) if path in self.tokens and path in after.tokens]
        tensors = {path: value for path, value in self._objects.items() if isinstance(value, Tensor)}
        made = {path for path, tensor in tensors.items() if tensor.grad_fn is not None}
        made |= {path for path, tensor in tensors.items() if id(tensor) in self._trained}  # as an RNN lists its own
        return [path for path in paths if path not in made and _is_numbers(self.tokens[path])]

    def _same(self, path: str, after: "Snapshot") -> str | None:
        """Return the path here of what another snapshot sees at a path: the same place, or of a new object the name."""
        cell = after.cells.get(path)
        if cell is None or id(cell.owner) not in self._owners:
            return path if path in self.tokens else None
        return self._places.get(_place(path, cell))

    def _differ(self, here: str | None, there: str | None, after: "Snapshot") -> bool:
        if here is None or there is None:
            return True
        if not _equal(self.tokens[here], after.tokens[there]):
            return True
        was, now = self._objects.get(here), after._objects.get(there)
        return was is not now and id(now) in self._ids  # another one that has been there all the time

    def _children(self, path: str, value: Any, cell: Cell | None) -> Iterator[tuple[str, Any, Cell | None]]:
        theirs = isinstance(value, nn.Parameter) and id(value) not in self._trained
        if theirs and (cell is None or cell.owner is not value):
            yield f"{path}.data", value.detach(), Cell(f"{path}.data", value, "data", True)
        if isinstance(value, (*ATOMS, Tensor, np.ndarray, torch.Generator, random.Random, Enum)):
            return
        if isinstance(value, dict | list | deque | tuple) and hasattr(value, "__dict__"):  # of a person's own kind
            yield from self._attributes(path, value, vars(value))
        if _is_mapping(value):
            for key in _spread(list(value)):
                with_key = f"{path}[{key!r}]" if isinstance(key, ATOMS) else f"{path}[...]"
                yield with_key, value[key], cell
        elif isinstance(value, list | tuple | deque):
            for i in _spread(range(len(value))):
                yield f"{path}[{i}]", value[i], cell
        elif isinstance(value, ContextVar):
            yield f"{path}.get()", value.get(None), cell
        elif isinstance(value, types.FunctionType):
            yield from self._of_function(path, value)
        elif isinstance(value, types.MethodType):
            yield f"{path}.__func__", value.__func__, cell
            yield f"{path}.__self__", value.__self__, cell
        elif isinstance(value, staticmethod | classmethod):
            yield f"{path}.__func__", value.__func__, cell
        elif isinstance(value, property):
            yield from ((f"{path}.{name}", getattr(value, name), cell) for name in ("fget", "fset"))
        elif isinstance(value, functools.partial):
            yield f"{path}.func", value.func, cell
            yield f"{path}.args", list(value.args), cell
            yield f"{path}.keywords", value.keywords, cell
        elif isinstance(value, types.GeneratorType):
            yield f"{path}.locals", dict(value.gi_frame.f_locals) if value.gi_frame else {}, cell
        elif isinstance(value, type):
            if self._is_own(value.__module__):
                for base in value.__mro__:
                    if self._is_own(base.__module__):
                        yield from self._attributes(base.__qualname__, base, dict(vars(base)))
        elif isinstance(value, types.ModuleType):
            if self._is_own(value.__name__):
                names = {n: v for n, v in vars(value).items() if not n.startswith("__")}
                yield from self._items(f"{value.__name__}.", vars(value), names)
        elif wrapped := getattr(value, "__wrapped__", None):
            yield f"{path}.__wrapped__", wrapped, cell
        else:
            yield from self._of_object(path, value)

    def _of_object(self, path: str, value: Any) -> Iterator[tuple[str, Any, Cell | None]]:
        attributes = dict(getattr(value, "__dict__", {}))
        if isinstance(value, nn.Module):
            modules = attributes["_modules"]
            self._owners.add(id(modules))
            for name, module in modules.items():
                yield f"{path}.{name}", module, Cell(f"{path}.{name}", modules, name, False)
            yield from self._tensors(path, attributes["_parameters"], attributes["_buffers"], value)
            attributes = {name: v for name, v in attributes.items() if name not in _MODULE_OWN}
        for slot in _slots(type(value)):
            if hasattr(value, slot):
                attributes[slot] = getattr(value, slot)
        yield from self._attributes(path, value, attributes)
        yield type(value).__name__, type(value), None

    def _tensors(
        self, path: str, parameters: Mapping[str, Any], buffers: Mapping[str, Any], module: nn.Module
    ) -> Iterator[tuple[str, Any, Cell | None]]:
        """Yield what may change of a module's tensors: of another network all, of a trial's model the flags alone, and
        those that come to be while it trains, which no optimizer knows."""
        for name, parameter in parameters.items():
            flag = f"{path}.{name}.requires_grad"
            if parameter is not None:
                yield flag, parameter.requires_grad, Cell(flag, parameter, "requires_grad", True)
        for tensors in (parameters, buffers):
            self._owners.add(id(tensors))
            before = self.tensors.setdefault(id(tensors), list(tensors))
            for name in [name for name in tensors if name not in before]:
                yield f"{path}.{name}", tensors[name], Cell(f"{path}.{name}", tensors, name, False)
        if id(module) not in self._modules:
            for name, tensor in {**parameters, **buffers}.items():
                if tensor is not None:
                    yield f"{path}.{name}", tensor, Cell(f"{path}.{name}", tensor, "data", True)

    def _attributes(
        self, path: str, owner: Any, attributes: Mapping[str, Any]
    ) -> Iterator[tuple[str, Any, Cell | None]]:
        for name, value in attributes.items():
            if name not in ("__dict__", "__weakref__", "__doc__", "__module__", "__annotations__"):
                inner = f"{path}.{name}"
                yield inner, value, Cell(inner, owner, name, True)

    def _items(self, prefix: str, owner: Any, items: Mapping[str, Any]) -> Iterator[tuple[str, Any, Cell | None]]:
        for name, value in items.items():
            yield f"{prefix}{name}", value, Cell(f"{prefix}{name}", owner, name, False)

    def _of_function(self, path: str, function: types.FunctionType) -> Iterator[tuple[str, Any, Cell | None]]:
        """Yield what a person's function can keep: closures, defaults, attributes, the globals that it names."""
        if not self._is_own(function.__module__ or ""):
            return
        name = function.__qualname__
        for variable, kept in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
            inner = f"{variable} of {name}"
            yield inner, _contents(kept), Cell(inner, kept, "cell_contents", True)
        for kind, words in (("__defaults__", "defaults of"), ("__kwdefaults__", "keyword defaults of")):
            if defaults := getattr(function, kind):
                yield f"{words} {name}", defaults, Cell(f"{words} {name}", function, kind, True)
        yield from self._attributes(name, function, vars(function))
        self._owners.add(id(function.__globals__))
        named = {n: function.__globals__[n] for n in _names(function.__code__) if n in function.__globals__}
        yield from self._items("", function.__globals__, named)

    def _is_own(self, module: str) -> bool:
        """Whether a module is a person's, whose state counts, and no library's."""
        if module.partition(".")[0] == self._own or module == "__main__":
            return True
        file = getattr(sys.modules.get(module), "__file__", None)
        return file is not None and not _in_library(file)


def _place(path: str, cell: Cell | None) -> Any:
    """Return what a path leads to, whatever it is called: an owner's part, and a part of what lies there."""
    return (id(cell.owner), cell.key, cell.attribute, path.removeprefix(cell.path)) if cell else path


def _contents(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # of a variable that has no value yet
        return None


def _is_mapping(value: Any) -> TypeGuard[Mapping[Any, Any]]:
    """Whether a value's items are its state, and not what it keeps in attributes, as a ChainMap does."""
    return isinstance(value, dict) or (isinstance(value, Mapping) and is_opaque(value))


def _slots(kind: type) -> list[str]:
    slots = [getattr(base, "__slots__", ()) for base in kind.__mro__]
    names = [name for each in slots for name in ((each,) if isinstance(each, str) else each)]
    return [name for name in names if name not in ("__dict__", "__weakref__")]


@functools.lru_cache(10_000)
def _names(code: types.CodeType) -> Sequence[str]:
    """Return the names of globals that a function and those in it look up."""
    names = [each.argval for each in dis.get_instructions(code) if each.opname.endswith(("_GLOBAL", "_NAME"))]
    inner = [_names(constant) for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return list(dict.fromkeys([*names, *(name for each in inner for name in each)]))


def _spread(items: Sequence[Any]) -> Sequence[Any]:
    """Return all of a few items, of many some that are evenly spread, the last among them."""
    if len(items) <= MOST_ITEMS:
        return items
    return [items[i] for i in np.linspace(0, len(items) - 1, MOST_ITEMS).astype(int)]


def _token(value: Any) -> Any:
    """Return what stands for a value: two of them are equal if nothing has changed."""
    if isinstance(value, float):
        return "float", value.hex() if value != value else value
    if isinstance(value, ATOMS):
        return type(value).__name__, value
    if isinstance(value, Tensor):
        return _Numbers(value)
    if isinstance(value, types.FunctionType):
        return "function", value.__code__
    if isinstance(value, type | types.BuiltinFunctionType | types.ModuleType | Enum):
        return "one of a kind", id(value)
    if isinstance(value, np.ndarray):
        sample = value.reshape(-1)[:: max(1, value.size // MOST_COPIED)]
        return "array", value.shape, hashlib.sha256(np.ascontiguousarray(sample).tobytes()).hexdigest()
    if isinstance(value, torch.Generator):
        return _Numbers(value.get_state())
    if isinstance(value, random.Random):
        return "random", value.getstate()
    if isinstance(value, np.random.Generator):
        return "random", repr(value.bit_generator.state)
    if isinstance(value, np.random.RandomState):
        return "random", repr(value.get_state(legacy=False))
    if isinstance(value, set | frozenset):
        return "set", len(value), [repr(each) for each in islice(sorted(value, key=repr), MOST_ITEMS)]
    if _is_mapping(value) or isinstance(value, list | tuple | deque):
        return type(value).__name__, len(value)
    if hasattr(value, "cache_info"):
        return "cache", value.cache_info().currsize
    if isinstance(value, types.GeneratorType):
        return "generator", value.gi_frame.f_lasti if value.gi_frame else None
    if is_opaque(value):
        return type(value).__name__, _reduced(value)
    return type(value).__name__, None


def _is_numbers(token: Any) -> bool:
    return isinstance(token, _Numbers) or token[0] in ("int", "float", "complex", "array")


def _reduced(value: Any, depth: int = 0) -> Any:
    """Return what tells two states of an iterator, of an array of bytes, and of their like apart."""
    if isinstance(value, list | tuple) and depth < 8:
        return [_reduced(each, depth + 1) for each in value[:MOST_ITEMS]]
    if not is_opaque(value) or isinstance(value, ATOMS) or depth == 8:
        return repr(value)[:1000] if isinstance(value, ATOMS) else None
    if (length := getattr(value, "__length_hint__", None)) is not None:
        return length()
    with warnings.catch_warnings(), suppress(Exception):
        warnings.simplefilter("ignore")
        parts = value.__reduce_ex__(4)
        return parts if isinstance(parts, str) else [_reduced(part, depth + 1) for part in parts]
    return None  # one that tells nothing of itself


@dataclass(frozen=True)
class _Numbers:
    """A tensor, held so that its contents can be compared with those of another; small ones are copied."""

    tensor: Tensor
    copied: Tensor | None = None
    version: int = 0

    def __init__(self, tensor: Tensor):
        plain = tensor.detach()
        copied = plain.clone() if tensor.numel() <= MOST_COPIED else None
        object.__setattr__(self, "tensor", plain)
        object.__setattr__(self, "copied", copied)
        object.__setattr__(self, "version", 0 if tensor.is_inference() else tensor._version)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, _Numbers) and isinstance(b, _Numbers):
        if a.copied is not None and b.copied is not None:
            return _same_tensor(a.copied, b.copied)
        moved = a.tensor.data_ptr() != b.tensor.data_ptr()
        return _same_tensor(a.tensor, b.tensor) if moved else a.version == b.version
    return a == b


def _same_tensor(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype or a.layout != b.layout:
        return False
    a, b = (t.to_dense() if t.layout != torch.strided else t for t in (a, b))
    return torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0)) if a.is_floating_point() else torch.equal(a, b)
