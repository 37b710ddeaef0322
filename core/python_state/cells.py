"""Where a task keeps state in Python: how what lies there is moved, copied, and written into a checkpoint.

A trial that trains has its own objects in the cells; between its turns they lie aside. To move them costs the same
however large they have grown; copies are made where trials part, and of what a new trial begins with.
"""

import copy
import copyreg
import functools
import inspect
import random
import types
import warnings
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum
from itertools import chain, count, cycle, islice, repeat
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
_BY_NAME = (type, types.FunctionType, types.BuiltinFunctionType, Enum)  # a copy of one is itself
_ITERATORS = tuple(type(iter(each)) for each in ([], (), "", range(0), range(2**70)))  # over what they do not change
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


Memo = MutableMapping[int, Any]
"""By their ids: what stays itself in a copy, and what has been copied already."""


def stays(value: Any) -> bool:
    """Whether copies refer to an object that was there before the first step: its attributes are cells of their own.

    The others are the contents of the cell in which they lie.
    """
    plain = (*ATOMS, *_CONTAINERS, Tensor, np.ndarray, np.generic, *_KINDS.values(), functools.partial, ContextVar)
    whole = isinstance(value, plain) or hasattr(value, "cache_info") or is_opaque(value)
    return isinstance(value, nn.Parameter) or not whole


def is_opaque(value: Any) -> bool:
    """Whether an object has no attributes in Python: an iterator, a lock, an array of bytes."""
    if isinstance(value, (*_BY_NAME, types.ModuleType, types.MethodType)):
        return False
    return not hasattr(value, "__dict__") and not any(getattr(base, "__slots__", ()) for base in type(value).__mro__)


def copied(value: Any, memo: Memo | None = None) -> Any:
    """Return a copy of what `Cell.take` gave; a part that cannot be copied stays shared."""
    if value is ABSENT or isinstance(value, ATOMS):
        return value
    memo = {} if memo is None else memo
    memo.update(_parameters_in(value))
    with suppress(Exception):
        return _deep(value, memo)
    return value


def _deep(value: Any, memo: Memo) -> Any:
    if type(value) is list and _is_flat(value):
        return list(value)
    if type(value) is Tensor:
        if id(value) not in memo:
            memo[id(value)] = value.detach().clone()
            memo.setdefault(id(memo), []).append(value)  # as deepcopy does: nothing else is to get its number
        return memo[id(value)]
    return copy.copy(value) if isinstance(value, _ITERATORS) else copy.deepcopy(value, memo)  # type: ignore[arg-type]


def _is_flat(value: Any) -> bool:
    return all(type(each) in ATOMS for each in value)


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


def copied_contents(value: Any, memo: Memo) -> Any:
    """Return a copy of what lies in a cell, as `Cell.take` would give it; UNKEPT of what trials have to share."""
    if value is ABSENT:
        return ABSENT
    whole = isinstance(value, list | deque | dict | set)  # a person's own kind of dictionary stays what it is
    if _numbers_in(_plain(value) if whole else value, memo) > MOST_COPIED:
        return UNKEPT
    contents = _contents(value)
    memo.update(_parameters_in(contents))
    with suppress(Exception):
        return contents if isinstance(contents, ATOMS) else _deep(contents, memo)
    return UNKEPT


def plain_contents(value: Any, before: Any) -> Any:
    """Return what `Cell.take` gave for a checkpoint; before: what a new trial begins with there.

    A container of the same kind goes without its kind: its contents are put into the one that is there.
    """
    return _plain(value) if type(value) is type(before) else value


def _plain(value: Any) -> Any:
    """Return the contents of a container, whatever its kind, in a plain one."""
    return next((plain(value) for kinds, plain in _FAMILIES.items() if isinstance(value, kinds)), value)


