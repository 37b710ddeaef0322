# pyright: basic
# any Python value
"""Literals: Python expressions that evaluate to a plain value, for writing it to a file."""

import dataclasses
import inspect
import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

ClassName = Callable[[type], str | None]
"""Returns the name by which an expression may call a class, None if it may not."""


def literal(value: object, class_name: ClassName = lambda kind: None) -> str | None:
    """Return an expression that evaluates to a plain value; None for a value that is not plain.

    class_name: returns the name of a dataclass, whose instances are plain if their fields are.

    >>> literal({"a": [1, (2.5, float("inf"))], "b": None}), literal(object())
    ("{'a': [1, (2.5, float('inf'))], 'b': None}", None)
    """
    kind = type(value)
    if (number := _number(value)) is not None:
        return number
    if value is None or kind in (bool, int, float, str, bytes):
        return repr(value)
    if isinstance(value, Path):
        return f"Path({str(value)!r})"
    if isinstance(value, dict) and kind is dict:
        items = [(literal(key, class_name), literal(inner, class_name)) for key, inner in value.items()]
        return None if any(None in pair for pair in items) else "{" + ", ".join(f"{k}: {v}" for k, v in items) + "}"
    if isinstance(value, list | tuple | set | frozenset) and kind in (list, tuple, set, frozenset):
        ordered = sorted(value, key=repr) if kind in (set, frozenset) else value
        parts = [literal(inner, class_name) for inner in ordered]
        return None if None in parts else _sequence(kind, [part for part in parts if part is not None])
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _constructor_call(value, class_name)
    return None


def _number(value: object) -> str | None:
    """Return the expression of a value whose repr() is not one: inf, complex, numpy's numbers, torch's types."""
    if type(value) is float and not math.isfinite(value):
        return f"float('{value}')"
    if type(value) is complex:
        return f"complex({literal(value.real)}, {literal(value.imag)})"
    if isinstance(value, np.number | np.bool_):
        return literal(value.item())
    if type(value) in (torch.dtype, torch.device):
        return repr(value) if type(value) is torch.dtype else f"torch.{value!r}"
    return None


def _sequence(kind: type, parts: list[str]) -> str:
    inside = ", ".join(parts)
    if kind is list:
        return f"[{inside}]"
    if kind is tuple:
        return f"({inside}{',' if len(parts) == 1 else ''})"
    return f"{kind.__name__}([{inside}])"


def _constructor_call(value: Any, class_name: ClassName) -> str | None:
    """Return the call that makes an equal instance of a dataclass; None where its fields do not determine it."""
    kind, names = type(value), {field.name: None for field in dataclasses.fields(value)}
    if inspect.signature(kind).parameters.keys() != names.keys() or getattr(value, "__dict__", {}).keys() - names:
        return None
    if hasattr(kind, "__post_init__") and not _made_again_is_equal(value):
        return None
    name = class_name(kind)
    fields = {each: literal(getattr(value, each), class_name) for each in names}
    if name is None or None in fields.values():
        return None
    return f"{name}({', '.join(f'{each}={text}' for each, text in fields.items())})"


def _made_again_is_equal(value: Any) -> bool:
    with suppress(Exception):
        return bool(dataclasses.replace(value) == value)
    return False
