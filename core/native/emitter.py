"""Types that all operations share: their arguments, their C expression, and the Emitter that they write C with."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import torch

from espalier.core.native.tensor_refs import TensorRef

Arguments = Mapping[str, Any]
"""An operation's arguments by the names in its schema: a tensor is a TensorRef, and anything else what torch takes."""
Expression = tuple[str, tuple[str, ...]]
"""One element of the result in C, and the names of the arguments that {0}, {1} ... stand for in it."""


class Emitter(Protocol):
    """Writes C, statement by statement."""

    @property
    def depth(self) -> int:
        """The nesting depth of loops at the next statement."""
        ...

    def line(self, text: str) -> None:
        """Write a line."""
        ...

    def room(self, dtype: torch.dtype, shape: Sequence[int], strides: Sequence[int] | None = None) -> TensorRef:
        """Allocate a tensor in the workspace. Raises NotNative for a type without a C counterpart."""
        ...

    def loops(self, sizes: Sequence[int], body: Callable[[list[str]], Iterable[str]], free: bool = True) -> None:
        """Write nested loops around a body, a function from the counters' names to lines of C.

        free: whether the iterations of the innermost loop are independent of each other.
        """
        ...

    def each(self, out: TensorRef, expression: str, inputs: Sequence[TensorRef | float], dtype: torch.dtype) -> None:
        """Write `out = expression` for each element; {0}, {1} ... stand for the inputs, cast to a type."""
        ...

    def copy(self, out: TensorRef, source: TensorRef | float) -> None:
        """Write a copy of a tensor, or of one number, into `out`."""
        ...


Emit = Callable[[Emitter, TensorRef, Arguments], None]
"""Writes an operation's result into a tensor. Raises NotNative for arguments that it has no C for."""
EmitAll = Callable[[Emitter, Sequence[TensorRef], Arguments], None]
"""The same of an operation that returns several tensors."""
