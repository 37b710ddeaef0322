"""Loops over the elements of tensors: operations that follow one another over the same elements become one loop.

Each number is read from memory once and written once; what no other line looks at is not written at all.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch

from espalier.core.native.tensor_refs import REALS, TYPES, Place, literal

LONG = 128  # elements: an inner loop that is worth its beginning and its end, which fill no vector
MOST = 32  # operations of one loop


def merged(shape: Sequence[int], places: Sequence[Sequence[int]]) -> tuple[list[int], list[list[int]]]:
    """Return fewer and longer loops over the same elements: the sizes, and the strides of each place.

    Axes go by the first place's strides; those of length one fall away, and those that follow one another in every
    place become one.
    """
    axes = [i for i, size in enumerate(shape) if size != 1]
    axes.sort(key=lambda i: -places[0][i])
    sizes: list[int] = []
    strides: list[list[int]] = [[] for _ in places]
    for i in axes:
        if sizes and all(steps[-1] == place[i] * shape[i] for steps, place in zip(strides, places, strict=True)):
            sizes[-1] *= shape[i]
            for steps, place in zip(strides, places, strict=True):
                steps[-1] = place[i]
        else:
            sizes.append(shape[i])
            for steps, place in zip(strides, places, strict=True):
                steps.append(place[i])
    return sizes, strides


@dataclass
class Operation:
    """`out = expression` for each element; {0}, {1} ... stand for the inputs, as numbers of a type."""

    out: Place
    expression: str
    inputs: Sequence[Place | float]
    dtype: torch.dtype

    def __post_init__(self) -> None:
        """Let the inputs have the axes of what is written, and all of them none of length one."""
        axes = [i for i, size in enumerate(self.out.shape) if size != 1]
        inputs = [x.seen_as(self.out.shape).axes(axes) if isinstance(x, Place) else x for x in self.inputs]
        self.out, self.inputs = self.out.axes(axes), inputs

    @property
    def places(self) -> list[Place]:
        """What is written, and what is read."""
        return [self.out, *(x for x in self.inputs if isinstance(x, Place))]

    @property
    def plain(self) -> bool:
        """Whether all of it is of one type of real numbers."""
        return self.dtype in REALS and {place.dtype for place in self.places} == {self.dtype}


@dataclass
class Loop:
    """Operations over the same elements; `depth` of the loops around them."""

    depth: int
    operations: list[Operation]
    first: int  # of the list's operations, from which on its places are looked at
    last: int = 0
    sizes: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.sizes, _ = self._merged(self.operations)
        self.last = self.first

    @staticmethod
    def _merged(operations: Sequence[Operation]) -> tuple[list[int], list[list[int]]]:
        shape = operations[0].out.shape
        return merged(shape, [place.strides for operation in operations for place in operation.places])

    def take(self, operation: Operation, now: int) -> bool:
        """Take one more operation if that changes nothing of what is computed, and the loop stays long."""
        first = self.operations[0]
        alike = operation.out.shape == first.out.shape and operation.dtype == first.dtype
        if not (alike and operation.plain and first.plain and len(self.operations) < MOST):
            return False
        before = [place for other in self.operations for place in other.places]
        written = {other.out.pointer for other in self.operations}
        looked = [place for place in operation.places if place is operation.out or place.pointer in written]
        if any(place.pointer == other.pointer and place != other for place in looked for other in before):
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
        """Where it reads and writes."""
        return [place.pointer for operation in self.operations for place in operation.places]

    def lines(self, unseen: Collection[str]) -> Iterator[str]:
        """Yield its C. unseen: pointers to what nobody else looks at."""
        sizes, strides = self._merged(self.operations)
        steps = iter(strides)
        counters = [f"i{self.depth}_{n}" for n in range(len(sizes))]
        for n, (counter, size) in enumerate(zip(counters, sizes, strict=True)):
            if n == len(sizes) - 1:
                yield "#pragma GCC ivdep"
            yield f"for (int64_t {counter} = 0; {counter} < {size}; {counter}++) {{"
        yield "{"
        values: dict[str, str] = {}  # of elements, by name
        left: dict[str, str] = {}  # those to be written
        for number, operation in enumerate(self.operations):
            elements = [replace(place, strides=tuple(next(steps))).at(counters) for place in operation.places]
            given, rest = [], iter(elements[1:])
            for value in operation.inputs:
                if not isinstance(value, Place):
                    given.append(literal(value, operation.dtype))
                    continue
                element = next(rest)
                if element not in values:
                    values[element] = f"x{len(values)}"
                    yield f"const {value.kind} {values[element]} = {element};"
                name = values[element]
                if value.dtype != operation.dtype:
                    to_bool = operation.dtype == torch.bool
                    name = f"({name} != 0)" if to_bool else f"({TYPES[operation.dtype]}){name}"
                given.append(name)
            real = "f" if operation.dtype == torch.float32 else ""
            yield f"const {operation.out.kind} y{number} = {operation.expression.format(*given, f=real)};"
            values[elements[0]] = f"y{number}"
            if operation.out.pointer not in unseen:
                left[elements[0]] = f"y{number}"
        yield from (f"{element} = {name};" for element, name in left.items())
        yield "}"
        yield from "}" * len(sizes)
