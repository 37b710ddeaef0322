"""What each tensor operation is in C. Formulas and defaults are those of torch; what is missing here is NotNative."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from espalier.core.native.tensor_refs import NotNative, Place, literal

if TYPE_CHECKING:
    from espalier.core.native.emitter import Writer

Given = Mapping[str, Any]
Made = tuple[str, tuple[str, ...]]


def _scaled(sign: str) -> Callable[[Given], Made]:
    def made(given: Given) -> Made:
        if given.get("alpha", 1) == 1:
            return f"{{0}} {sign} {{1}}", ("self", "other")
        return f"{{0}} {sign} {{2}} * {{1}}", ("self", "other", "alpha")

    return made


def _power(given: Given) -> Made:
    simple = {
        0: "1", 1: "{0}", 2: "{0} * {0}", 3: "{0} * {0} * {0}", 0.5: "__builtin_sqrt{f}({0})",
        -0.5: "1 / __builtin_sqrt{f}({0})", -1: "1 / {0}", -2: "1 / ({0} * {0})",
    }  # fmt: skip
    exponent = given.get("exponent")
    if isinstance(exponent, int | float) and exponent in simple:
        return simple[exponent], ("self",)
    return "pow{f}({0}, {1})", ("self", "exponent")


def _clamped(given: Given) -> Made:
    low, high = given.get("min") is not None, given.get("max") is not None
    if low and high:
        return "{0} < {1} ? {1} : ({0} > {2} ? {2} : {0})", ("self", "min", "max")
    return ("{0} < {1} ? {1} : {0}", ("self", "min")) if low else ("{0} > {1} ? {1} : {0}", ("self", "max"))


def _inverted(given: Given) -> Made:
    return ("!{0}" if given["self"].dtype == torch.bool else "~{0}"), ("self",)


LARGER = "{0} > {1} || {0} != {0} ? {0} : {1}"
ONE, TWO = ("self",), ("self", "other")
EACH: Mapping[str, Made | Callable[[Given], Made]] = {
    "add": _scaled("+"),
    "sub": _scaled("-"),
    "mul": ("{0} * {1}", TWO),
    "div": ("{0} / {1}", TWO),
    "neg": ("-{0}", ONE),
    "abs": ("{0} < 0 ? -{0} : {0} + 0", ONE),
    "sign": ("({0} > 0) - ({0} < 0)", ONE),
    "sgn": ("({0} > 0) - ({0} < 0)", ONE),
    "reciprocal": ("1 / {0}", ONE),
    "sqrt": ("__builtin_sqrt{f}({0})", ONE),
    "rsqrt": ("1 / __builtin_sqrt{f}({0})", ONE),
    "exp": ("exp{f}({0})", ONE),
    "exp2": ("exp2{f}({0})", ONE),
    "expm1": ("expm1{f}({0})", ONE),
    "log": ("log{f}({0})", ONE),
    "log2": ("log2{f}({0})", ONE),
    "log10": ("log10{f}({0})", ONE),
    "log1p": ("log1p{f}({0})", ONE),
    "sin": ("sin{f}({0})", ONE),
    "cos": ("cos{f}({0})", ONE),
    "erf": ("erf{f}({0})", ONE),
    "tanh": ("tanh{f}({0})", ONE),
    "tanh_backward": ("{0} * (1 - {1} * {1})", ("grad_output", "output")),
    "sigmoid": ("1 / (1 + exp{f}(-{0}))", ONE),
    "sigmoid_backward": ("{0} * (1 - {1}) * {1}", ("grad_output", "output")),
    "relu": ("{0} < 0 ? 0 : {0}", ONE),
    "threshold_backward": ("{1} <= {2} ? 0 : {0}", ("grad_output", "self", "threshold")),
    "pow": _power,
    "clamp": _clamped,
    "clamp_min": _clamped,
    "clamp_max": _clamped,
    "maximum": (LARGER, TWO),
    "minimum": ("{0} < {1} || {0} != {0} ? {0} : {1}", TWO),
    "where": ("{0} != 0 ? {1} : {2}", ("condition", "self", "other")),
    "masked_fill": ("{1} != 0 ? {2} : {0}", ("self", "mask", "value")),
    "eq": ("{0} == {1}", TWO),
    "ne": ("{0} != {1}", TWO),
    "lt": ("{0} < {1}", TWO),
    "le": ("{0} <= {1}", TWO),
    "gt": ("{0} > {1}", TWO),
    "ge": ("{0} >= {1}", TWO),
    "logical_and": ("({0} != 0) && ({1} != 0)", TWO),
    "logical_or": ("({0} != 0) || ({1} != 0)", TWO),
    "logical_not": ("{0} == 0", ONE),
    "bitwise_not": _inverted,
    "bitwise_and": ("{0} & {1}", TWO),
    "bitwise_or": ("{0} | {1}", TWO),
    "isnan": ("{0} != {0}", ONE),
    "addcmul": ("{0} + {3} * {1} * {2}", ("self", "tensor1", "tensor2", "value")),
    "addcdiv": ("{0} + {3} * {1} / {2}", ("self", "tensor1", "tensor2", "value")),
    "lerp": ("{0} + {2} * ({1} - {0})", ("self", "end", "weight")),
    "clone": ("{0}", ONE),
    "_to_copy": ("{0}", ONE),
    "copy": ("{0}", ("src",)),
    "fill": ("{0}", ("value",)),
    "lift_fresh_copy": ("{0}", ONE),
}
REDUCTIONS: Mapping[str, tuple[float, str, str]] = {
    "sum": (0, "{0} + {1}", "sum"),
    "amax": (-math.inf, "{1} > {0} || {1} != {1} ? {1} : {0}", "most"),
    "any": (0, "{0} || {1}", ""),
    "all": (1, "{0} && {1}", ""),
    "amin": (math.inf, "{1} < {0} || {1} != {1} ? {1} : {0}", "least"),
}


# --- operations that are more than one expression for each element; each writes into its place `out` ------------------


def _dims(given: Given, place: Place) -> list[int]:
    dims = given.get("dim")
    if dims is None or dims == []:
        return list(range(len(place.shape)))
    return [dims] if isinstance(dims, int) else list(dims)


def _reduced(kind: str) -> Callable[["Writer", Place, Given], None]:
    def write(w: "Writer", out: Place, given: Given) -> None:
        w.reduce(out, given["self"], _dims(given, given["self"]), *REDUCTIONS[kind])

    return write


def _count(given: Given) -> int:
    shape = given["self"].shape
    return math.prod(shape[d] for d in _dims(given, given["self"]))


def _mean(w: "Writer", out: Place, given: Given) -> None:
    w.reduce(out, given["self"], _dims(given, given["self"]), *REDUCTIONS["sum"])
    w.each(out, "{0} / {1}", [out, float(_count(given))], out.dtype)


def _variance(w: "Writer", out: Place, mean: Place, given: Given) -> None:
    x, dims = given["self"], [d % len(given["self"].shape) for d in _dims(given, given["self"])]
    flat = w.room(x.dtype, [1 if d in dims else size for d, size in enumerate(x.shape)])
    _mean(w, flat, given)
    w.copy(mean, replace(flat, shape=mean.shape, strides=mean.strides))
    apart = w.room(x.dtype, x.shape)
    w.each(apart, "({0} - {1}) * ({0} - {1})", [x, flat], x.dtype)
    w.reduce(out, apart, dims, *REDUCTIONS["sum"])
    correction = given.get("correction")
    freedom = max(0.0, _count(given) - float(1 if correction is None else correction))
    w.each(out, "{0} / {1}", [out, freedom], out.dtype)


def _var(w: "Writer", out: Place, given: Given) -> None:
    _variance(w, out, w.room(out.dtype, out.shape), given)


def _var_mean(w: "Writer", outs: Sequence[Place], given: Given) -> None:
    _variance(w, outs[0], outs[1], given)


def _mm(w: "Writer", out: Place, given: Given) -> None:
    w.product(out, given["self"], given["mat2"])


def _bmm(w: "Writer", out: Place, given: Given) -> None:
    places = out, given["self"], given["mat2"]

    def one(counters: list[str]) -> list[str]:
        w.product(*(_first_axis_at(place, counters[0]) for place in places))
        return []

    w.loops(out.shape[:1], one, free=False)


def _first_axis_at(place: Place, counter: str) -> Place:
    pointer = f"({place.pointer} + {counter} * {place.strides[0]})"
    return replace(place, pointer=pointer, shape=place.shape[1:], strides=place.strides[1:])


def _mv(w: "Writer", out: Place, given: Given) -> None:
    column = replace(given["vec"], shape=(*given["vec"].shape, 1), strides=(*given["vec"].strides, 1))
    w.product(replace(out, shape=(*out.shape, 1), strides=(*out.strides, 1)), given["self"], column)


def _dot(w: "Writer", out: Place, given: Given) -> None:
    each = w.room(out.dtype, given["self"].shape)
    w.each(each, "{0} * {1}", [given["self"], given["tensor"]], out.dtype)
    w.reduce(out, each, [0], *REDUCTIONS["sum"])


def _number(w: "Writer", name: str, index: str, size: int, from_end: bool) -> None:
    """Write an index into an axis; the function ends if there is no such place.

    from_end: whether a negative one counts from the axis's end, as torch has it for x[index] and for nothing else.
    """
    w.line(f"int64_t {name} = {index};")
    if from_end:
        w.line(f"if ({name} < 0) {name} += {size};")
    w.line(f"if ((uint64_t){name} >= {size}) return 1 + lane * steps + step;")


def _picked(
    w: "Writer",
    place: Place,
    indices: Sequence[Place | None],
    use: Callable[[str, list[str]], str],
    from_end: bool = True,
) -> None:
    """Write what is done with each element of place[indices]: `use` gets the element and its counters there."""
    at = [d for d, index in enumerate(indices) if index is not None]
    picks = [index for index in indices if index is not None]
    if at != list(range(at[0], at[-1] + 1)):
        raise NotNative("an index with a slice between tensors")
    if any(index.dtype in (torch.bool, torch.uint8) for index in picks):
        raise NotNative("a mask as an index")
    shape = np.broadcast_shapes(*(index.shape for index in picks))
    before, after = place.shape[: at[0]], place.shape[at[-1] + 1 :]

    def rows(counters: list[str]) -> list[str]:
        b, i = counters[: len(before)], counters[len(before) :]
        names = [f"j{w.depth}_{d}" for d in at]
        w.line("{")
        for d, name, index in zip(at, names, picks, strict=True):
            _number(w, name, index.seen_as(shape).at(i), place.shape[d], from_end)
        w.loops(after, lambda k: [use(place.at([*b, *names, *k]), [*b, *i, *k])])
        w.line("}")
        return []

    w.loops([*before, *shape], rows, free=False)


def _index(w: "Writer", out: Place, given: Given, from_end: bool = True) -> None:
    _picked(w, given["self"], given["indices"], lambda element, at: f"{out.at(at)} = {element};", from_end)


def _index_select(w: "Writer", out: Place, given: Given) -> None:
    indices = [None] * (given["dim"] % len(given["self"].shape)) + [given["index"]]
    _index(w, out, {"self": given["self"], "indices": indices}, from_end=False)


def _index_put(w: "Writer", out: Place, given: Given) -> None:
    if given["self"] != out:
        w.copy(out, given["self"])
    picks = [index for index in given["indices"] if index is not None]
    at = next(d for d, index in enumerate(given["indices"]) if index is not None)
    shape = np.broadcast_shapes(*(index.shape for index in picks))
    whole = [*out.shape[:at], *shape, *out.shape[at + len(picks) :]]
    values, sign = given["values"].seen_as(whole), "+=" if given.get("accumulate") else "="
    _picked(w, out, given["indices"], lambda element, at: f"{element} {sign} {values.at(at)};")


def _embedding(w: "Writer", out: Place, given: Given) -> None:
    _index(w, out, {"self": given["weight"], "indices": [given["indices"]]}, from_end=False)


def _embedding_backward(w: "Writer", out: Place, given: Given) -> None:
    if given["padding_idx"] >= 0 or given["scale_grad_by_freq"]:
        raise NotNative("an embedding with padding or scaled by frequency")
    w.copy(out, 0)
    put = {"self": out, "indices": [given["indices"]], "values": given["grad_output"], "accumulate": True}
    _index_put(w, out, put)


def _along(w: "Writer", place: Place, index: Place, dim: int, use: Callable[[str, list[str]], str]) -> None:
    """Write what is done with place[..., index, ...] for each element of the index, which has as many axes."""
    if not place.shape:
        raise NotNative("a number gathered from a number")
    dim %= len(place.shape)

    def one(counters: list[str]) -> list[str]:
        name = f"j{w.depth}"
        w.line("{")
        _number(w, name, index.at(counters), place.shape[dim], from_end=False)
        w.line(use(place.at([name if d == dim else c for d, c in enumerate(counters)]), counters))
        w.line("}")
        return []

    w.loops(index.shape, one, free=False)


def _gather(w: "Writer", out: Place, given: Given) -> None:
    _along(w, given["self"], given["index"], given["dim"], lambda element, at: f"{out.at(at)} = {element};")


def _scattered(sign: str) -> Callable[["Writer", Place, Given], None]:
    def write(w: "Writer", out: Place, given: Given) -> None:
        if given.get("reduce") is not None:
            raise NotNative("a scatter that reduces")
        if given["self"] != out:
            w.copy(out, given["self"])
        source = given["src"] if "src" in given else given["value"]

        def use(element: str, at: list[str]) -> str:
            return f"{element} {sign} {source.at(at) if isinstance(source, Place) else literal(source, out.dtype)};"

        _along(w, out, given["index"], given["dim"], use)

    return write


def _filled(value: float | str) -> Callable[["Writer", Place, Given], None]:
    def write(w: "Writer", out: Place, given: Given) -> None:
        w.copy(out, given[value] if isinstance(value, str) else value)

    return write


def _nothing(w: "Writer", out: Place, given: Given) -> None:
    pass


def _arange(w: "Writer", out: Place, given: Given) -> None:
    begin, step = given.get("start", 0), given.get("step", 1)
    w.loops(
        out.shape, lambda at: [f"{out.at(at)} = {literal(begin, out.dtype)} + {at[0]} * {literal(step, out.dtype)};"]
    )


def _cat(w: "Writer", out: Place, given: Given) -> None:
    dim, begin = given.get("dim", 0) % len(out.shape), 0
    for part in given["tensors"]:
        if part.shape == (0,):
            continue
        w.copy(replace(out, shape=part.shape, offset=out.offset + begin * out.strides[dim]), part)
        begin += part.shape[dim]


def _pad(w: "Writer", out: Place, given: Given) -> None:
    """The first two numbers are those of the last axis."""
    pads, x = given["pad"], given["self"]
    if any(pad < 0 for pad in pads):
        raise NotNative("a padding below zero")
    before = [0] * (len(x.shape) - len(pads) // 2) + pads[::2][::-1]
    w.copy(out, given.get("value") or 0)
    begin = sum(skipped * stride for skipped, stride in zip(before, out.strides, strict=True))
    w.copy(replace(out, shape=x.shape, offset=out.offset + begin), x)


def _argmax(w: "Writer", out: Place, given: Given) -> None:
    if given.get("dim") is None:
        raise NotNative("argmax over all axes")
    _first_largest(w, None, out, given)


def _max(w: "Writer", out: Any, given: Given) -> None:
    if isinstance(out, Place):
        return (
            _reduced("amax")(w, out, given)
            if "other" not in given
            else w.each(out, LARGER, [given["self"], given["other"]], out.dtype)
        )
    _first_largest(w, out[0], out[1], given)


def _first_largest(w: "Writer", values: Place | None, places: Place, given: Given) -> None:
    x = given["self"]
    dim = given["dim"] % len(x.shape)
    kept = [d for d in range(len(x.shape)) if d != dim]

    def flat(place: Place) -> Place:
        if len(place.shape) == len(kept):
            return place
        return place.axes(kept)

    def one(counters: list[str]) -> list[str]:
        def element(at: str) -> str:
            return x.at([at if d == dim else counters[kept.index(d)] for d in range(len(x.shape))])

        found = [
            "int64_t best = 0;",
            f"{x.kind} most = {element('0')};",
            f"for (int64_t r = 1; r < {x.shape[dim]}; r++) {{",
            f"    const {x.kind} x = {element('r')};",
            "    if (x > most || (x != x && most == most)) { most = x; best = r; }",
            "}",
            f"{flat(places).at(counters)} = best;",
        ]
        return found + ([f"{flat(values).at(counters)} = most;"] if values else [])

    w.loops([x.shape[d] for d in kept], lambda counters: ["{", *one(counters), "}"], free=False)


SPECIAL: Mapping[str, Callable[["Writer", Any, Given], None]] = {
    "sum": _reduced("sum"),
    "amax": _reduced("amax"),
    "amin": _reduced("amin"),
    "any": _reduced("any"),
    "all": _reduced("all"),
    "mean": _mean,
    "var": _var,
    "var_mean": _var_mean,
    "mm": _mm,
    "bmm": _bmm,
    "mv": _mv,
    "dot": _dot,
    "index": _index,
    "_unsafe_index": _index,
    "index_select": _index_select,
    "index_put": _index_put,
    "_index_put_impl": _index_put,
    "_unsafe_index_put": _index_put,
    "embedding": _embedding,
    "embedding_dense_backward": _embedding_backward,
    "gather": _gather,
    "scatter": _scattered("="),
    "scatter_add": _scattered("+="),
    "zeros": _filled(0),
    "zeros_like": _filled(0),
    "new_zeros": _filled(0),
    "zero": _filled(0),
    "ones": _filled(1),
    "ones_like": _filled(1),
    "new_ones": _filled(1),
    "full": _filled("fill_value"),
    "full_like": _filled("fill_value"),
    "new_full": _filled("fill_value"),
    "scalar_tensor": _filled("s"),
    "empty": _nothing,
    "empty_like": _nothing,
    "new_empty": _nothing,
    "empty_strided": _nothing,
    "new_empty_strided": _nothing,
    "arange": _arange,
    "cat": _cat,
    "constant_pad_nd": _pad,
    "argmax": _argmax,
    "max": _max,
}
