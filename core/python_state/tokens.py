# pyright: basic
# any Python value
"""Tokens: what represents a value in a snapshot. Two tokens of a value are equal if it has not changed.

A container's token is its type and its length, since its items have tokens of their own.
"""

import hashlib
import random
import types
import warnings
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor

from espalier.core.python_state.copies import ATOMS, MOST_COPIED, is_opaque

MOST_ITEMS = 500  # the most items of a list or dictionary; a longer one is sampled evenly
_DEEPEST = 8  # nesting levels of the parts of an opaque object


@dataclass(frozen=True)
class TensorToken:
    """A tensor, held so that its contents can be compared later; small ones are copied."""

    tensor: Tensor
    copied: Tensor | None
    version: int

    @classmethod
    def of(cls, tensor: Tensor) -> "TensorToken":
        """Return the token of a tensor's present contents."""
        plain = tensor.detach()
        copied = plain.clone() if tensor.numel() <= MOST_COPIED else None
        return cls(plain, copied, 0 if tensor.is_inference() else tensor._version)

    def equals(self, other: "TensorToken") -> bool:
        """Whether both hold the same numbers; for a large tensor, whether it was not written to in between."""
        if self.copied is not None and other.copied is not None:
            return _same_numbers(self.copied, other.copied)
        moved = self.tensor.data_ptr() != other.tensor.data_ptr()
        return _same_numbers(self.tensor, other.tensor) if moved else self.version == other.version


Token = tuple[object, ...] | TensorToken
"""What stands for a value. A tuple begins with a word for the kind."""


def token(value: Any) -> Token:
    """Return the token of a value."""
    if isinstance(value, float):
        return "float", value.hex() if value != value else value
    if isinstance(value, ATOMS):
        return type(value).__name__, value
    if isinstance(value, Tensor):
        return TensorToken.of(value)
    if isinstance(value, types.FunctionType):
        return "function", value.__code__
    if isinstance(value, type | types.BuiltinFunctionType | types.ModuleType | Enum):
        return "one of a kind", id(value)
    if isinstance(value, np.ndarray):
        sample = value.reshape(-1)[:: max(1, value.size // MOST_COPIED)]
        return "array", value.shape, hashlib.sha256(np.ascontiguousarray(sample).tobytes()).hexdigest()
    if isinstance(value, torch.Generator):
        return TensorToken.of(value.get_state())
    if (state := _random_state(value)) is not None:
        return "random", state
    if isinstance(value, set | frozenset):
        return "set", len(value), [repr(each) for each in islice(sorted(value, key=repr), MOST_ITEMS)]
    if is_mapping(value) or isinstance(value, list | tuple | deque):
        return type(value).__name__, len(value)
    if hasattr(value, "cache_info"):
        return "cache", value.cache_info().currsize
    if isinstance(value, types.GeneratorType):
        return "generator", value.gi_frame.f_lasti if value.gi_frame else None
    return type(value).__name__, _reduced(value) if is_opaque(value) else None


def equal(a: Token, b: Token) -> bool:
    """Whether two tokens represent the same value."""
    if isinstance(a, TensorToken) and isinstance(b, TensorToken):
        return a.equals(b)
    return a == b


def is_number(token: Token) -> bool:
    """Whether a token represents a number, or an array or tensor of numbers."""
    return isinstance(token, TensorToken) or token[0] in ("int", "float", "complex", "array")


def counts_up(before: Token | None, after: Token | None) -> bool:
    """Whether a number has grown by one."""
    first, second = _number(before), _number(after)
    return first is not None and second is not None and second - first == 1


def _number(token: Token | None) -> float | None:
    """Return the number that a token represents; None for any other value."""
    if isinstance(token, tuple) and token[0] in ("int", "float"):
        return float(token[1])  # type: ignore[arg-type]
    return None


def is_mapping(value: object) -> TypeGuard[Mapping[object, object]]:
    """Whether a mapping's state is its items, and not its attributes as for a ChainMap."""
    return isinstance(value, dict) or (isinstance(value, Mapping) and is_opaque(value))


def _random_state(value: object) -> object:
    """Return the state of a generator of Python or numpy; None for any other value."""
    if isinstance(value, random.Random):
        return value.getstate()
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if isinstance(value, np.random.RandomState):
        return repr(value.get_state(legacy=False))
    return None


def _reduced(value: object, depth: int = 0) -> object:
    """Return what distinguishes two states of an iterator, a bytearray and the like."""
    if isinstance(value, list | tuple) and depth < _DEEPEST:
        return [_reduced(each, depth + 1) for each in value[:MOST_ITEMS]]
    if not is_opaque(value) or isinstance(value, ATOMS) or depth == _DEEPEST:
        return repr(value)[:1000] if isinstance(value, ATOMS) else None
    if (length := getattr(value, "__length_hint__", None)) is not None:
        return length()
    with warnings.catch_warnings(), suppress(Exception):
        warnings.simplefilter("ignore")
        parts = value.__reduce_ex__(4)
        return parts if isinstance(parts, str) else [_reduced(part, depth + 1) for part in parts]
    return None  # an object that __reduce__ refuses


def _same_numbers(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype or a.layout != b.layout:
        return False
    a, b = (t.to_dense() if t.layout != torch.strided else t for t in (a, b))
    return same_values(a, b)


def same_values(a: Tensor, b: Tensor) -> bool:
    """Whether two dense tensors of one dtype hold the same numbers; NaN equals NaN."""
    return torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0)) if a.is_floating_point() else torch.equal(a, b)