def _numbers_in(value: Any, stays: Mapping[int, Any], depth: int = 0) -> float:
    """Return how many values a copy would hold, a tensor's counting less; infinity of what is better not copied."""
    if isinstance(value, (*ATOMS, *_KINDS.values(), *_ITERATORS)) or value is ABSENT or id(value) in stays:
        return 1
    if isinstance(value, Tensor):
        return value.numel() * MOST_COPIED / MOST_NUMBERS
    if isinstance(value, np.ndarray | np.generic):
        return value.size * MOST_COPIED / MOST_NUMBERS if value.dtype.kind in "biufc" else float("inf")
    if depth > 8:
        return float("inf")
    if isinstance(value, _BY_NAME):
        return 1
    if not isinstance(value, _CONTAINERS):
        parts = _parts(value) if is_opaque(value) or isinstance(value, functools.partial) else None
        return float("inf") if parts is None else _numbers_in(parts, stays, depth + 1)
    if len(value) > MOST_COPIED or (isinstance(value, list | tuple) and _is_flat(value)):
        return len(value)
    inner = [*value.keys(), *value.values()] if isinstance(value, dict) else value
    total = 0.0
    for each in inner:
        total += _numbers_in(each, stays, depth + 1)
        if total > MOST_COPIED:
            break
    return total


def _parts(value: Any) -> list[Any] | None:
    """Return what an iterator and its like are made of; None if it does not tell."""
    with suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = value.__reduce_ex__(4)
        return [] if isinstance(made, str) else [part for part in made[1:3] if part is not None]
    return None


# --- in a checkpoint --------------------------------------------------------------------------------------------------


class Unwritable(Exception):
    """A value of a kind that a checkpoint does not take, since reading it would run code."""


def encoded(value: Any) -> Any:
    """Return a value as tensors, numbers, text and plain containers of them. Raises Unwritable.

    >>> decoded(encoded([np.float64(0.5), deque([1], 3), {"a": np.arange(2)}]))
    [np.float64(0.5), deque([1], maxlen=3), {'a': array([0, 1])}]
    """
    return encoded_together({"": value}, {})[""]


def decoded(value: Any) -> Any:
    """Return what `encoded` was given."""
    return Decoder({})(value)


def encoded_together(values: Mapping[str, Any], names: Mapping[int, str]) -> dict[str, Any]:
    """Return values encoded, in which one thing may lie in two places. Raises Unwritable.

    names: by the id of an object, what is written in its place. Other objects are written by their class and their
    state; the class must have a name.
    """
    encode = _Encoder(names, frozenset())
    written = {name: encode(value) for name, value in values.items()}
    if encode.again:
        encode = _Encoder(names, frozenset(encode.again))
        written = {name: encode(value) for name, value in values.items()}
    return written


