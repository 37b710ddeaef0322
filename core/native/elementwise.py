"""Elementwise operations: one C expression over tensors of one shape. Formulas and defaults are torch's."""

from collections.abc import Callable, Mapping, Sequence

import torch

from espalier.core.native.emitter import Arguments, Emitter, Expression
from espalier.core.native.tensor_refs import REALS, NotNative, TensorRef


def _scaled(sign: str) -> Callable[[Arguments], Expression]:
    def expression(arguments: Arguments) -> Expression:
        if arguments.get("alpha", 1) == 1:
            return f"{{0}} {sign} {{1}}", ("self", "other")
        return f"{{0}} {sign} {{2}} * {{1}}", ("self", "other", "alpha")

    return expression


def _power(arguments: Arguments) -> Expression:
    simple = {
        0: "1", 1: "{0}", 2: "{0} * {0}", 3: "{0} * {0} * {0}", 0.5: "__builtin_sqrt{f}({0})",
        -0.5: "1 / __builtin_sqrt{f}({0})", -1: "1 / {0}", -2: "1 / ({0} * {0})",
    }  # fmt: skip
    exponent = arguments.get("exponent")
    if isinstance(exponent, int | float) and exponent in simple:
        return simple[exponent], ("self",)
    return "pow{f}({0}, {1})", ("self", "exponent")


def _clamped(arguments: Arguments) -> Expression:
    low, high = arguments.get("min") is not None, arguments.get("max") is not None
    if low and high:
        return "{0} < {1} ? {1} : ({0} > {2} ? {2} : {0})", ("self", "min", "max")
    return ("{0} < {1} ? {1} : {0}", ("self", "min")) if low else ("{0} > {1} ? {1} : {0}", ("self", "max"))


def _inverted(arguments: Arguments) -> Expression:
    return ("!{0}" if arguments["self"].dtype == torch.bool else "~{0}"), ("self",)


LARGER = "{0} > {1} || {0} != {0} ? {0} : {1}"
ONE, TWO = ("self",), ("self", "other")
ELEMENTWISE: Mapping[str, Expression | Callable[[Arguments], Expression]] = {
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


def emit_elementwise(emitter: Emitter, name: str, out: TensorRef, arguments: Arguments) -> None:
    """Write one operation of ELEMENTWISE."""
    if arguments.get("rounding_mode") is not None:
        raise NotNative(f"{name} that rounds")
    entry = ELEMENTWISE[name]
    expression, names = entry(arguments) if callable(entry) else entry
    inputs = [arguments[key] for key in names]
    # comparisons are computed in the inputs' type
    emitter.each(out, expression, inputs, _common_type(inputs) if out.dtype == torch.bool else out.dtype)


def _common_type(inputs: Sequence[TensorRef | float]) -> torch.dtype:
    """Return the common type of several inputs."""
    refs = [ref for ref in inputs if isinstance(ref, TensorRef)]
    tensors = [ref for ref in refs if ref.shape] or refs  # tensors without axes do not count
    dtype = tensors[0].dtype
    for ref in tensors[1:]:
        dtype = torch.promote_types(dtype, ref.dtype)
    numbers = [n for n in inputs if not isinstance(n, TensorRef)]
    if any(isinstance(n, float) for n in numbers) and dtype not in REALS:
        return torch.float32
    return torch.int64 if dtype == torch.bool and any(not isinstance(n, bool) for n in numbers) else dtype
