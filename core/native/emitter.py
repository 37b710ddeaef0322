"""What all operations share: what one is given, what it is in C, and what it writes its C with."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import torch

from espalier.core.native.tensor_refs import TensorRef

Arguments = Mapping[str, Any]
"""An operation's arguments by the names in its schema: a tensor is a TensorRef, and anything else what torch takes."""
Expression = tuple[str, tuple[str, ...]]
"""One element of the result in C, and the names of the arguments that {0}, {1} ... stand for in it."""


class Emitter(Protocol):
    """Writes C, one statement after the other."""

    @property
    def depth(self) -> int:
        """How many loops are around what is written next."""
        ...

    def line(self, text: str) -> None:
        """Write a line."""
        ...

    def room(self, dtype: torch.dtype, shape: Sequence[int], strides: Sequence[int] | None = None) -> TensorRef:
        """Return a new tensor in the workspace. Raises NotNative for a type that C has not."""
        ...

    def loops(self, sizes: Sequence[int], body: Callable[[list[str]], Iterable[str]], free: bool = True) -> None:
        """Write nested loops around a body, which is called with the names of their counters and returns lines.

        free: whether no turn of the innermost loop needs another.
        """
        ...

    def each(self, out: TensorRef, expression: str, inputs: Sequence[TensorRef | float], dtype: torch.dtype) -> None:
        """Write `out = expression` for each element; {0}, {1} ... stand for the inputs, as numbers of a type."""
        ...

    def copy(self, out: TensorRef, source: TensorRef | float) -> None:
        """Write a copy of a tensor, or of one number, into `out`."""
        ...


Emit = Callable[[Emitter, TensorRef, Arguments], None]
"""Writes an operation's result into a tensor. Raises NotNative for arguments that it has no C for."""
EmitAll = Callable[[Emitter, Sequence[TensorRef], Arguments], None]
"""The same of an operation that returns several tensors."""