class _Encoder:
    def __init__(self, names: Mapping[int, str], twice: frozenset[int]):
        """twice: which of the things that are met, by their number, will be met again."""
        self._names, self._twice = names, twice
        self._numbers, self._whole = dict[int, int](), set[int]()
        self._held: list[Any] = []  # so that no other thing gets the id of one of them
        self.again = set[int]()

    def __call__(self, value: Any) -> Any:
        if type(value) in ATOMS and not _is_bytes(value) and not _is_long(value):
            return value
        if id(value) in self._names:
            return (_MARK, "known", self._names[id(value)])
        number = self._numbers.get(id(value))
        if number is not None:
            if number not in self._whole:
                raise Unwritable(f"{_a(value)} that holds itself")
            self.again.add(number)
            return (_MARK, "same", number)
        number = self._numbers[id(value)] = len(self._numbers)
        self._held.append(value)
        written = self._written(value)
        self._whole.add(number)
        return (_MARK, "first", number, written) if number in self._twice else written

    def _written(self, value: Any) -> Any:
        if type(value) in (list, tuple, set) and not _is_form(value):
            return type(value)(map(self, value))
        if type(value) is dict:
            return {self(key): self(each) for key, each in value.items()}
        if type(value) is Tensor:
            return value.detach()
        for name, (is_such, parts, _) in _FORMS.items():
            if is_such(value):
                return (_MARK, name, *map(self, parts(value)))
        return (_MARK, "made", *self._parts(value))

    def _parts(self, value: Any) -> tuple[Any, ...]:
        """Return who makes a value, of what, and the state, the items and the pairs that it is given then."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                maker, *parts = value.__reduce_ex__(4)
        except Exception as error:
            raise Unwritable(_a(value)) from error
        if not callable(maker) or len(parts) > 4:
            raise Unwritable(_a(value))
        arguments, state, items, pairs = (*parts, None, None, None)[:4]
        name = next((name for name, each in _MAKERS.items() if each is maker), None)
        if name is None and id(maker) not in self._names:
            raise Unwritable(_a(value))
        return name or self(maker), self(arguments), self(state), *map(self, (_listed(items), _listed(pairs)))


def _listed(pairs: Any) -> Any:
    return None if pairs is None else list(pairs)


class Decoder:
    """Decodes what was encoded together, with the same names."""

    def __init__(self, objects: Mapping[str, Any]):
        """objects: by their names."""
        self._objects, self._firsts = objects, dict[int, Any]()

    def __call__(self, value: Any) -> Any:
        """Return the value. Raises KeyError where an object of a name is wanting."""
        if not _is_form(value):
            if type(value) in (list, tuple, set):
                return type(value)(map(self, value))
            return {self(key): self(each) for key, each in value.items()} if type(value) is dict else value
        _, form, *parts = value
        if form == "known":
            return self._objects[parts[0]]
        if form == "same":
            return self._firsts[parts[0]]
        if form == "first":
            return self._firsts.setdefault(parts[0], self(parts[1]))
        return self._made(*parts) if form == "made" else _FORMS[form][2](*map(self, parts))

    def _made(self, maker: Any, *parts: Any) -> Any:
        arguments, state, items, pairs = map(self, parts)
        value = (_MAKERS[maker] if isinstance(maker, str) else self(maker))(*arguments)
        if hasattr(value, "__setstate__") and state is not None:
            value.__setstate__(state)
        else:
            of_dictionary, of_slots = state if isinstance(state, tuple) else (state, None)
            vars(value).update(of_dictionary or {}) if hasattr(value, "__dict__") else None
            for name, each in (of_slots or {}).items():
                object.__setattr__(value, name, each)
        for each in items or ():
            value.append(each)
        for key, each in pairs or ():
            value[key] = each
        return value


_MADE = (range, count, cycle, repeat, chain, zip, enumerate, islice, defaultdict, bytearray, functools.partial)
_MAKERS: Mapping[str, Any] = {
    "new": copyreg.__newobj__,  # type: ignore[attr-defined]
    "iter": iter,
    **{kind.__name__: kind for kind in _MADE},
}


def _a(value: Any) -> str:
    return f"a {type(value).__module__}.{type(value).__qualname__}"


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


_PLAIN = (bool, int, float, complex, str, bytes, list, tuple, dict, set)


def _plain_kind(name: str) -> type:
    return next(kind for kind in _PLAIN if kind.__name__ == name)


def _layer(name: str) -> Any:
    layer = getattr(nn, name, None)
    return layer if isinstance(layer, type) and issubclass(layer, nn.Module) else None


_Form = tuple[Callable[[Any], bool], Callable[[Any], Iterable[Any]], Callable[..., Any]]
_FORMS: Mapping[str, _Form] = {
    "absent": (lambda value: value is ABSENT, lambda value: [], lambda: ABSENT),
    "bytes": (_is_bytes, lambda value: [value.decode("latin-1")], lambda text: text.encode("latin-1")),
    "long": (_is_long, lambda value: [hex(value)], lambda text: int(text, 16)),
    "array": (_is_array, _array_parts, _array),
    "scalar": (_is_scalar, _array_parts, lambda *parts: _array(*parts)[()]),
    "generator": (_exactly(State), lambda state: [state.kind, state.value], State),
    "kind": (lambda value: isinstance(value, type) and value in _PLAIN, lambda kind: [kind.__name__], _plain_kind),
    "layer": (
        lambda value: isinstance(value, type) and _layer(value.__name__) is value,
        lambda k: [k.__name__],
        _layer,
    ),
    "parameter": (_exactly(nn.Parameter), lambda p: [p.detach(), p.requires_grad], nn.Parameter),
    "frozenset": (_exactly(frozenset), lambda value: [tuple(value)], frozenset),
    "deque": (_exactly(deque), lambda value: [list(value), value.maxlen], deque),
    "counter": (_exactly(Counter), lambda value: [dict(value)], Counter),
    "ordered": (_exactly(OrderedDict), lambda value: [list(value.items())], OrderedDict),
}
