# pyright: basic
# any Python value
"""State in Python in a checkpoint: values encoded as tensors, numbers, text and plain containers of them.

A checkpoint is read without running code. So an object that existed before the first step is written as its path. Any
other is written by the name of its class, which has to be known here.
"""

import copyreg
import functools
import warnings
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from itertools import chain, count, cycle, islice, repeat
from typing import Any

import numpy as np
from torch import Tensor, nn

from espalier.core.python_state.copies import ATOMS
from espalier.core.python_state.generators import GeneratorState
from espalier.core.python_state.variables import ABSENT

_MARK = "\0form"  # the first item of a tuple that stands for an encoded value


class Unwritable(Exception):
    """A value of a type that a checkpoint cannot hold, since reading it would run code."""


def encoded(value: object) -> object:
    """Return a value as tensors, numbers, text and plain containers of them. Raises Unwritable.

    >>> decoded(encoded([np.float64(0.5), deque([1], 3), {"a": np.arange(2)}]))
    [np.float64(0.5), deque([1], maxlen=3), {'a': array([0, 1])}]
    """
    return encoded_together({"": value}, {})[""]


def decoded(value: object) -> object:
    """Invert `encoded`."""
    return Decoder({})(value)


def encoded_together(values: Mapping[str, object], names: Mapping[int, str]) -> dict[str, object]:
    """Return values encoded together, so that shared objects stay shared. Raises Unwritable.

    names: by id, the name that is written for an object. Other objects are written by class and state.
    """
    encode = _Encoder(names, frozenset())
    written = {name: encode(value) for name, value in values.items()}
    if encode.again:
        encode = _Encoder(names, frozenset(encode.again))
        written = {name: encode(value) for name, value in values.items()}
    return written


class _Encoder:
    def __init__(self, names: Mapping[int, str], twice: frozenset[int]):
        """twice: the objects that occur more than once, by their number in the order of first occurrence."""
        self._names, self._twice = names, twice
        self._numbers, self._whole = dict[int, int](), set[int]()
        self._held: list[object] = []  # so that their ids are not reused
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
        """Return the five parts of __reduce_ex__: function, arguments, state, items, pairs."""
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
    """Decodes values that were encoded together, with the same names."""

    def __init__(self, objects: Mapping[str, object]):
        """objects: by name."""
        self._objects, self._firsts = objects, dict[int, object]()

    def __call__(self, value: Any) -> Any:
        """Return the value. Raises KeyError if a named object is missing."""
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


def _a(value: object) -> str:
    return f"a {type(value).__module__}.{type(value).__qualname__}"


def _array(kind: str, shape: tuple[int, ...], content: bytes) -> np.ndarray:
    return np.frombuffer(bytearray(content), np.dtype(kind)).reshape(shape)


def _is_form(value: object) -> bool:
    return type(value) is tuple and bool(value) and type(value[0]) is str and value[0] == _MARK


def _is_bytes(value: object) -> bool:
    return type(value) is bytes


def _is_long(value: object) -> bool:
    return type(value) is int and value.bit_length() > 1000


def _is_array(value: object) -> bool:
    return type(value) is np.ndarray and value.dtype.kind in "biufc"


def _is_scalar(value: object) -> bool:
    return isinstance(value, np.generic) and value.dtype.kind in "biufc"


def _array_parts(value: Any) -> list[Any]:
    return [value.dtype.str, value.shape, value.tobytes()]


def _exactly(kind: type) -> Callable[[object], bool]:
    return lambda value: type(value) is kind


_PLAIN = (bool, int, float, complex, str, bytes, list, tuple, dict, set)


def _plain_kind(name: str) -> type:
    return next(kind for kind in _PLAIN if kind.__name__ == name)


def _layer(name: str) -> object:
    layer = getattr(nn, name, None)
    return layer if isinstance(layer, type) and issubclass(layer, nn.Module) else None


_Form = tuple[Callable[[Any], bool], Callable[[Any], Iterable[Any]], Callable[..., Any]]
_FORMS: Mapping[str, _Form] = {
    "absent": (lambda value: value is ABSENT, lambda value: [], lambda: ABSENT),
    "bytes": (_is_bytes, lambda value: [value.decode("latin-1")], lambda text: text.encode("latin-1")),
    "long": (_is_long, lambda value: [hex(value)], lambda text: int(text, 16)),
    "array": (_is_array, _array_parts, _array),
    "scalar": (_is_scalar, _array_parts, lambda *parts: _array(*parts)[()]),
    "generator": (_exactly(GeneratorState), lambda state: [state.kind, state.value], GeneratorState),
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
