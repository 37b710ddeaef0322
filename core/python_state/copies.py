# pyright: basic
# any Python value
"""Copies of state: which parts of a value are copied, which stay shared, and what is too large to copy.

Copies are made where trials fork, and of the initial state of a new trial.
"""

import copy
import functools
import types
import warnings
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from contextvars import ContextVar
from enum import Enum
from typing import Any

import numpy as np
from torch import Tensor, nn

from espalier.core.python_state.generators import GENERATORS
from espalier.core.python_state.variables import ABSENT, as_plain_container, contents_of

MOST_COPIED = 100_000  # items of containers; changes of a larger one are detected, but trials share it
MOST_NUMBERS = 4_000_000  # numbers of a tensor or an array, likewise
UNKEPT = object()  # stands for a value that cannot be copied for each trial
ATOMS = (bool, int, float, complex, str, bytes, type(None))
_CONTAINERS = (list, tuple, dict, set, frozenset, deque, Counter, defaultdict, OrderedDict)
_BY_NAME = (type, types.FunctionType, types.BuiltinFunctionType, Enum)  # immutable: a copy is the object itself
_ITERATORS = tuple(type(iter(each)) for each in ([], (), "", range(0), range(2**70)))  # views of immutable objects
_NUMERIC = "biufc"  # numpy's kinds of numbers: booleans, integers, floats, complex

Memo = MutableMapping[int, Any]
"""As that of copy.deepcopy, by the ids of objects: what stays itself in a copy, and what has been copied already."""


def has_identity(value: object) -> bool:
    """Whether copies share this object, if it existed before the first step: its attributes are variables of their own.

    Any other value is part of the contents of the variable that holds it.
    """
    plain = (*ATOMS, *_CONTAINERS, Tensor, np.ndarray, np.generic, *GENERATORS.values(), functools.partial, ContextVar)
    whole = isinstance(value, plain) or hasattr(value, "cache_info") or is_opaque(value)
    return isinstance(value, nn.Parameter) or not whole


def is_opaque(value: object) -> bool:
    """Whether an object has no attributes in Python: an iterator, a lock, an array of bytes."""
    if isinstance(value, (*_BY_NAME, types.ModuleType, types.MethodType)):
        return False
    return not hasattr(value, "__dict__") and not any(getattr(base, "__slots__", ()) for base in type(value).__mro__)


def copied(value: object, memo: Memo | None = None) -> object:
    """Return a copy of the result of `Variable.contents`; a part that cannot be copied stays shared."""
    if value is ABSENT or isinstance(value, ATOMS):
        return value
    memo = {} if memo is None else memo
    memo.update(_parameters_in(value))
    with suppress(Exception):
        return _deep_copy(value, memo)
    return value


def copied_if_small(value: object, memo: Memo) -> object:
    """Return a copy of a variable's `contents`; UNKEPT if trials have to share it.

    memo: the objects that stay shared, as of copy.deepcopy.
    """
    if value is ABSENT:
        return ABSENT
    refilled = isinstance(value, list | deque | dict | set)  # a user's subclass of dict keeps its type
    if _size(as_plain_container(value) if refilled else value, memo) > MOST_COPIED:
        return UNKEPT
    contents = contents_of(value)
    memo.update(_parameters_in(contents))
    with suppress(Exception):
        return contents if isinstance(contents, ATOMS) else _deep_copy(contents, memo)
    return UNKEPT


def _deep_copy(value: object, memo: Memo) -> object:
    if type(value) is list and _is_flat(value):
        return list(value)
    if type(value) is Tensor:
        if id(value) not in memo:
            memo[id(value)] = value.detach().clone()
            memo.setdefault(id(memo), []).append(value)  # as deepcopy does: keeps it alive, and its id in use
        return memo[id(value)]
    return copy.copy(value) if isinstance(value, _ITERATORS) else copy.deepcopy(value, memo)  # type: ignore[arg-type]


def _is_flat(values: list[object] | tuple[object, ...]) -> bool:
    return all(type(each) in ATOMS for each in values)


def _parameters_in(value: object, depth: int = 0) -> dict[int, nn.Parameter]:
    """Return the parameters inside containers by their ids: an optimizer's state refers to them, not to copies."""
    if isinstance(value, nn.Parameter):
        return {id(value): value}
    parameters: dict[int, nn.Parameter] = {}
    if isinstance(value, dict | list | tuple | set | deque) and depth < 8:
        for each in (*value.keys(), *value.values()) if isinstance(value, dict) else value:
            if not isinstance(each, ATOMS):
                parameters |= _parameters_in(each, depth + 1)
    return parameters


def _size(value: object, same: Mapping[int, object], depth: int = 0) -> float:
    """Return how many values a copy would have, with less weight for a tensor's; infinity if it should not be copied.

    same: by id, the objects that a copy shares.
    """
    if isinstance(value, (*ATOMS, *GENERATORS.values(), *_ITERATORS)) or value is ABSENT or id(value) in same:
        return 1
    if isinstance(value, Tensor):
        return value.numel() * MOST_COPIED / MOST_NUMBERS
    if isinstance(value, np.ndarray | np.generic):
        return value.size * MOST_COPIED / MOST_NUMBERS if value.dtype.kind in _NUMERIC else float("inf")
    if depth > 8:
        return float("inf")
    if isinstance(value, _BY_NAME):
        return 1
    if isinstance(value, _CONTAINERS):
        return _size_of_container(value, same, depth)
    parts = _reduced_parts(value) if is_opaque(value) or isinstance(value, functools.partial) else None
    return float("inf") if parts is None else _size(parts, same, depth + 1)


def _size_of_container(value: Any, same: Mapping[int, object], depth: int) -> float:
    if len(value) > MOST_COPIED or (isinstance(value, list | tuple) and _is_flat(value)):
        return len(value)
    total = 0.0
    for each in [*value.keys(), *value.values()] if isinstance(value, dict) else value:
        total += _size(each, same, depth + 1)
        if total > MOST_COPIED:
            break
    return total


def _reduced_parts(value: object) -> list[object] | None:
    """Return the parts of an iterator and the like by __reduce__, as pickle does; None without it."""
    with suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reduced = value.__reduce_ex__(4)
        return [] if isinstance(reduced, str) else [part for part in reduced[1:3] if part is not None]
    return None
