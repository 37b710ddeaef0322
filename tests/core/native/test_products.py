"""Products of matrices are torch's, whatever their sizes, strides and the processor's vectors."""

import platform
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from espalier.core.native.compile import FLAGS
from tests.core.native.beside_torch import compiled, numbers, same
from tests.tiers import examples


def shaped(rows: int, columns: int, how: str, seed: int, dtype: torch.dtype) -> Tensor:
    """Return a matrix that lies as it is, turned, or with gaps."""
    if how == "turned":
        return numbers(columns, rows, seed=seed, dtype=dtype).T
    return (
        numbers(rows, columns, seed=seed, dtype=dtype)
        if how == "whole"
        else numbers(2 * rows, 2 * columns, seed=seed, dtype=dtype)[::2, ::2]
    )


lies = st.sampled_from(("whole", "turned", "gaps"))


PROCESSORS = ((), ("-mno-avx512f",), ("-mno-avx",)) if platform.machine() == "x86_64" else ((),)
"""Flags that take abilities from the code: its vectors, and so its tiles, are others without them."""


@examples(60, fast=8)  # each is a compilation
@given(
    m=st.integers(1, 40),
    n=st.integers(1, 40),
    k=st.integers(1, 40),
    a=lies,
    b=lies,
    dtype=st.sampled_from((torch.float32, torch.float64)),
    without=st.sampled_from(PROCESSORS),
)
def test_every_product_is_torchs(
    m: int, n: int, k: int, a: str, b: str, dtype: torch.dtype, without: tuple[str, ...]
) -> None:
    left, right = shaped(m, k, a, 1, dtype), shaped(k, n, b, 2, dtype)
    rel = 1e-5 if dtype == torch.float32 else 1e-13
    same(compiled(torch.mm, left, right, flags=FLAGS + without)[0], left @ right, rel, f"({m}, {k}) ({k}, {n})")


@pytest.mark.parametrize("m, n, k", [(7, 33, 700), (300, 50, 300), (61, 200, 257), (1, 64, 513), (130, 1, 260)])
@pytest.mark.parametrize("a", ("whole", "turned"))
@pytest.mark.parametrize("b", ("whole", "turned"))
@pytest.mark.parametrize("without", PROCESSORS, ids=lambda flags: "".join(flags) or "as it is")
def test_products_that_no_cache_holds_are_torchs(
    m: int, n: int, k: int, a: str, b: str, without: tuple[str, ...]
) -> None:
    """In blocks of what is summed over, with copies of both sides."""
    left, right = shaped(m, k, a, 1, torch.float32), shaped(k, n, b, 2, torch.float32)
    same(compiled(torch.mm, left, right, flags=FLAGS + without)[0], left @ right, 3e-5, f"({m}, {k}) ({k}, {n})")


@pytest.mark.parametrize("a", ("whole", "turned"))
@pytest.mark.parametrize("b", ("whole", "turned"))
def test_a_product_has_the_same_bits_in_vectors_of_either_width(a: str, b: str) -> None:
    left, right = shaped(33, 300, a, 1, torch.float32), shaped(300, 45, b, 2, torch.float32)
    found = []
    for without in PROCESSORS[:2]:
        found += compiled(torch.mm, left, right, flags=FLAGS + without)
    assert torch.equal(found[0], found[-1])


AT_THE_END_OF_A_PAGE = """
import ctypes, mmap, torch
from espalier.core.native.stacked import Stacked
from espalier.core.native import native_of
PAGE, PROT_NONE, libc = mmap.PAGESIZE, 0, ctypes.CDLL(None)
pages = mmap.mmap(-1, 2 * PAGE)
begin = ctypes.addressof(ctypes.c_char.from_buffer(pages))
assert libc.mprotect(ctypes.c_void_p(begin + PAGE), ctypes.c_size_t(PAGE), PROT_NONE) == 0
for m, n, k in [(3, 5, 4), (9, 21, 3)]:
    a, b = torch.randn(m, k), torch.randn(k, n)
    last = torch.frombuffer(pages, dtype=b.dtype, count=k * n, offset=PAGE - 4 * k * n).view(k, n).copy_(b)
    (found,) = native_of(lambda a, b: [a @ b], [Stacked(a, None), Stacked(b, None)])(1, [a, last])
    torch.testing.assert_close(found, a @ b)
print("read", flush=True)
"""


def test_a_product_reads_nothing_behind_its_last_row() -> None:
    """The last numbers lie at the end of a page, with another behind it that must not be read; see mprotect(2)."""
    done = subprocess.run([sys.executable, "-c", AT_THE_END_OF_A_PAGE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "read\n"), done.stderr


def test_products_of_other_axes_are_torchs() -> None:
    x, y, v = numbers(4, 5, 6), numbers(4, 6, 7, seed=1), numbers(6, seed=2)
    functions: list[Callable[..., Any]] = [
        lambda x, y, v: (x @ y, torch.bmm(x, y), x @ v, x[0] @ v, v @ v, v @ y[0]),
        lambda x, y, v: (F.linear(x, y[0].T, y[0, 0]), torch.addmm(x[0, :, :1], x[0], y[0], beta=0.5, alpha=2)),
        lambda x, y, v: (torch.baddbmm(y[:, :5], x, y), torch.einsum("bij,bjk->ik", x, y), torch.outer(v, v)),
    ]
    for function in functions:
        for i, (ours, theirs) in enumerate(zip(compiled(function, x, y, v), function(x, y, v), strict=True)):
            same(ours, theirs, 1e-5, f"output {i}")
