"""The workspace of a C function: each buffer has bytes from the first operation that needs it to the last."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from espalier.core.native.tensor_refs import TYPES, NotNative, Shape, TensorRef, contiguous, extent

ALIGNED = 64  # bytes: a cache line


@dataclass
class Buffer:
    """Bytes of the workspace for one tensor. first, last: the first and the last operation that needs it."""

    name: str
    kind: str
    size: int  # bytes
    first: int
    last: int
    offset: int = 0

    def use(self, first: int, last: int) -> None:
        """Extend the buffer's lifetime to these operations."""
        self.first, self.last = min(self.first, first), max(self.last, last)


class Workspace:
    """Buffers by name, w0, w1, ... Two with disjoint lifetimes may share bytes."""

    def __init__(self) -> None:
        self.buffers: dict[str, Buffer] = {}

    def room(self, dtype: torch.dtype, shape: Shape, strides: Shape | None, now: int) -> TensorRef:
        """Allocate a tensor that the operation `now` needs. Raises NotNative for a type without a C counterpart."""
        if dtype not in TYPES:
            raise NotNative(f"numbers of type {dtype}")
        steps = contiguous(shape) if strides is None else strides
        size = -(-max(1, extent(shape, steps)) * dtype.itemsize // ALIGNED) * ALIGNED
        name = f"w{len(self.buffers)}"
        self.buffers[name] = Buffer(name, TYPES[dtype], size, now, now)
        return TensorRef(name, dtype, shape, steps)

    def use(self, pointers: Iterable[str], first: int, last: int) -> None:
        """Extend buffers' lifetimes to these operations. Pointers to anything else are ignored."""
        for pointer in pointers:
            if buffer := self.buffers.get(pointer):
                buffer.use(first, last)

    def without(self, names: set[str]) -> list[Buffer]:
        """Return all buffers except the named ones."""
        return [buffer for buffer in self.buffers.values() if buffer.name not in names]


def lay_out(buffers: Sequence[Buffer]) -> int:
    """Assign an offset to every buffer, disjoint from those alive at the same time. Return the total size in bytes."""
    placed: list[Buffer] = []
    for buffer in sorted(buffers, key=lambda b: (b.first, -b.size)):
        alive = [b for b in placed if b.first <= buffer.last and buffer.first <= b.last]
        offset = 0
        for other in sorted(alive, key=lambda b: b.offset):
            if offset + buffer.size <= other.offset:
                break
            offset = max(offset, other.offset + other.size)
        buffer.offset = offset
        placed.append(buffer)
    return max((b.offset + b.size for b in placed), default=0)
