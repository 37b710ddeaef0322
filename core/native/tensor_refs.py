"""Tensors in generated C: a pointer, a shape and strides.

A view of a tensor (a transpose, an expansion) is another TensorRef with the same pointer.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

Shape = tuple[int, ...]

TYPES: Mapping[torch.dtype, str] = {
    torch.float32: "float",
    torch.float64: "double",
    torch.int64: "int64_t",
    torch.int32: "int32_t",
    torch.int16: "int16_t",
    torch.int8: "int8_t",
    torch.uint8: "uint8_t",
    torch.bool: "bool",
}
REALS = (torch.float32, torch.float64)


class NotNative(Exception):
    """The operations cannot be written in C, or not compiled on this machine."""


@dataclass(frozen=True)
class TensorRef:
    """A tensor in C: the element at counters i is pointer[offset + sum(i * strides)]."""

    pointer: str
    dtype: torch.dtype
    shape: Shape
    strides: Shape
    offset: int = 0

    @property
    def kind(self) -> str:
        """The type's name in C."""
        return TYPES[self.dtype]

    def seen_as(self, shape: Sequence[int]) -> "TensorRef":
        """Return the tensor broadcast to a shape."""
        new = len(shape) - len(self.shape)
        strides = [0] * new + [
            0 if have == 1 else stride for have, stride in zip(self.shape, self.strides, strict=True)
        ]
        return replace(self, shape=tuple(shape), strides=tuple(strides))

    def axes(self, which: Sequence[int]) -> "TensorRef":
        """Return the tensor with the chosen axes, in their given order."""
        return replace(self, shape=tuple(self.shape[i] for i in which), strides=tuple(self.strides[i] for i in which))

    def at(self, counters: Sequence[str], more: str = "") -> str:
        """Return the C expression of the element at `counters`, one an axis. more: is added to its index."""
        parts = [f"{c} * {s}" if s != 1 else c for c, s in zip(counters, self.strides, strict=True) if s]
        parts += [str(self.offset)] * bool(self.offset) + [more] * bool(more)
        return f"{self.pointer}[{' + '.join(parts) or '0'}]"


def contiguous(shape: Sequence[int]) -> Shape:
    """Return the strides of a contiguous tensor."""
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))


def extent(shape: Sequence[int], strides: Sequence[int]) -> int:
    """Return how many numbers of memory a tensor spans, from its first to its last."""
    return 1 + sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) if math.prod(shape) else 0


def literal(value: float, dtype: torch.dtype) -> str:
    """Return a number as a C literal."""
    if dtype == torch.bool:
        return str(int(bool(value)))
    if dtype not in REALS:
        return f"{int(value)}LL"
    value = float(value)
    if math.isnan(value):
        return '__builtin_nan("")'
    if math.isinf(value):
        return f"({'-' if value < 0 else ''}__builtin_inf())"
    text = repr(value)
    return f"({text}{'f' if dtype == torch.float32 else ''})"
