"""A list of tensor operations, written down as a function in C: one lane after the other.

Shapes are constants in it, and a lane's tensors share a workspace small enough for the processor's own cache.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any, cast

import torch
from torch import Tensor, fx
from torch.fx.node import map_arg

from espalier.core.native.fusion import Loop, Operation, merged
from espalier.core.native.matmul import Product
from espalier.core.native.operations import EACH, SPECIAL
from espalier.core.native.tensor_refs import REALS, TYPES, NotNative, Place, Shape, contiguous, literal

ALIGNED = 64  # bytes: a line of the cache
VIEWS = ("_unsafe_view", "unsafe_split", "unsafe_split_with_sizes", "lift_fresh")  # which do not say that they are

HEAD = """\
#include <stdbool.h>
#include <stdint.h>
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")
#ifdef VECTOR_MATH
#define WHOLE __attribute__((simd("notinbranch")))
#else
#define WHOLE
#endif
"""
FUNCTIONS = ("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "tanh", "sin", "cos", "erf", "pow")


def _head() -> str:
    """Return what every source begins with: declarations of functions that the C library has for whole vectors too."""
    lines = [HEAD]
    for name in FUNCTIONS:
        for kind, suffix in (("float", "f"), ("double", "")):
            takes = ", ".join([kind] * (2 if name == "pow" else 1))
            lines.append(f"WHOLE {kind} {name}{suffix}({takes});")
    vectors, kernels = (
        resources.files("espalier.core.native").joinpath(name).read_text() for name in ("vectors.h", "kernels.h")
    )
    lines.append(vectors)
    for kind, bits in (("float", "int32_t"), ("double", "int64_t")):
        lines += [f"#define REAL {kind}", f"#define BITS {bits}", f"#define NAME(what) what##_{kind}", kernels]
    return "\n".join(lines)


@dataclass
class Buffer:
    """Room for a tensor in the workspace, from one operation of the list to another."""

    name: str
    kind: str
    size: int  # bytes
    first: int
    last: int
    place: int = 0


@dataclass(frozen=True)
class Argument:
    """A tensor that the function is called with: which axis counts lanes (None: the same for all), and what it is.

    stepped: whether each step has one of its own, one after the other along an axis before all others.
    """

    lanes: int | None
    stepped: bool
    shape: Shape
    strides: Shape
    dtype: torch.dtype


class Writer:
    """Writes the function, one operation after the other."""

    def __init__(self, graph: fx.Graph, arguments: Sequence[Argument]):
        """Write the operations of `graph`, whose placeholders are the arguments. Raises NotNative."""
        self.lines: list[str | Loop] = []
        self.buffers: list[Buffer] = []
        self.places: dict[fx.Node, Any] = {}
        self.constants: list[Tensor] = []
        self.arguments, self.now, self.depth = arguments, 0, 1
        self.outputs: list[Place] = []
        nodes = list(graph.nodes)
        self.direct = _asked_for(nodes)
        for self.now, node in enumerate(nodes):
            self._operation(node)
        self._keep_alive(nodes)

    # --- what is written ------------------------------------------------------------------------------------------

    def source(self) -> tuple[str, int]:
        """Return the whole source, and how many bytes of workspace the function needs."""
        unseen = self._unseen()
        self.buffers = [buffer for buffer in self.buffers if buffer.name not in unseen]
        room = self._lay_out()
        arguments = [
            f"{TYPES[a.dtype]} *const a{i} = ({TYPES[a.dtype]} *)tensors[{i}]{_begin(a)};"
            for i, a in enumerate(self.arguments)
        ]
        more = [
            f"{TYPES[t.dtype]} *const k{i} = ({TYPES[t.dtype]} *)tensors[{len(self.arguments) + i}];"
            for i, t in enumerate(self.constants)
        ]
        work = [f"{b.kind} *const {b.name} = ({b.kind} *)(workspace + {b.place});" for b in self.buffers]
        body = "\n".join(f"        {line}" for line in [*arguments, *more, *work])
        lines = "\n".join("\n".join(line.lines(unseen)) if isinstance(line, Loop) else line for line in self.lines)
        return (
            f"{_head()}\n"
            "int64_t run(const int64_t first, const int64_t lanes, const int64_t steps, void *const *tensors,\n"
            "            void *const *outputs, char *workspace) {\n"
            "    for (int64_t lane = first; lane < lanes; lane++) for (int64_t step = 0; step < steps; step++) {\n"
            f"{body}\n{lines}\n    }}\n    return 0;\n}}\n"
        ), room

    def _unseen(self) -> set[str]:
        """Return the buffers that one loop alone looks at: their numbers need no place but the processor's own."""
        where: dict[str, set[int]] = {}
        for number, line in enumerate(self.lines):
            for name in re.findall(r"\bw\d+\b", " ".join(line.pointers) if isinstance(line, Loop) else line):
                where.setdefault(name, set()).add(number)
        return {name for name, at in where.items() if len(at) == 1 and isinstance(self.lines[min(at)], Loop)}

    def _lay_out(self) -> int:
        """Give every buffer a place in the workspace that nobody else has at the time; return the bytes it needs."""
        laid: list[Buffer] = []
        for buffer in sorted(self.buffers, key=lambda b: (b.first, -b.size)):
            beside = sorted(
                (b for b in laid if b.first <= buffer.last and buffer.first <= b.last), key=lambda b: b.place
            )
            place = 0
            for other in beside:
                if place + buffer.size <= other.place:
                    break
                place = max(place, other.place + other.size)
            buffer.place = place
            laid.append(buffer)
        return max((b.place + b.size for b in laid), default=0)

    def _keep_alive(self, nodes: Sequence[fx.Node]) -> None:
        """Let each buffer live until the last operation that looks at it, in whatever way."""
        by_name = {buffer.name: buffer for buffer in self.buffers}
        for at, node in enumerate(nodes):
            for used in node.all_input_nodes:
                places = self.places.get(used)
                for place in places if isinstance(places, list) else [places]:
                    if isinstance(place, Place) and place.pointer in by_name:
                        buffer = by_name[place.pointer]
                        buffer.last = max(buffer.last, at)
        for loop in (line for line in self.lines if isinstance(line, Loop)):
            for pointer in loop.pointers:
                if buffer := by_name.get(pointer):
                    buffer.first, buffer.last = min(buffer.first, loop.first), max(buffer.last, loop.last)

    def line(self, text: str) -> None:
        """Write a line."""
        self.lines.append("    " * (self.depth + 1) + text)

    def room(self, dtype: torch.dtype, shape: Sequence[int], strides: Sequence[int] | None = None) -> Place:
        """Return a new place in the workspace."""
        if dtype not in TYPES:
            raise NotNative(f"numbers of type {dtype}")
        steps = tuple(strides) if strides is not None else contiguous(shape)
        numbers = 1 + sum((size - 1) * step for size, step in zip(shape, steps, strict=True)) if math.prod(shape) else 0
        size = -(-max(1, numbers) * dtype.itemsize // ALIGNED) * ALIGNED
        self.buffers.append(Buffer(f"w{len(self.buffers)}", TYPES[dtype], size, self.now, self.now))
        return Place(self.buffers[-1].name, dtype, tuple(shape), steps)

    def loops(self, sizes: Sequence[int], body: Callable[[list[str]], Iterable[str]], free: bool = True) -> None:
        """Write nested loops around a body that takes the counters. free: no turn of the inner one needs another."""
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

    def each(self, out: Place, expression: str, inputs: Sequence[Place | float], dtype: torch.dtype) -> None:
        """Write `out = expression` for each element; {0}, {1} ... stand for the inputs, as numbers of a type."""
        operation = Operation(out, expression, inputs, dtype)
        if not math.prod(out.shape):
            return
        loop = self.lines[-1] if self.lines else None
        if not (isinstance(loop, Loop) and loop.depth == self.depth and loop.take(operation, self.now)):
            self.lines.append(Loop(self.depth, [operation], self.now))

    def copy(self, out: Place, source: Place | float) -> None:
        """Write a copy, of other numbers or of one number."""
        self.each(out, "{0}", [source], out.dtype)

    # --- operations -----------------------------------------------------------------------------------------------

    def _operation(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            self.places[node] = self._argument(len(self.places))
        elif node.op == "get_attr":
            tensor = getattr(node.graph.owning_module, str(node.target)).detach().contiguous()
            self.constants.append(tensor)
            self.places[node] = Place(f"k{len(self.constants) - 1}", tensor.dtype, tuple(tensor.shape), tensor.stride())
        elif node.op == "output":
            self._return(node)
        else:
            self.places[node] = self._call(node)

    def _argument(self, i: int) -> Place:
        argument = self.arguments[i]
        if argument.dtype not in TYPES:
            raise NotNative(f"numbers of type {argument.dtype}")
        if argument.lanes != 1:
            return Place(f"a{i}", argument.dtype, argument.shape, argument.strides)
        own = self.room(argument.dtype, argument.shape)  # a lane's numbers lie far apart: gather them
        self.line(
            f"for (int64_t i = 0; i < {math.prod(argument.shape)}; i++) {own.pointer}[i] = a{i}[i * lanes + lane];"
        )
        return own

    def _return(self, node: fx.Node) -> None:
        direct = {i for outputs in self.direct.values() for i in outputs}
        returned: Any = node.args[0]
        for i, value in enumerate(returned):
            place = self.places[value]
            if i not in direct:
                self._give(i, place)
            self.outputs.append(place)

    def _give(self, i: int, place: Place) -> None:
        numbers = math.prod(place.shape)
        self.line(f"if (outputs[{i}]) {{")
        self.line(f"    {place.kind} *const o = ({place.kind} *)outputs[{i}] + (step * lanes + lane) * {numbers};")
        self.copy(Place("o", place.dtype, place.shape, contiguous(place.shape)), place)
        self.line("}")

    def _call(self, node: fx.Node) -> Any:
        target, source = node.target, cast(fx.Node, node.args[0] if node.args else None)
        if not isinstance(target, torch._ops.OpOverload):
            if getattr(target, "__name__", "") == "getitem":
                return self.places[source][node.args[1]]
            raise NotNative(str(target))
        args: Any = map_arg(node.args, lambda n: self.places[n])
        kwargs: Any = map_arg(node.kwargs, lambda n: self.places[n])
        if node in self.direct:
            for i in self.direct[node]:
                self._give(i, args[0])
            return args[0]
        value = node.meta.get("val")
        returned = target._schema.returns
        alias = returned[0].alias_info if returned else None
        name = target._schema.name.removeprefix("aten::")
        if not str(target).startswith("aten."):
            raise NotNative(str(target))
        if (alias is not None and not alias.is_write) or name in VIEWS:
            return _views(args[0], value)
        if name in ("unsqueeze_", "squeeze_", "transpose_", "t_"):  # of the tensor itself
            self.places[source] = _views(args[0], value)
            return self.places[source]
        if alias is not None:
            self._write(name.removesuffix("_"), target, args[0], args, kwargs)
            return args[0]
        if isinstance(value, Tensor):
            out = self.room(value.dtype, tuple(value.shape), value.stride())
            self._write(name, target, out, args, kwargs)
            return out
        if isinstance(value, tuple | list) and all(isinstance(v, Tensor) for v in value):
            outs = [self.room(v.dtype, tuple(v.shape), v.stride()) for v in value]
            self._write(name, target, outs, args, kwargs)
            return outs
        raise NotNative(f"{target}, which returns no tensor")

    def _write(self, name: str, target: Any, out: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Write one operation that puts new numbers into `out`."""
        given = _named(target, args, kwargs)
        if name in EACH:
            self._each_named(name, out, given)
        elif name in SPECIAL:
            SPECIAL[name](self, out, given)
        else:
            raise NotNative(f"{target} has no counterpart in C here")

    def _each_named(self, name: str, out: Place, given: Mapping[str, Any]) -> None:
        if given.get("rounding_mode") is not None:
            raise NotNative(f"{name} that rounds")
        made = EACH[name]
        expression, names = made(given) if callable(made) else made
        inputs = [given[key] for key in names]
        dtype = out.dtype
        if out.dtype == torch.bool:  # compared in the inputs' own type
            dtype = _common(inputs)
        self.each(out, expression, inputs, dtype)

    # --- reductions -----------------------------------------------------------------------------------------------

    def reduce(
        self, out: Place, source: Place, dims: Sequence[int], begin: float, combine: str, kernel: str = ""
    ) -> None:
        """Write a sum, or the like, over some axes; `out` has the other axes, or all of them with length one.

        combine: the expression of what was found so far, {0}, and one number more, {1}; it begins with `begin`.
        kernel: what finds it for real numbers that lie in a row (kernels.h).
        """
        every = list(range(len(source.shape)))
        gone = sorted({d % len(source.shape) for d in dims}) if every else []
        kept = [d for d in every if d not in gone]
        if out.shape != tuple(source.shape[d] for d in kept):
            out = replace(out, shape=tuple(source.shape[d] for d in kept), strides=tuple(out.strides[d] for d in kept))
        if math.isinf(begin) and out.dtype not in REALS:
            raise NotNative(f"the largest of numbers of type {out.dtype}")
        inner = min(
            (d for d in every if source.shape[d] > 1), key=lambda d: source.strides[d] or math.inf, default=None
        )
        if inner in kept and source.strides[inner] == 1:
            self.copy(out, begin)
            self._accumulate(out, source, kept, gone, inner, combine)
        else:
            self._total(out, source, kept, gone, begin, combine, kernel)

    def _accumulate(
        self, out: Place, source: Place, kept: list[int], gone: list[int], inner: int, combine: str
    ) -> None:
        order = [d for d in kept if d != inner] + gone + [inner]
        seen = source.axes(order)
        into = replace(
            out,
            shape=seen.shape,
            strides=tuple(0 if d in gone else out.strides[kept.index(d)] for d in order),
        )

        def body(counters: list[str]) -> list[str]:
            have, new = into.at(counters), f"({out.kind}){seen.at(counters)}"
            return [f"{have} = {combine.format(have, new)};"]

        self.loops(seen.shape, body)

    def _total(
        self, out: Place, source: Place, kept: list[int], gone: list[int], begin: float, combine: str, kernel: str
    ) -> None:
        reduced = source.axes(gone)
        sizes, (steps,) = merged(reduced.shape, [reduced.strides])
        outer = source.axes(kept)
        straight = bool(kernel) and steps[-1:] == [1] and source.dtype == out.dtype and out.dtype in REALS
        depth = self.depth

        def body(counters: list[str]) -> list[str]:
            lines = [f"{out.kind} total = {literal(begin, out.dtype)};"]
            loop = sizes[:-1] if straight else sizes
            names = [f"r{depth}_{n}" for n in range(len(sizes))]
            for name, size in zip(names, loop, strict=False):
                lines.append(f"for (int64_t {name} = 0; {name} < {size}; {name}++)")
            more = " + ".join(f"{name} * {step}" for name, step in zip(names, steps[: len(loop)], strict=False))
            new = outer.at(counters, more)
            found = f"{kernel}_{out.kind}(&{new}, {sizes[-1]})" if straight else f"({out.kind}){new}"
            lines.append(f"    {{ const {out.kind} x = {found}; total = {combine.format('total', 'x')}; }}")
            return ["{", *lines, f"{out.at(counters)} = total;", "}"]

        self.loops(outer.shape, body, free=False)

    # --- products -------------------------------------------------------------------------------------------------

    def product(self, out: Place, a: Place, b: Place) -> None:
        """Write out (M, N) = a (M, K) b (K, N)."""
        (m, k), n = a.shape, b.shape[1]
        if out.dtype not in REALS or a.dtype != out.dtype or b.dtype != out.dtype:
            raise NotNative(f"a product of numbers of type {a.dtype}")
        if not m * n:
            return
        if not k:
            return self.copy(out, 0)
        made = Product(a, b)
        copies = [self.room(out.dtype, (numbers,)) if numbers else None for numbers in made.rooms()]
        into = out if out.strides[1] == 1 or n == 1 else self.room(out.dtype, (m, n))
        for text in made.lines(into, copies):
            self.line(text)
        if into is not out:
            self.copy(out, into)


def _begin(argument: Argument) -> str:
    """Return where a lane's part of an argument begins, at a step."""
    numbers = math.prod(argument.shape)
    if argument.lanes is None:
        return f" + step * {numbers}" if argument.stepped else ""
    lane = f" + lane * {numbers}" if argument.lanes == 0 else ""
    return f"{lane} + step * lanes * {numbers}" if argument.stepped else lane


def _asked_for(nodes: Sequence[fx.Node]) -> dict[fx.Node, list[int]]:
    """Return the copies that go nowhere but to the caller: they are made where he wants them, and only if he does."""
    end = nodes[-1]
    returned: Any = end.args[0]
    return {
        node: [i for i, out in enumerate(returned) if out is node]
        for node in nodes
        if node.target is torch.ops.aten.clone.default and list(node.users) == [end]
    }


def _views(place: Any, value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_views(place, each) for each in value]
    if value.dtype != place.dtype:
        raise NotNative("the same numbers seen as another type")
    return replace(place, shape=tuple(value.shape), strides=tuple(value.stride()), offset=value.storage_offset())


def _named(target: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return an operation's arguments by the names of its schema, those left out with their defaults."""
    found = {a.name: a.default_value for a in target._schema.arguments if a.has_default_value()}
    found |= {a.name: value for a, value in zip(target._schema.arguments, args, strict=False)}
    return found | dict(kwargs)


def _common(inputs: Sequence[Place | float]) -> torch.dtype:
    """Return the type in which numbers of several types meet."""
    places = [place for place in inputs if isinstance(place, Place)]
    axes = [place for place in places if place.shape] or places
    dtype = axes[0].dtype
    for place in axes[1:]:
        dtype = torch.promote_types(dtype, place.dtype)
    numbers = [n for n in inputs if not isinstance(n, Place)]
    if any(isinstance(n, float) for n in numbers) and dtype not in REALS:
        return torch.float32
    return torch.int64 if dtype == torch.bool and any(not isinstance(n, bool) for n in numbers) else dtype
