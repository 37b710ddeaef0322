"""Loop fusion: consecutive operations over the same elements become one loop.

Each number is read once and written once. A buffer that only one loop uses is not written to memory at all.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch

from espalier.core.native.tensor_refs import REALS, TYPES, TensorRef, literal

LONG = 128  # elements: an inner loop long enough to outweigh its head and tail, which fill no vector
MOST = 32  # the most operations in one loop


def merged(shape: Sequence[int], strides: Sequence[Sequence[int]]) -> tuple[list[int], list[list[int]]]:
    """Merge the axes of tensors of one shape into fewer, longer loops; return their sizes and each tensor's strides.

    Loops are sorted by the first tensor's strides. Axes of length one are left out. Two axes merge where every tensor
    is contiguous across both.
    """
    axes = [i for i, size in enumerate(shape) if size != 1]
    axes.sort(key=lambda i: -strides[0][i])
    sizes: list[int] = []
    steps: list[list[int]] = [[] for _ in strides]
    for i in axes:
        if sizes and all(own[-1] == stride[i] * shape[i] for own, stride in zip(steps, strides, strict=True)):
            sizes[-1] *= shape[i]
            for own, stride in zip(steps, strides, strict=True):
                own[-1] = stride[i]
        else:
            sizes.append(shape[i])
            for own, stride in zip(steps, strides, strict=True):
                own.append(stride[i])
    return sizes, steps


@dataclass
class Operation:
    """`out = expression` for each element; {0}, {1} ... stand for the inputs, as numbers of a type."""

    out: TensorRef
    expression: str
    inputs: Sequence[TensorRef | float]
    dtype: torch.dtype

    def __post_init__(self) -> None:
        """Broadcast the inputs to the output's shape, and drop axes of length one."""
        axes = [i for i, size in enumerate(self.out.shape) if size != 1]
        inputs = [x.seen_as(self.out.shape).axes(axes) if isinstance(x, TensorRef) else x for x in self.inputs]
        self.out, self.inputs = self.out.axes(axes), inputs

    @property
    def refs(self) -> list[TensorRef]:
        """The tensors written and read."""
        return [self.out, *(x for x in self.inputs if isinstance(x, TensorRef))]

    @property
    def plain(self) -> bool:
        """Whether all tensors have one floating-point type."""
        return self.dtype in REALS and {ref.dtype for ref in self.refs} == {self.dtype}


@dataclass
class Loop:
    """Operations over the same elements; `depth`: how many loops enclose them."""

    depth: int
    operations: list[Operation]
    first: int  # the numbers of its first and its last operation in the function
    last: int = 0
    sizes: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.sizes, _ = self._merged(self.operations)
        self.last = self.first

    @staticmethod
    def _merged(operations: Sequence[Operation]) -> tuple[list[int], list[list[int]]]:
        shape = operations[0].out.shape
        return merged(shape, [ref.strides for operation in operations for ref in operation.refs])

    def take(self, operation: Operation, now: int) -> bool:
        """Add an operation if the results stay the same and the inner loop stays long; return whether it was added."""
        first = self.operations[0]
        alike = operation.out.shape == first.out.shape and operation.dtype == first.dtype
        if not (alike and operation.plain and first.plain and len(self.operations) < MOST):
            return False
        before = [ref for other in self.operations for ref in other.refs]
        written = {other.out.pointer for other in self.operations}
        looked = [ref for ref in operation.refs if ref is operation.out or ref.pointer in written]
        if any(ref.pointer == other.pointer and ref != other for ref in looked for other in before):
            return False
        sizes, _ = self._merged([*self.operations, operation])
        own, _ = self._merged([operation])
        if sizes and sizes[-1] < min(LONG, max(self.sizes[-1], own[-1])):
            return False
        self.operations.append(operation)
        self.sizes, self.last = sizes, now
        return True

    @property
    def pointers(self) -> list[str]:
        """The pointers that it reads and writes."""
        return [ref.pointer for operation in self.operations for ref in operation.refs]

    def lines(self, registers: Collection[str]) -> Iterator[str]:
        """Yield its C. registers: buffers that no other code uses; they stay in registers."""
        sizes, strides = self._merged(self.operations)
        steps = iter(strides)
        counters = [f"i{self.depth}_{n}" for n in range(len(sizes))]
        for n, (counter, size) in enumerate(zip(counters, sizes, strict=True)):
            if n == len(sizes) - 1:
                yield "#pragma GCC ivdep"
            yield f"for (int64_t {counter} = 0; {counter} < {size}; {counter}++) {{"
        yield "{"
        values: dict[str, str] = {}  # of elements, by name
        left: dict[str, str] = {}  # to be written to memory
        for number, operation in enumerate(self.operations):
            elements = [replace(ref, strides=tuple(next(steps))).at(counters) for ref in operation.refs]
            operands: list[str] = []
            rest = iter(elements[1:])
            for value in operation.inputs:
                if not isinstance(value, TensorRef):
                    operands.append(literal(value, operation.dtype))
                    continue
                element = next(rest)
                if element not in values:
                    values[element] = f"x{len(values)}"
                    yield f"const {value.kind} {values[element]} = {element};"
                name = values[element]
                if value.dtype != operation.dtype:
                    to_bool = operation.dtype == torch.bool
                    name = f"({name} != 0)" if to_bool else f"({TYPES[operation.dtype]}){name}"
                operands.append(name)
            real = "f" if operation.dtype == torch.float32 else ""
            yield f"const {operation.out.kind} y{number} = {operation.expression.format(*operands, f=real)};"
            values[elements[0]] = f"y{number}"
            if operation.out.pointer not in registers:
                left[elements[0]] = f"y{number}"
        yield from (f"{element} = {name};" for element, name in left.items())
        yield "}"
        yield from "}" * len(sizes)
