"""Reductions over axes of a tensor: sum, maximum and minimum, mean and variance."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from espalier.core.native.elementwise import LARGER
from espalier.core.native.emitter import Arguments, Emit, EmitAll, Emitter
from espalier.core.native.fusion import merged
from espalier.core.native.tensor_refs import REALS, NotNative, TensorRef, literal


class Reduction(NamedTuple):
    """A reduction.

    begin: the initial value. combine: the C expression of the accumulator {0} and the next number {1}.
    kernel: the function that reduces contiguous floating-point numbers (kernels.h); "" for none.
    """

    begin: float
    combine: str
    kernel: str = ""


SUM = Reduction(0, "{0} + {1}", "sum")
LARGEST = Reduction(-math.inf, "{1} > {0} || {1} != {1} ? {1} : {0}", "most")
SMALLEST = Reduction(math.inf, "{1} < {0} || {1} != {1} ? {1} : {0}", "least")
ANY = Reduction(0, "{0} || {1}")
ALL = Reduction(1, "{0} && {1}")


def reduce(emitter: Emitter, out: TensorRef, source: TensorRef, dims: Sequence[int], reduction: Reduction) -> None:
    """Write a reduction over some axes; `out` has the remaining axes, or all with length one."""
    every = list(range(len(source.shape)))
    reduced = sorted({d % len(source.shape) for d in dims}) if every else []
    left = [d for d in every if d not in reduced]
    if out.shape != tuple(source.shape[d] for d in left):
        out = replace(out, shape=tuple(source.shape[d] for d in left), strides=tuple(out.strides[d] for d in left))
    if math.isinf(reduction.begin) and out.dtype not in REALS:
        raise NotNative(f"the largest of numbers of type {out.dtype}")
    inner = min((d for d in every if source.shape[d] > 1), key=lambda d: source.strides[d] or math.inf, default=None)
    if inner in left and source.strides[inner] == 1:
        emitter.copy(out, reduction.begin)
        _accumulate(emitter, out, source, [d for d in left if d != inner] + reduced + [inner], left, reduction)
    else:
        _total(emitter, out, source.axes(left), source.axes(reduced), reduction)


def _accumulate(
    emitter: Emitter, out: TensorRef, source: TensorRef, order: list[int], left: list[int], reduction: Reduction
) -> None:
    """Traverse the source once, in a given order of axes, and combine each element into its accumulator."""
    seen = source.axes(order)
    strides = tuple(out.strides[left.index(d)] if d in left else 0 for d in order)
    into = replace(out, shape=seen.shape, strides=strides)

    def body(counters: list[str]) -> list[str]:
        have, new = into.at(counters), f"({out.kind}){seen.at(counters)}"
        return [f"{have} = {reduction.combine.format(have, new)};"]

    emitter.loops(seen.shape, body)


def _total(emitter: Emitter, out: TensorRef, outer: TensorRef, inner: TensorRef, reduction: Reduction) -> None:
    """Reduce all elements of one result in a register, then write it.

    outer, inner: the remaining axes and the reduced ones.
    """
    sizes, (steps,) = merged(inner.shape, [inner.strides])
    in_a_row = bool(reduction.kernel) and steps[-1:] == [1] and inner.dtype == out.dtype and out.dtype in REALS
    depth = emitter.depth

    def body(counters: list[str]) -> list[str]:
        lines = [f"{out.kind} total = {literal(reduction.begin, out.dtype)};"]
        looped = sizes[:-1] if in_a_row else sizes
        names = [f"r{depth}_{n}" for n in range(len(looped))]
        lines += [
            f"for (int64_t {name} = 0; {name} < {size}; {name}++)" for name, size in zip(names, looped, strict=True)
        ]
        offset = " + ".join(f"{name} * {step}" for name, step in zip(names, steps, strict=False))
        new = outer.at(counters, offset)
        value = f"{reduction.kernel}_{out.kind}(&{new}, {sizes[-1]})" if in_a_row else f"({out.kind}){new}"
        lines.append(f"    {{ const {out.kind} x = {value}; total = {reduction.combine.format('total', 'x')}; }}")
        return ["{", *lines, f"{out.at(counters)} = total;", "}"]

    emitter.loops(outer.shape, body, free=False)


# --- operations -------------------------------------------------------------------------------------------------------


def _dims(arguments: Arguments) -> list[int]:
    """Return the axes that an operation reduces: all if it names none."""
    dims = arguments.get("dim")
    if dims is None or dims == []:
        return list(range(len(arguments["self"].shape)))
    return [dims] if isinstance(dims, int) else list(dims)


def _reduced(reduction: Reduction) -> Emit:
    def emit(emitter: Emitter, out: TensorRef, arguments: Arguments) -> None:
        reduce(emitter, out, arguments["self"], _dims(arguments), reduction)

    return emit


def _count(arguments: Arguments) -> int:
    """Return how many numbers are reduced to one."""
    shape = arguments["self"].shape
    return math.prod(shape[d] for d in _dims(arguments))


def _mean(emitter: Emitter, out: TensorRef, arguments: Arguments) -> None:
    reduce(emitter, out, arguments["self"], _dims(arguments), SUM)
    emitter.each(out, "{0} / {1}", [out, float(_count(arguments))], out.dtype)


def _variance(emitter: Emitter, out: TensorRef, mean: TensorRef, arguments: Arguments) -> None:
    x: TensorRef = arguments["self"]
    dims = [d % len(x.shape) for d in _dims(arguments)]
    flat = emitter.room(x.dtype, [1 if d in dims else size for d, size in enumerate(x.shape)])
    _mean(emitter, flat, arguments)
    emitter.copy(mean, replace(flat, shape=mean.shape, strides=mean.strides))
    squares = emitter.room(x.dtype, x.shape)
    emitter.each(squares, "({0} - {1}) * ({0} - {1})", [x, flat], x.dtype)
    reduce(emitter, out, squares, dims, SUM)
    correction = arguments.get("correction")
    freedom = max(0.0, _count(arguments) - float(1 if correction is None else correction))
    emitter.each(out, "{0} / {1}", [out, freedom], out.dtype)


def _var(emitter: Emitter, out: TensorRef, arguments: Arguments) -> None:
    _variance(emitter, out, emitter.room(out.dtype, out.shape), arguments)


def _var_mean(emitter: Emitter, outs: Sequence[TensorRef], arguments: Arguments) -> None:
    _variance(emitter, outs[0], outs[1], arguments)


def _argmax(emitter: Emitter, out: TensorRef, arguments: Arguments) -> None:
    if arguments.get("dim") is None:
        raise NotNative("argmax over all axes")
    _first_largest(emitter, None, out, arguments)


def _max(emitter: Emitter, out: TensorRef, arguments: Arguments) -> None:
    if "other" in arguments:
        emitter.each(out, LARGER, [arguments["self"], arguments["other"]], out.dtype)
    else:
        _reduced(LARGEST)(emitter, out, arguments)


def _max_and_index(emitter: Emitter, outs: Sequence[TensorRef], arguments: Arguments) -> None:
    _first_largest(emitter, outs[0], outs[1], arguments)


def _first_largest(emitter: Emitter, values: TensorRef | None, indices: TensorRef, arguments: Arguments) -> None:
    """Write the first maximum along an axis and its index; NaN counts as the maximum, as in torch."""
    x: TensorRef = arguments["self"]
    dim = arguments["dim"] % len(x.shape)
    left = [d for d in range(len(x.shape)) if d != dim]

    def element(ref: TensorRef, counters: list[str]) -> str:
        return (ref if len(ref.shape) == len(left) else ref.axes(left)).at(counters)

    def body(counters: list[str]) -> list[str]:
        def number(at: str) -> str:
            return x.at([at if d == dim else counters[left.index(d)] for d in range(len(x.shape))])

        return [
            "{",
            "int64_t best = 0;",
            f"{x.kind} most = {number('0')};",
            f"for (int64_t r = 1; r < {x.shape[dim]}; r++) {{",
            f"    const {x.kind} x = {number('r')};",
            "    if (x > most || (x != x && most == most)) { most = x; best = r; }",
            "}",
            f"{element(indices, counters)} = best;",
            *([f"{element(values, counters)} = most;"] if values else []),
            "}",
        ]

    emitter.loops([x.shape[d] for d in left], body, free=False)


OPERATIONS: Mapping[str, Emit] = {
    "sum": _reduced(SUM),
    "amax": _reduced(LARGEST),
    "amin": _reduced(SMALLEST),
    "any": _reduced(ANY),
    "all": _reduced(ALL),
    "mean": _mean,
    "var": _var,
    "argmax": _argmax,
    "max": _max,
}
SEVERAL_RESULTS: Mapping[str, EmitAll] = {"var_mean": _var_mean, "max": _max_and_index}
