"""Machine code of one lane: every operation beside torch's own, odd shapes and strides, what is refused, what is kept.

The reference is torch itself, on the same inputs.
"""

import math
import platform
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import grad

from espalier.core.native import NotNative, compile, native_of
from espalier.core.native.stacked import Stacked
from espalier.core.optimizers import SGD
from espalier.core.programs.choose import NATIVE_FROM, choose
from espalier.core.programs.machine_code import NativeProgram
from espalier.core.task import Batch, Data
from tests.core.programs.test_program import Small, Sums
from tests.tiers import examples

NAN, INF = float("nan"), float("inf")


def compiled(function: Callable[..., Any], *tensors: Tensor) -> list[Tensor]:
    """Return what the machine code of a function gives for some tensors."""
    made = native_of(lambda *given: _listed(function(*given)), [Stacked(tensor, None) for tensor in tensors])
    return made(1, tensors)


def _listed(found: Any) -> list[Tensor]:
    return list(found) if isinstance(found, tuple | list) else [found]


def numbers(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def same(found: Tensor, expected: Tensor, rel: float, why: str) -> None:
    assert found.shape == expected.shape and found.dtype == expected.dtype, why
    torch.testing.assert_close(found, expected, rtol=rel, atol=rel, equal_nan=True, msg=lambda text: f"{why}: {text}")


ELEMENTWISE: Mapping[str, Callable[[Tensor, Tensor], Any]] = {
    "sum, difference": lambda x, y: (x + y, x - y, torch.add(x, y, alpha=2), torch.sub(x, y, alpha=-0.5), 1 - x),
    "product, quotient": lambda x, y: (x * y, x / y, 3 / x, x * 2, x.reciprocal()),
    "powers": lambda x, y: (
        x**2,
        x**3,
        x**-1,
        x**-2,
        x**0,
        x.abs() ** 0.5,
        x.abs() ** -0.5,
        x.abs() ** 1.7,
        x.square(),
    ),
    "exponentials": lambda x, y: (
        x.exp(),
        x.expm1(),
        x.abs().log(),
        x.abs().log1p(),
        x.exp2(),
        x.abs().log2(),
        x.abs().log10(),
    ),
    "angles": lambda x, y: (x.sin(), x.cos(), x.erf()),
    "roots": lambda x, y: (x.abs().sqrt(), x.abs().rsqrt(), x.sqrt()),
    "squashing": lambda x, y: (x.tanh(), x.sigmoid(), F.softplus(x), F.logsigmoid(x), F.hardtanh(x), F.hardsigmoid(x)),
    "rectifiers": lambda x, y: (F.relu(x), F.leaky_relu(x), F.elu(x), F.selu(x), F.silu(x), F.mish(x)),
    # torch's own gelu makes NaN of infinity where the processor has AVX-512
    "finite rectifiers": lambda x, y: (F.gelu(x.clamp(-9, 9)),),
    "more rectifiers": lambda x, y: (F.hardswish(x), F.gelu(x, approximate="tanh"), F.relu6(x), F.softsign(x)),
    "signs": lambda x, y: (-x, x.abs(), x.sign()),
    "limits": lambda x, y: (x.clamp(-0.5, 0.7), x.clamp(min=0.1), x.clamp_max(0.2), x.maximum(y), x.minimum(y)),
    "comparisons": lambda x, y: (x > y, x >= y, x < 0.3, x <= y, x == x.clone(), x != y, x.isnan()),
    "logic": lambda x, y: ((x > 0) & (y > 0), (x > 0) | (y > 0), ~(x > 0), (x > 0).logical_and(y > 0)),
    "choices": lambda x, y: (torch.where(x > 0, x, y), x.masked_fill(y > 0, -1.5), torch.where(x > y, 1.0, 0.0)),
    "mixtures": lambda x, y: (torch.lerp(x, y, 0.3), torch.addcmul(x, y, y, value=0.2), torch.addcdiv(x, y, y.exp())),
    "other types": lambda x, y: (x.double() * 2, (x > 0).float() + y, (x * 5).long(), (x > 0).long() + 1, x.bool()),
    "constants": lambda x, y: (
        torch.ones_like(x) + y,
        torch.zeros_like(x),
        x.new_full((3,), 2.5),
        torch.full_like(x, 3),
    ),
}


@pytest.mark.parametrize("dtype", (torch.float32, torch.float64), ids=str)
@pytest.mark.parametrize("kind", ELEMENTWISE)
def test_each_elementwise_operation_is_torchs(kind: str, dtype: torch.dtype) -> None:
    """Whole vectors and what is left of one; broadcast, turned, sliced; infinite numbers and none at all."""
    function, rel = ELEMENTWISE[kind], 2e-6 if dtype == torch.float32 else 1e-12
    odd = numbers(5, 7, dtype=dtype) * 3
    odd[0, :5] = torch.tensor([NAN, INF, -INF, 0.0, -0.0])
    for x, y in [
        (odd, numbers(5, 7, seed=1, dtype=dtype)),
        (numbers(4, 1, 33, dtype=dtype), numbers(6, 1, seed=1, dtype=dtype)),
        (numbers(9, 6, dtype=dtype).T, numbers(6, 18, seed=1, dtype=dtype)[:, ::2]),
        (numbers(dtype=dtype), numbers(dtype=dtype, seed=1)),
    ]:
        found, expected = compiled(function, x, y), _listed(function(x, y))
        for i, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
            same(ours, theirs, rel, f"output {i} of {kind} for {tuple(x.shape)}")


REDUCTIONS: Mapping[str, Callable[[Tensor], Any]] = {
    "sums": lambda x: (
        x.sum(),
        x.sum(0),
        x.sum(-1),
        x.sum((0, 2)),
        x.sum(1, keepdim=True),
        x.sum((0, 1, 2), keepdim=True),
    ),
    "means": lambda x: (x.mean(), x.mean(0), x.mean((1, 2)), x.mean(-1, keepdim=True)),
    "spreads": lambda x: (
        x.var(),
        x.std(),
        x.var(0),
        x.std(1, keepdim=True),
        x.var(-1, correction=0),
        *torch.var_mean(x, 1),
    ),
    "largest": lambda x: (x.amax(0), x.amin(-1), x.amax((0, 2)), x.max(), *x.max(1), *x.max(-1, keepdim=True)),
    "places": lambda x: (x.argmax(0), x.argmax(-1), x.argmax(1, keepdim=True)),
    "counts": lambda x: ((x > 0).sum(), (x > 0).sum(0), (x > 0).float().mean(1), (x > 0).any(1), (x > -9).all(0)),
    "softmax": lambda x: (x.softmax(-1), x.softmax(1), x.log_softmax(-1), x.log_softmax(0), x.logsumexp(2)),
    "norms": lambda x: (x.norm(), torch.linalg.vector_norm(x, dim=1), F.layer_norm(x, x.shape[-1:])),
    "of sums": lambda x: (x.sum(0).sum(0), (x.sum(1) ** 2).mean(), x.flatten(1).sum(1)),
}


@pytest.mark.parametrize("kind", REDUCTIONS)
def test_each_reduction_is_torchs(kind: str) -> None:
    function = REDUCTIONS[kind]
    for x in (
        numbers(3, 5, 41),
        numbers(41, 5, 3).permute(2, 1, 0),
        numbers(6, 2, 50)[::2],
        numbers(2, 3, 70)[..., ::2],
    ):
        for i, (ours, theirs) in enumerate(zip(compiled(function, x), _listed(function(x)), strict=True)):
            same(ours, theirs, 1e-5, f"output {i} of {kind} for {tuple(x.shape)} with strides {x.stride()}")


@pytest.mark.parametrize("columns", (1, 5, 9, 27))
@pytest.mark.parametrize("dtype", (torch.float32, torch.float64), ids=str)
def test_the_largest_of_numbers_among_which_is_none_is_none(columns: int, dtype: torch.dtype) -> None:
    x = numbers(columns + 3, columns, dtype=dtype)
    for place in range(columns):
        x[place, place] = NAN
    x[-2], x[-1] = INF, -INF
    for ours, theirs in zip(
        compiled(lambda x: (x.amax(1), x.amin(1), x.sum(1)), x), (x.amax(1), x.amin(1), x.sum(1)), strict=True
    ):
        same(ours, theirs, 1e-5, "a row with NaN")


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


@examples(60)
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
    with patch.object(compile, "FLAGS", compile.FLAGS + without):
        same(compiled(torch.mm, left, right)[0], left @ right, rel, f"({m}, {k}) ({k}, {n})")


@pytest.mark.parametrize("m, n, k", [(7, 33, 700), (300, 50, 300), (61, 200, 257), (1, 64, 513), (130, 1, 260)])
@pytest.mark.parametrize("a", ("whole", "turned"))
@pytest.mark.parametrize("b", ("whole", "turned"))
@pytest.mark.parametrize("without", PROCESSORS, ids=lambda flags: "".join(flags) or "as it is")
def test_products_that_no_cache_holds_are_torchs(
    m: int, n: int, k: int, a: str, b: str, without: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In blocks of what is summed over, with copies of both sides."""
    monkeypatch.setattr(compile, "FLAGS", compile.FLAGS + without)
    left, right = shaped(m, k, a, 1, torch.float32), shaped(k, n, b, 2, torch.float32)
    same(compiled(torch.mm, left, right)[0], left @ right, 3e-5, f"({m}, {k}) ({k}, {n})")


@pytest.mark.parametrize("a", ("whole", "turned"))
@pytest.mark.parametrize("b", ("whole", "turned"))
def test_a_product_has_the_same_bits_in_vectors_of_either_width(
    a: str, b: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, right = shaped(33, 300, a, 1, torch.float32), shaped(300, 45, b, 2, torch.float32)
    found = []
    for without in PROCESSORS[:2]:
        monkeypatch.setattr(compile, "FLAGS", compile.FLAGS + without)
        found += compiled(torch.mm, left, right)
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


SEEN: Sequence[Callable[[Tensor], Tensor]] = [
    lambda x: x,
    lambda x: x.T,
    lambda x: x[:, 1:],
    lambda x: x[:, :-1],
    lambda x: x[::2],
    lambda x: x[1],
    lambda x: x[:, 0],
    lambda x: x[:1],
]
DONE: Sequence[Callable[[Tensor, Tensor], Any]] = [
    lambda x, y: x + y,
    lambda x, y: x * 0.5 - y,
    lambda x, y: x.tanh(),
    lambda x, y: x.add_(y.clone()),
    lambda x, y: x.mul_(0.5),
    lambda x, y: x.sub_(y.tanh(), alpha=0.1),
    lambda x, y: x.copy_(y.clone()),
    lambda x, y: x.sum(0, keepdim=True) * 0.1 + y,
    lambda x, y: torch.where(x > y, x, y),
    lambda x, y: x @ x.T,
]


def pairs(first: Tensor, second: Tensor) -> bool:
    """Whether the second can be broadcast to the first."""
    try:
        return torch.broadcast_shapes(first.shape, second.shape) == first.shape
    except RuntimeError:
        return False


@pytest.mark.parametrize("columns", (6, 160))
def test_what_is_read_of_a_tensor_beside_what_was_written_of_it_is_torchs(columns: int) -> None:
    """An element is read one place from where the loop before it wrote, so that the two cannot be one loop."""

    def shifted(x: Tensor) -> Tensor:
        y = x * 1
        y[:, :-1].mul_(2)
        return y[:, 1:] + 1

    same(compiled(shifted, numbers(5, columns))[0], shifted(numbers(5, columns)), 1e-6, "what was read")


@examples(60)
@given(
    rows=st.sampled_from((3, 6, 160)),
    columns=st.sampled_from((3, 6, 160)),
    choices=st.lists(st.tuples(*[st.integers(0, 99)] * 5), min_size=3, max_size=25),
)
def test_operations_that_become_one_loop_are_torchs(
    rows: int, columns: int, choices: list[tuple[int, int, int, int, int]]
) -> None:
    """Whatever is written in place, and however its parts are looked at in between."""

    def function(x: Tensor, y: Tensor) -> list[Tensor]:
        have = [x[0], y[0], x[0].clone(), y[0].clone()]
        for done, a, how_a, b, how_b in choices:
            first, second = have[a % len(have)], have[b % len(have)]
            if min(first.shape, default=0) < 2 or min(second.shape, default=0) < 2:
                continue
            first, second = SEEN[how_a % len(SEEN)](first), SEEN[how_b % len(SEEN)](second)
            if first.dim() == 2 and min(first.shape) > 1 and pairs(first, second):
                have.append(DONE[done % len(DONE)](first, second))
        return have

    tensors = numbers(1, rows, columns), numbers(1, rows, columns, seed=1)
    ours, theirs = ([tensor.clone() for tensor in tensors] for _ in range(2))
    found = native_of(function, [Stacked(tensor, 0) for tensor in tensors])(1, ours)
    expected = function(*theirs)
    for i, (mine, wanted) in enumerate(zip([*found, *ours], [*expected, *theirs], strict=True)):
        same(mine, wanted, 1e-4, f"output {i} of {choices}")


def test_indexing_is_torchs() -> None:
    x, i, j = numbers(6, 5, 4), torch.tensor([[0, 5, -1], [3, 3, 2]]), torch.tensor([1, 0, -2])
    k = torch.tensor([[[1, 0, 3, 2]] * 5] * 6)

    def put(x: Tensor, i: Tensor, j: Tensor, k: Tensor) -> Any:
        a, b, c = x.clone(), x.clone(), x.clone()
        a[j] = 1.5
        b.index_put_((j,), x[:3] * 2, accumulate=True)
        b.index_put_((j,), x[:3], accumulate=True)
        c[:, j] += 1
        return (
            a,
            b,
            c,
            x.scatter(2, k, 7.0),
            x.scatter(2, k, x * 2),
            torch.zeros_like(x).scatter_add(2, k.clamp(0, 1), x),
        )

    def took(x: Tensor, i: Tensor, j: Tensor, k: Tensor) -> Any:
        return (
            x[i],
            x[:, j],
            x[j, j],
            x[..., j],
            x.index_select(1, j.abs()),
            x.gather(2, k),
            F.embedding(i.abs(), x[:, 0]),
        )

    for function in (took, put):
        for n, (ours, theirs) in enumerate(zip(compiled(function, x, i, j, k), function(x, i, j, k), strict=True)):
            same(ours, theirs, 1e-6, f"output {n} of {function.__name__}")


def test_shapes_and_pieces_are_torchs() -> None:
    def pieces(x: Tensor) -> Any:
        y = x.clone()
        y[1:3] *= 2
        y.select(1, 0).zero_()
        y[:, 1].fill_(3)
        z = torch.cat([x, y, x[:1]], 0)
        views = *x.split(2, 1), x.unbind(0)[1], x.expand(2, *x.shape), x.diagonal(), x.unfold(1, 3, 2)
        copies = torch.stack([x, y], 1), x.T.reshape(3, -1), torch.tril(x), F.pad(x, (1, 2, 0, 3), value=0.5)
        return y, z, *views, *copies, torch.arange(6, dtype=x.dtype) * x[0]

    x = numbers(6, 6)
    for i, (ours, theirs) in enumerate(zip(compiled(pieces, x), pieces(x), strict=True)):
        same(ours, theirs, 1e-6, f"output {i}")


LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross entropy": lambda x, y: F.cross_entropy(x, y),
    "smoothed": lambda x, y: F.cross_entropy(x, y, label_smoothing=0.1),
    "some ignored": lambda x, y: F.cross_entropy(x, torch.where(y == 1, -100, y)),
    "likelihood": lambda x, y: F.nll_loss(x.log_softmax(1), y, reduction="sum"),
    "of each": lambda x, y: F.cross_entropy(x, torch.where(y == 1, -100, y), reduction="none").square().sum(),
    "weighted": lambda x, y: F.cross_entropy(x, y, weight=torch.arange(1.0, 6.0)),
    "of one": lambda x, y: F.nll_loss(x[0].log_softmax(0), y[0]),
    "parts": lambda x, y: (x[1:, ::2].tanh() * x[:-1, 1::2].sum()).sum() + (x[2] * x[..., -1:].sum()).exp().sum(),
    "shares": lambda x, y: (x.softmax(1) * x).sum() + (x.T.softmax(0)[1:] * x.T.log_softmax(1)[1:]).sum(),
    "squares": lambda x, y: F.mse_loss(x.tanh(), x.detach() * 0 + 0.3),
    "Huber": lambda x, y: (
        F.huber_loss(x, x.detach() * 0.3) + F.smooth_l1_loss(x, x.detach() * 2) + F.l1_loss(x, x * 0.5)
    ),
    "binary": lambda x, y: (
        F.binary_cross_entropy_with_logits(x, x.detach().sigmoid())
        + F.binary_cross_entropy(x.sigmoid(), x.detach().sigmoid())
    ),
    "normalised": lambda x, y: (
        (F.layer_norm(x, (5,)) * x).sum() + F.batch_norm(x, None, None, training=True).pow(3).mean()
    ),
    "attention": lambda x, y: F.scaled_dot_product_attention(x[None], x[None] * 2, x[None] + 1).square().mean(),
}


@pytest.mark.parametrize("kind", LOSSES)
def test_a_loss_and_its_gradient_are_torchs(kind: str) -> None:
    x, y = numbers(8, 5), torch.tensor([0, 1, 4, 2, 1, 1, 3, 0])
    found = compiled(lambda x, y: (LOSSES[kind](x, y), grad(LOSSES[kind])(x, y)), x, y)
    leaf = x.clone().requires_grad_()
    loss = LOSSES[kind](leaf, y)
    loss.backward()
    assert leaf.grad is not None
    same(found[0], loss.detach(), 1e-6, "the loss")
    same(found[1], leaf.grad, 1e-6, "its gradient")


def test_what_is_changed_in_place_is_changed_lane_by_lane() -> None:
    """Arguments that have lanes along their first axis, or their second; outputs only as far as they are asked for."""

    def step(theta: Tensor, rate: Tensor, shared: Tensor) -> list[Tensor]:
        before = theta.clone()
        theta.sub_(rate[0] * shared)
        theta[:, 0].add_(1)
        return [theta.sum(1), before]

    theta, rate, shared = numbers(5, 4), numbers(2, 5, 1, seed=1), numbers(4, seed=2)
    given = [Stacked(theta, 0), Stacked(rate, 1), Stacked(shared, None)]
    kept = theta.clone()
    made = native_of(step, given)
    assert torch.equal(theta, kept), "making the code changes nothing"
    sums, before = made(5, [theta, rate, shared])
    assert torch.equal(before, kept)
    expected = kept - rate[0] * shared
    expected[:, 0] += 1
    same(theta, expected, 1e-6, "what was changed")
    same(sums, expected.sum(1), 1e-6, "what was returned")
    assert len(made(5, [theta, rate, shared], 1)) == 1
    with pytest.raises(ValueError, match="gaps"):
        made(2, [numbers(4, 4)[::2], rate[:, :2].contiguous(), shared])


@pytest.mark.parametrize("index", (5, -6, 2**40))
def test_an_index_that_is_out_of_range_is_an_error_and_no_crash(index: int) -> None:
    made = native_of(lambda x, i: [x[i]], [Stacked(numbers(5, 3), None), Stacked(torch.tensor([0, 4, -5]), None)])
    with pytest.raises(IndexError, match="out of range"):
        made(1, [numbers(5, 3), torch.tensor([0, index, 1])])


@pytest.mark.parametrize(
    "function, why",
    [
        (lambda x: [F.dropout(x, 0.5)], "bernoulli|dropout|rand"),
        (lambda x: [F.conv2d(x[None, None], x[None, None, :3, :3])], "convolution"),
        (lambda x: [x.half()], "float16"),
        (lambda x: [x * 2 if x.sum() > 0 else x], "data-dependent|DataDependent|item"),
        (lambda x: [x[x > 0]], "DynamicOutputShape|mask|nonzero"),
        (lambda x: [x.cumsum(0)], "cumsum"),
        (lambda x: [torch.linalg.inv(x)], "linalg|inv"),
        (lambda x: [torch.from_numpy(x.numpy())], "numpy|RuntimeError"),
    ],
)
def test_what_cannot_be_written_says_why(function: Callable[[Tensor], list[Tensor]], why: str) -> None:
    with pytest.raises(NotNative, match=why):
        native_of(function, [Stacked(numbers(4, 4), None)])


def squashed(x: Tensor) -> list[Tensor]:
    return [x.tanh()]


def squashed_in_place(x: Tensor) -> list[Tensor]:
    before = x.clone()
    x.copy_(x.tanh())
    return [before]


@pytest.mark.parametrize("function", (squashed, squashed_in_place), ids=lambda function: function.__name__)
def test_code_that_gives_other_numbers_is_refused(
    function: Callable[[Tensor], list[Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from espalier.core.native import elementwise

    monkeypatch.setitem(elementwise.ELEMENTWISE, "tanh", ("{0} * 0.99f", ("self",)))  # pyright: ignore[reportArgumentType]
    with pytest.raises(NotNative, match="other numbers"):
        native_of(function, [Stacked(numbers(4, 4), 0)])


# --- compiling --------------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "espalier" / "native"


def test_what_was_compiled_once_is_found_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled(torch.sin, numbers(3))
    (kept,) = cache.glob("*.so")
    monkeypatch.setattr(compile, "_compile", lambda *_: pytest.fail("compiled again"))
    compiled(torch.sin, numbers(3))
    assert list(cache.glob("*.so")) == [kept]


@pytest.mark.parametrize("what", ("_machine", "_version"))
def test_another_processor_or_another_compiler_finds_nothing_that_was_compiled(
    cache: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled(torch.sin, numbers(3))
    monkeypatch.setattr(compile, what, lambda *_: "another")
    for _ in range(2):
        compiled(torch.sin, numbers(3))
        assert len(list(cache.glob("*.so"))) == 2


def test_a_file_that_was_cut_off_is_made_again(cache: Path) -> None:
    """In processes of their own: one that has loaded a library never looks at its file again."""
    code = (
        "import torch; from espalier.core.native.stacked import Stacked\n"
        "from espalier.core.native import native_of; x = torch.ones(3)\n"
        "print(native_of(lambda x: [x.cos()], [Stacked(x, None)])(1, [x])[0][0].item())"
    )

    def run() -> float:
        return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)

    assert run() == pytest.approx(math.cos(1), rel=1e-6)
    (kept,) = cache.glob("*.so")
    whole = kept.stat().st_size
    kept.write_bytes(kept.read_bytes()[:100])
    assert run() == pytest.approx(math.cos(1), rel=1e-6)
    assert kept.stat().st_size == whole


def test_processes_that_need_the_same_compile_it_once(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, log = compile.compiler(), tmp_path / "log"
    counting = script(tmp_path / "cc", f'case "$1" in --version) ;; *) echo once >> {log};; esac\nexec {real} "$@"')
    monkeypatch.setenv("CC", counting)
    code = (
        "import torch; from espalier.core.native.stacked import Stacked; from espalier.core.native import native_of\n"
        "native_of(lambda x: [x.sin().cos()], [Stacked(torch.ones(3), None)])"
    )
    both = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert log.read_text() == "once\n" and len(list(cache.glob("*.so"))) == 1


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    same(compiled(torch.exp, numbers(3))[0], numbers(3).exp(), 1e-6, "the exponential")


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_without_a_compiler_or_with_a_broken_one_there_is_no_machine_code(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = script(
        tmp_path / "broken", 'case "$1" in --version) echo broken 1;; *) echo "x: error: no" >&2; exit 1;; esac'
    )
    empty = script(tmp_path / "empty", 'case "$1" in --version) echo empty 1;; *) exit 0;; esac')
    for command, why in ((broken, "broken failed: x: error: no"), (empty, "cannot be loaded")):
        monkeypatch.setenv("CC", command)
        with pytest.raises(NotNative, match=why):
            compiled(torch.exp, numbers(4))
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotNative, match="no C compiler here: install gcc"):
        compiled(torch.exp, numbers(4))
    assert not [*cache.glob("*.so"), *cache.glob("*.part")], "nothing broken is kept"


def test_without_functions_of_whole_vectors_the_scalar_ones_serve(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a C library that has none: the first try fails, the second gives the same numbers but for rounding."""
    real = compile.compiler()
    plain = script(
        tmp_path / "cc", f'case "$*" in *VECTOR_MATH*) echo "error: no" >&2; exit 1;; esac\nexec {real} "$@"'
    )
    monkeypatch.setenv("CC", plain)
    x = numbers(100)
    for ours, theirs in zip(compiled(lambda x: (x.tanh(), x.exp()), x), (x.tanh(), x.exp()), strict=True):
        same(ours, theirs, 1e-6, "a function")


# --- a program --------------------------------------------------------------------------------------------------------


class Listed(Small):
    """Measures by means that cannot be traced."""

    def metrics(self, model: nn.Module, batch: Batch) -> Mapping[str, Any]:
        return {"loss": self.loss(model, batch), "first": float(batch[0][0, 0].item())}


def test_machine_code_is_chosen_when_it_pays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    task, odd = Small(), Small(Sums)
    batch = tuple(tensor[:7] for tensor in task.data().train)
    assert choose(task, batch, 8, work=NATIVE_FROM) == ("native", f"{NATIVE_FROM:,} steps of trials ahead")
    assert choose(task, batch, 1, work=NATIVE_FROM)[0] == "native", "one lane is no exception"
    assert choose(task, batch, 8, work=NATIVE_FROM - 1)[0] == "vmap"
    assert choose(task, batch, 1, work=NATIVE_FROM - 1)[0] == "plain"
    assert choose(task, batch, 8, "native") == choose(task, batch, 1, "native") == ("native", "as the spec says")
    assert choose(task, batch, 8, "native", device="cuda")[0] == "captured"
    for lanes, name in ((8, "vmap"), (1, "plain")):
        for wanted in ("auto", "native"):
            found, why = choose(odd, batch, lanes, wanted, NATIVE_FROM)
            assert found == name and "no machine code" in why and "cumsum" in why
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert choose(task, batch, 8, work=NATIVE_FROM) == (
        "vmap",
        "many lanes; there is no machine code for it (NotNative: there is no C compiler here: install gcc)",
    )


def test_a_validation_that_cannot_be_traced_is_torchs_own() -> None:
    task = Listed()
    program, valid = NativeProgram(task, SGD()), task.data().valid
    row = program.fresh_row(1)
    model = program.module(row)
    for _ in range(2):
        found = program.evaluate(row, valid)
        assert found["first"] == pytest.approx(valid[0][0, 0].item())
        assert found["loss"] == pytest.approx(task.loss(model, valid).item(), rel=1e-6)


def test_a_label_that_is_no_class_is_an_error() -> None:
    class Wrong(Small):
        def loss(self, model: nn.Module, batch: Batch) -> Tensor:
            return F.cross_entropy(model(batch[0]).expand(-1, 3), batch[1])

        def data(self) -> Data:
            x_NF = numbers(41, 3)
            y_N = torch.arange(41) % 3
            y_N[29] = 7
            return Data((x_NF[:30], y_N[:30]), (x_NF[30:], y_N[30:]))

    task = Wrong()
    program, train = NativeProgram(task, SGD()), task.data().train
    rows = {name: tensor[None] for name, tensor in program.fresh_row(0).items()}
    assert program.why_not(train, 8) is None
    loss_1, _ = program.step(rows, train, torch.arange(22, 30)[None], torch.zeros(3, 1, 1), (0, 0))
    assert loss_1.isnan().all()
    assert isinstance(program.failed[0], IndexError) and "out of bounds" in str(program.failed[0])
