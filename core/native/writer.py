"""The lines of a C function: loops over elements, each fused with the previous loop where possible."""

import math
import re
from collections.abc import Callable, Iterable, Sequence

import torch

from espalier.core.native.fusion import Loop, Operation
from espalier.core.native.tensor_refs import TensorRef
from espalier.core.native.workspace import Workspace

BUFFER = re.compile(r"\bw\d+\b")  # its name in a line


class Writer:
    """Writes lines and allocates tensors in a workspace. It is the Emitter of all operations.

    now: the number of the operation being written. depth: how many loops enclose it.
    """

    def __init__(self) -> None:
        self.lines: list[str | Loop] = []
        self.workspace = Workspace()
        self.now, self.depth = 0, 1

    def line(self, text: str) -> None:
        self.lines.append("    " * (self.depth + 1) + text)

    def room(self, dtype: torch.dtype, shape: Sequence[int], strides: Sequence[int] | None = None) -> TensorRef:
        return self.workspace.room(dtype, tuple(shape), None if strides is None else tuple(strides), self.now)

    def loops(self, sizes: Sequence[int], body: Callable[[list[str]], Iterable[str]], free: bool = True) -> None:
        counters = [f"i{self.depth}_{n}" for n in range(len(sizes))]
        for n, (counter, size) in enumerate(zip(counters, sizes, strict=True)):
            if free and n == len(sizes) - 1:
                self.lines.append("#pragma GCC ivdep")
            self.line(f"for (int64_t {counter} = 0; {counter} < {size}; {counter}++) {{")
            self.depth += 1
        for text in body(counters):
            self.line(text)
        for _ in sizes:
            self.depth -= 1
            self.line("}")

    def each(self, out: TensorRef, expression: str, inputs: Sequence[TensorRef | float], dtype: torch.dtype) -> None:
        operation = Operation(out, expression, inputs, dtype)
        if not math.prod(out.shape):
            return
        loop = self.lines[-1] if self.lines else None
        if not (isinstance(loop, Loop) and loop.depth == self.depth and loop.take(operation, self.now)):
            self.lines.append(Loop(self.depth, [operation], self.now))

    def copy(self, out: TensorRef, source: TensorRef | float) -> None:
        self.each(out, "{0}", [source], out.dtype)

    # --- after the last operation ------------------------------------------------------------------------------------

    def keep_alive_in_loops(self) -> None:
        """Extend each buffer's lifetime to the fused loops that use it."""
        for loop in (line for line in self.lines if isinstance(line, Loop)):
            self.workspace.use(loop.pointers, loop.first, loop.last)

    def registers(self) -> set[str]:
        """Return the buffers that a single fused loop uses: their numbers stay in registers."""
        lines_of: dict[str, set[int]] = {}
        for number, line in enumerate(self.lines):
            for name in BUFFER.findall(" ".join(line.pointers) if isinstance(line, Loop) else line):
                lines_of.setdefault(name, set()).add(number)
        return {
            name for name, lines in lines_of.items() if len(lines) == 1 and isinstance(self.lines[min(lines)], Loop)
        }

    def text(self, registers: set[str]) -> str:
        """Return all lines as text. registers: buffers that are not written to memory."""
        return "\n".join("\n".join(line.lines(registers)) if isinstance(line, Loop) else line for line in self.lines)
