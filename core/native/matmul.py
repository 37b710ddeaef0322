"""A matrix product as calls of tile kernels (kernels.h) of constant size; the vector width decides which."""

from collections.abc import Iterator, Sequence

from espalier.core.native.tensor_refs import TensorRef

SHAPES = (("#ifdef __AVX512F__", 64, 8), ("#else", 32, 6))  # bytes of a vector and rows of a tile, as in vectors.h
WIDEST, MOST_ROWS = 64, 8
NEAR, SEVERAL = 48 << 10, 24  # bytes of the L1 cache, about; rows or columns from which on a packed copy pays
DEEP = 256  # depth of a block of the sum: two vectors of columns so deep stay in the cache


class Product:
    """out (M, N) = a (M, K) b (K, N), of any strides, except that the columns of `out` are contiguous."""

    def __init__(self, a: TensorRef, b: TensorRef):
        """Decide what is packed before use: rows of a, columns of b."""
        (self.m, self.k), self.n = a.shape, b.shape[1]
        self.a, self.b, self.size = a, b, a.dtype.itemsize
        self.lay_a = a.strides[1] != 1 and self.m * self.k * self.size > NEAR and self.n > SEVERAL
        self.lay_b = b.strides[1] != 1 or (self.k * self.n * self.size > NEAR and self.m > SEVERAL)
        self.deep = min(self.k, DEEP)

    def rooms(self) -> list[int]:
        """Return how many numbers the packed copies of a and b need, 0 for one that is not packed."""
        return [
            (self.m + MOST_ROWS) * self.deep if self.lay_a else 0,
            self.deep * 2 * WIDEST // self.size if self.lay_b else 0,
        ]

    def lines(self, out: TensorRef, copies: Sequence[TensorRef | None]) -> Iterator[str]:
        """Yield the product's C, once for each tile shape."""
        for condition, width, rows in SHAPES:
            yield condition
            yield from self._summed(out, [copy.pointer if copy else "" for copy in copies], width // self.size, rows)
        yield "#endif"

    def _summed(self, out: TensorRef, copies: Sequence[str], wide: int, rows: int) -> Iterator[str]:
        """Yield blocks of the summed axis."""
        whole, left = divmod(self.k, DEEP) if self.k > DEEP else (0, self.k)
        if whole:
            yield f"for (int64_t k0 = 0; k0 < {whole * DEEP}; k0 += {DEEP}) {{"
            yield from self._block(out, copies, wide, rows, DEEP, "k0", "k0 > 0")
            yield "}"
        if left:
            yield "{"
            yield from self._block(out, copies, wide, rows, left, str(whole * DEEP), str(int(whole > 0)))
            yield "}"

    def _block(
        self, out: TensorRef, copies: Sequence[str], wide: int, rows: int, deep: int, k0: str, more: str
    ) -> Iterator[str]:
        """Yield the columns of a block, two vectors at a time, then the rest."""
        (am, ak), kind = self.a.strides, out.kind
        a_from = f"&{self.a.at(('0', k0))}"
        if self.lay_a:
            yield f"lay_rows_{kind}({copies[0]}, {a_from}, {am}, {ak}, {self.m}, {deep});"
            a_from, am, ak = copies[0], 1, rows
        step = rows * deep if self.lay_a else rows * am
        whole, left = divmod(self.n, 2 * wide)
        several = [(f"for (int64_t n = 0; n < {whole * 2 * wide}; n += {2 * wide}) {{", 2 * wide)] if whole else []
        for begin, columns in [*several, *([(f"{{ const int64_t n = {self.n - left};", left)] if left else [])]:
            bk, b_from = self.b.strides[0], f"&{self.b.at((k0, 'n'))}"
            yield begin
            if self.lay_b:
                yield f"lay_columns_{kind}({copies[1]}, {b_from}, {bk}, {self.b.strides[1]}, {deep}, {columns});"
                b_from, bk = copies[1], 2 * wide
            rest = columns % wide
            ldc = out.strides[0] if self.m > 1 else self.n
            operands = f"{b_from}, {bk}", f"{ldc}, {rest}, {0 if self.lay_b else rest}, {more}"
            vectors = 2 if columns > wide else 1
            last = self.m - self.m % rows
            if last:
                yield (
                    f"for (int64_t m = 0; m < {last}; m += {rows}) tile_{rows}_{vectors}_{kind}({deep}, "
                    f"{a_from} + m / {rows} * {step}, {am}, {ak}, {operands[0]}, &{out.at(('m', 'n'))}, {operands[1]});"
                )
            if self.m > last:
                yield (
                    f"tile_{self.m - last}_{vectors}_{kind}({deep}, {a_from} + {last // rows * step}, {am}, {ak}, "
                    f"{operands[0]}, &{out.at((str(last), 'n'))}, {operands[1]});"
                )
            yield "}"
