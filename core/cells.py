"""Where a task keeps state in Python: how what lies there is moved, copied, and written into a checkpoint.

A trial that trains has its own objects in the cells; between its turns they lie aside. To move them costs the same
however large they have grown; copies are made where trials part, and of what a new trial begins with.
"""

import copy
import inspect
import random
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

MOST_COPIED = 100_000  # values of containers; of a larger one it is seen that it changed, and trials share it
MOST_NUMBERS = 4_000_000  # of a tensor or an array, likewise
ABSENT, UNKEPT = object(), object()  # in a place where nothing lies; what cannot be copied for each trial
ATOMS = (bool, int, float, complex, str, bytes, type(None))
_MARK = "\0form"  # the first item of a tuple for what is written in another form
_CONTAINERS = (list, tuple, dict, set, frozenset, deque, Counter, defaultdict, OrderedDict)
_FAMILIES: Mapping[Any, type] = {(list, deque): list, dict: dict, set: set}


@dataclass(frozen=True)
class Cell:
    """One place that holds state: an attribute of an object (`attribute`) or an item of a dictionary."""

    path: str
    owner: Any
    key: Any
    attribute: bool

    def take(self) -> Any:
        """Return what lies there, to be put back later; ABSENT if nothing does. What is inside is not copied."""
        return _contents(self.look())

    def look(self) -> Any:
        """Return what lies there itself; ABSENT if nothing does."""
        try:
            if not self.attribute:
                return self.owner[self.key]
            own = getattr(self.owner, "__dict__", {})
            if self.key in own:  # and not what the class has for all that have none of their own
                return own[self.key]
            return getattr(self.owner, self.key) if _is_slot(type(self.owner), self.key) else ABSENT
        except (AttributeError, KeyError, ValueError):  # a closure's variable without a value
            return ABSENT

    def put(self, value: Any) -> None:
        """Put a value there, as `take` gave it; a container stays the object that others may hold."""
        here = self.look()
        if isinstance(value, State):
            value = value.made(here)
        if value is ABSENT:
            if here is not ABSENT:
                delattr(self.owner, self.key) if self.attribute else self.owner.pop(self.key)
        elif _of_one_family(here, value):
            here.clear()
            here.update(value) if isinstance(here, dict | set) else here.extend(value)
        elif self.attribute:
            setattr(self.owner, self.key, value)
        else:
            self.owner[self.key] = value


def _is_slot(kind: type, name: str) -> bool:
    return hasattr(inspect.getattr_static(kind, name, None), "__set__")


def _of_one_family(here: Any, value: Any) -> bool:
    """Whether a container takes the contents of a value: one of its type, or what a checkpoint gives for it."""
    return any(
        isinstance(here, kinds) and (type(value) is type(here) or type(value) is plain)
        for kinds, plain in _FAMILIES.items()
    )


_KINDS: Mapping[str, type] = {
    "torch": torch.Generator,
    "python": random.Random,
    "numpy": np.random.Generator,
    "numpy's old": np.random.RandomState,
}


@dataclass
class State:
    """The state of a generator of random numbers, which stays the object that it is where there is one."""

    kind: str
    value: Any

    @classmethod
    def of(cls, generator: Any) -> "State":
        """Return the state of a generator of torch, Python or numpy."""
        kind = next(name for name, each in _KINDS.items() if isinstance(generator, each))
        if isinstance(generator, torch.Generator):
            return cls(kind, generator.get_state())
        if isinstance(generator, random.Random):
            return cls(kind, generator.getstate())
        if isinstance(generator, np.random.Generator):
            return cls(kind, copy.deepcopy(generator.bit_generator.state))
        return cls(kind, generator.get_state(legacy=False))

    def made(self, here: Any) -> Any:
        """Let the generator that lies there go on from this state, or a new one if there is none; return it."""
        if not isinstance(here, _KINDS[self.kind]):
            bits = [getattr(np.random, self.value["bit_generator"])()] if self.kind == "numpy" else []
            here = _KINDS[self.kind](*bits)
        if isinstance(here, torch.Generator):
            here.set_state(self.value)
        elif isinstance(here, random.Random):
            here.setstate(self.value)
        elif isinstance(here, np.random.Generator):
            here.bit_generator.state = self.value
        else:
            here.set_state(self.value)
        return here


def _contents(value: Any) -> Any:
    """Return what `Cell.put` puts back: a container with the same contents, a generator's state, or the value."""
    if isinstance(value, tuple(_KINDS.values())):
        return State.of(value)
    return copy.copy(value) if isinstance(value, list | deque | dict | set) else value


def copied(value: Any) -> Any:
    """Return a copy of what `Cell.take` gave; a part that cannot be copied stays shared."""
    if value is ABSENT or isinstance(value, ATOMS):
        return value
    if type(value) is list and all(type(each) in ATOMS for each in value):
        return list(value)
    with suppress(Exception):
        return copy.deepcopy(value.detach() if type(value) is Tensor else value, _parameters_in(value))
    return value


def _parameters_in(value: Any, depth: int = 0) -> dict[int, Any]:
    """Return the parameters inside of containers by their ids: an optimizer's state knows them, and no copies."""
    if isinstance(value, nn.Parameter):
        return {id(value): value}
    found: dict[int, Any] = {}
    if isinstance(value, dict | list | tuple | set | deque) and depth < 8:
        for each in (*value.keys(), *value.values()) if isinstance(value, dict) else value:
            if not isinstance(each, ATOMS):
                found |= _parameters_in(each, depth + 1)
    return found


