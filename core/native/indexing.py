"""Indexing by tensors: gather, scatter, index_put, embedding and the like."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from espalier.core.native.emitter import Arguments, Emit, Emitter
from espalier.core.native.tensor_refs import NotNative, TensorRef, literal

Use = Callable[[str, list[str]], str]
"""Returns what is done with an element, given its C and the counters of the loops around it."""


def _index_into(emitter: Emitter, name: str, index: str, size: int, from_end: bool) -> None:
    """Write an index into an axis, with a bounds check that ends the function.

    from_end: whether a negative index counts from the end, as torch has it for x[index] alone.
    """
    emitter.line(f"int64_t {name} = {index};")
    if from_end:
        emitter.line(f"if ({name} < 0) {name} += {size};")
    emitter.line(f"if ((uint64_t){name} >= {size}) return 1 + lane * steps + step;")


def _picked(
    emitter: Emitter,
    ref: TensorRef,
    indices: Sequence[TensorRef | None],
    use: Use,
    from_end: bool = True,
) -> None:
    """Write an operation on each element of ref[indices], with torch's rules of indexing."""
    at = [d for d, index in enumerate(indices) if index is not None]
    picks = [index for index in indices if index is not None]
    if at != list(range(at[0], at[-1] + 1)):
        raise NotNative("an index with a slice between tensors")
    if any(index.dtype in (torch.bool, torch.uint8) for index in picks):
        raise NotNative("a mask as an index")
    shape = np.broadcast_shapes(*(index.shape for index in picks))
    before, after = ref.shape[: at[0]], ref.shape[at[-1] + 1 :]

    def rows(counters: list[str]) -> list[str]:
        b, i = counters[: len(before)], counters[len(before) :]
        names = [f"j{emitter.depth}_{d}" for d in at]
        emitter.line("{")
        for d, name, index in zip(at, names, picks, strict=True):
            _index_into(emitter, name, index.seen_as(shape).at(i), ref.shape[d], from_end)
        emitter.loops(after, lambda k: [use(ref.at([*b, *names, *k]), [*b, *i, *k])])
        emitter.line("}")
        return []

    emitter.loops([*before, *shape], rows, free=False)


def _index(emitter: Emitter, out: TensorRef, arguments: Arguments, from_end: bool = True) -> None:
    def read(element: str, at: list[str]) -> str:
        return f"{out.at(at)} = {element};"

    _picked(emitter, arguments["self"], arguments["indices"], read, from_end)


def _index_select(emitter: Emitter, out: TensorRef, arguments: Arguments) -> None:
    indices = [None] * (arguments["dim"] % len(arguments["self"].shape)) + [arguments["index"]]
    _index(emitter, out, {"self": arguments["self"], "indices": indices}, from_end=False)


def _index_put(emitter: Emitter, out: TensorRef, arguments: Arguments) -> None:
    if arguments["self"] != out:
        emitter.copy(out, arguments["self"])
    picks = [index for index in arguments["indices"] if index is not None]
    at = next(d for d, index in enumerate(arguments["indices"]) if index is not None)
    shape = np.broadcast_shapes(*(index.shape for index in picks))
    whole = [*out.shape[:at], *shape, *out.shape[at + len(picks) :]]
    values, sign = arguments["values"].seen_as(whole), "+=" if arguments.get("accumulate") else "="
    _picked(emitter, out, arguments["indices"], lambda element, at: f"{element} {sign} {values.at(at)};")


def _embedding(emitter: Emitter, out: TensorRef, arguments: Arguments) -> None:
    _index(emitter, out, {"self": arguments["weight"], "indices": [arguments["indices"]]}, from_end=False)


def _embedding_backward(emitter: Emitter, out: TensorRef, arguments: Arguments) -> None:
    if arguments["padding_idx"] >= 0 or arguments["scale_grad_by_freq"]:
        raise NotNative("an embedding with padding or scaled by frequency")
    emitter.copy(out, 0)
    put = {"self": out, "indices": [arguments["indices"]], "values": arguments["grad_output"], "accumulate": True}
    _index_put(emitter, out, put)


def _along(emitter: Emitter, ref: TensorRef, index: TensorRef, dim: int, use: Use) -> None:
    """Write an operation on ref[..., index, ...] for each element of `index`, which has as many axes as `ref`."""
    if not ref.shape:
        raise NotNative("a number gathered from a number")
    dim %= len(ref.shape)

    def body(counters: list[str]) -> list[str]:
        name = f"j{emitter.depth}"
        emitter.line("{")
        _index_into(emitter, name, index.at(counters), ref.shape[dim], from_end=False)
        emitter.line(use(ref.at([name if d == dim else c for d, c in enumerate(counters)]), counters))
        emitter.line("}")
        return []

    emitter.loops(index.shape, body, free=False)


def _gather(emitter: Emitter, out: TensorRef, arguments: Arguments) -> None:
    def read(element: str, at: list[str]) -> str:
        return f"{out.at(at)} = {element};"

    _along(emitter, arguments["self"], arguments["index"], arguments["dim"], read)


def _scattered(sign: str) -> Emit:
    def emit(emitter: Emitter, out: TensorRef, arguments: Arguments) -> None:
        if arguments.get("reduce") is not None:
            raise NotNative("a scatter that reduces")
        if arguments["self"] != out:
            emitter.copy(out, arguments["self"])
        source = arguments["src"] if "src" in arguments else arguments["value"]

        def use(element: str, at: list[str]) -> str:
            return f"{element} {sign} {source.at(at) if isinstance(source, TensorRef) else literal(source, out.dtype)};"

        _along(emitter, out, arguments["index"], arguments["dim"], use)

    return emit


OPERATIONS: Mapping[str, Emit] = {
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
}
