"""Operations that create tensors: full, empty, arange, cat, pad and the like."""

from collections.abc import Mapping
from dataclasses import replace

from espalier.core.native.emitter import Arguments, Emit, Emitter
from espalier.core.native.tensor_refs import NotNative, TensorRef, literal


def _filled(value: float | str) -> Emit:
    """Return an emitter that fills a tensor with a number, or with the argument of that name."""

    def emit(emitter: Emitter, out: TensorRef, arguments: Arguments) -> None:
        emitter.copy(out, arguments[value] if isinstance(value, str) else value)

    return emit


def _nothing(emitter: Emitter, out: TensorRef, arguments: Arguments) -> None:
    """Write nothing: the tensor stays uninitialised, as by torch.empty."""


def _arange(emitter: Emitter, out: TensorRef, arguments: Arguments) -> None:
    begin, step = arguments.get("start", 0), arguments.get("step", 1)
    first, apart = literal(begin, out.dtype), literal(step, out.dtype)
    emitter.loops(out.shape, lambda at: [f"{out.at(at)} = {first} + {at[0]} * {apart};"])


def _cat(emitter: Emitter, out: TensorRef, arguments: Arguments) -> None:
    dim, begin = arguments.get("dim", 0) % len(out.shape), 0
    for part in arguments["tensors"]:
        if part.shape == (0,):
            continue
        emitter.copy(replace(out, shape=part.shape, offset=out.offset + begin * out.strides[dim]), part)
        begin += part.shape[dim]


def _pad(emitter: Emitter, out: TensorRef, arguments: Arguments) -> None:
    """Write a padded tensor. The first two numbers of `pad` belong to the last axis."""
    pads, x = arguments["pad"], arguments["self"]
    if any(pad < 0 for pad in pads):
        raise NotNative("a padding below zero")
    before: list[int] = [0] * (len(x.shape) - len(pads) // 2) + pads[::2][::-1]
    emitter.copy(out, arguments.get("value") or 0)
    begin = sum(skipped * stride for skipped, stride in zip(before, out.strides, strict=True))
    emitter.copy(replace(out, shape=x.shape, offset=out.offset + begin), x)


OPERATIONS: Mapping[str, Emit] = {
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
}