def copied_contents(value: Any) -> Any:
    """Return a copy of what lies in a cell, as `Cell.take` would give it; UNKEPT of what trials have to share."""
    if value is ABSENT:
        return ABSENT
    whole = isinstance(value, list | deque | dict | set)  # a person's own kind of dictionary stays what it is
    size = _numbers_in(_plain(value)) if whole else _numbers_in(value)
    return copied(_contents(value)) if size <= MOST_COPIED else UNKEPT


def _plain(value: Any) -> Any:
    """Return the contents of a container, whatever its kind, in a plain one."""
    return next((plain(value) for kinds, plain in _FAMILIES.items() if isinstance(value, kinds)), value)


def _numbers_in(value: Any, depth: int = 0) -> float:
    """Return how many values a value holds, a tensor's counting less; infinity if no checkpoint takes one of them."""
    if isinstance(value, (*ATOMS, *_KINDS.values())) or value is ABSENT:
        return 1
    if type(value) is Tensor:
        return value.numel() * MOST_COPIED / MOST_NUMBERS
    if isinstance(value, np.ndarray | np.generic):
        return value.size * MOST_COPIED / MOST_NUMBERS if value.dtype.kind in "biufc" else float("inf")
    if depth > 8 or type(value) not in _CONTAINERS:
        return float("inf")
    if len(value) > MOST_COPIED:
        return len(value)
    inner = [*value.keys(), *value.values()] if isinstance(value, dict) else value
    total = 0.0
    for each in inner:
        total += _numbers_in(each, depth + 1)
        if total > MOST_COPIED:
            break
    return total


# --- in a checkpoint --------------------------------------------------------------------------------------------------


class Unwritable(Exception):
    """A value of a kind that a checkpoint does not take, since reading it would run code."""


def encoded_contents(value: Any, before: Any) -> Any:
    """Return what `Cell.take` gave, encoded; before: what a new trial begins with there. Raises Unwritable."""
    return encoded(_plain(value) if type(value) is type(before) else value)


def encoded(value: Any) -> Any:
    """Return a value as tensors, numbers, text and plain containers of them. Raises Unwritable.

    >>> decoded(encoded([np.float64(0.5), deque([1], 3), {"a": np.arange(2)}]))
    [np.float64(0.5), deque([1], maxlen=3), {'a': array([0, 1])}]
    """
    if type(value) is Tensor:
        return value.detach()
    if type(value) in ATOMS and not _is_bytes(value) and not _is_long(value):
        return value
    if type(value) in (list, tuple, set) and not _is_form(value):
        return type(value)(map(encoded, value))
    if type(value) is dict:
        return {encoded(key): encoded(each) for key, each in value.items()}
    for name, (is_such, parts, _) in _FORMS.items():
        if is_such(value):
            return (_MARK, name, *map(encoded, parts(value)))
    raise Unwritable(f"a {type(value).__module__}.{type(value).__qualname__}")


def decoded(value: Any) -> Any:
    """Return what `encoded` was given."""
    if _is_form(value):
        return _FORMS[value[1]][2](*map(decoded, value[2:]))
    if type(value) in (list, tuple, set):
        return type(value)(map(decoded, value))
    if type(value) is dict:
        return {decoded(key): decoded(each) for key, each in value.items()}
    return value


def _array(kind: str, shape: tuple[int, ...], content: bytes) -> np.ndarray:
    return np.frombuffer(bytearray(content), np.dtype(kind)).reshape(shape)


def _is_form(value: Any) -> bool:
    return type(value) is tuple and bool(value) and type(value[0]) is str and value[0] == _MARK


def _is_bytes(value: Any) -> bool:
    return type(value) is bytes


def _is_long(value: Any) -> bool:
    return type(value) is int and value.bit_length() > 1000


def _is_array(value: Any) -> bool:
    return type(value) is np.ndarray and value.dtype.kind in "biufc"


def _is_scalar(value: Any) -> bool:
    return isinstance(value, np.generic) and value.dtype.kind in "biufc"


def _array_parts(value: Any) -> list[Any]:
    return [value.dtype.str, value.shape, value.tobytes()]


def _exactly(kind: type) -> Callable[[Any], bool]:
    return lambda value: type(value) is kind


_Form = tuple[Callable[[Any], bool], Callable[[Any], Iterable[Any]], Callable[..., Any]]
_FORMS: Mapping[str, _Form] = {
    "absent": (lambda value: value is ABSENT, lambda value: [], lambda: ABSENT),
    "bytes": (_is_bytes, lambda value: [value.decode("latin-1")], lambda text: text.encode("latin-1")),
    "long": (_is_long, lambda value: [hex(value)], lambda text: int(text, 16)),
    "array": (_is_array, _array_parts, _array),
    "scalar": (_is_scalar, _array_parts, lambda *parts: _array(*parts)[()]),
    "generator": (_exactly(State), lambda state: [state.kind, state.value], State),
    "frozenset": (_exactly(frozenset), lambda value: [tuple(value)], frozenset),
    "deque": (_exactly(deque), lambda value: [list(value), value.maxlen], deque),
    "counter": (_exactly(Counter), lambda value: [dict(value)], Counter),
    "ordered": (_exactly(OrderedDict), lambda value: [list(value.items())], OrderedDict),
}
