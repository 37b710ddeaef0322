"""Products of matrices and vectors, and sums of products."""

from collections.abc import Mapping
from dataclasses import replace

from espalier.core.native.emitter import Arguments, Emit, Emitter
from espalier.core.native.matmul import Product
from espalier.core.native.reductions import SUM, reduce
from espalier.core.native.tensor_refs import REALS, NotNative, TensorRef


def product(emitter: Emitter, out: TensorRef, a: TensorRef, b: TensorRef) -> None:
    """Write out (M, N) = a (M, K) b (K, N)."""
    (m, k), n = a.shape, b.shape[1]
    if out.dtype not in REALS or a.dtype != out.dtype or b.dtype != out.dtype:
        raise NotNative(f"a product of numbers of type {a.dtype}")
    if not m * n:
        return
    if not k:
        return emitter.copy(out, 0)
    tiles = Product(a, b)
    copies = [emitter.room(out.dtype, (numbers,)) if numbers else None for numbers in tiles.rooms()]
    into = out if out.strides[1] == 1 or n == 1 else emitter.room(out.dtype, (m, n))
    for text in tiles.lines(into, copies):
        emitter.line(text)
    if into is not out:
        emitter.copy(out, into)


def _mm(emitter: Emitter, out: TensorRef, arguments: Arguments) -> None:
    product(emitter, out, arguments["self"], arguments["mat2"])


def _bmm(emitter: Emitter, out: TensorRef, arguments: Arguments) -> None:
    def body(counters: list[str]) -> list[str]:
        matrices = (_first_axis_at(ref, counters[0]) for ref in (out, arguments["self"], arguments["mat2"]))
        product(emitter, *matrices)
        return []

    emitter.loops(out.shape[:1], body, free=False)


def _first_axis_at(ref: TensorRef, counter: str) -> TensorRef:
    pointer = f"({ref.pointer} + {counter} * {ref.strides[0]})"
    return replace(ref, pointer=pointer, shape=ref.shape[1:], strides=ref.strides[1:])


def _mv(emitter: Emitter, out: TensorRef, arguments: Arguments) -> None:
    product(emitter, _column(out), arguments["self"], _column(arguments["vec"]))


def _column(vector: TensorRef) -> TensorRef:
    return replace(vector, shape=(*vector.shape, 1), strides=(*vector.strides, 1))


def _dot(emitter: Emitter, out: TensorRef, arguments: Arguments) -> None:
    products = emitter.room(out.dtype, arguments["self"].shape)
    emitter.each(products, "{0} * {1}", [arguments["self"], arguments["tensor"]], out.dtype)
    reduce(emitter, out, products, [0], SUM)


OPERATIONS: Mapping[str, Emit] = {"mm": _mm, "bmm": _bmm, "mv": _mv, "dot": _dot}
