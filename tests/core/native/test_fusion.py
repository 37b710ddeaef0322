"""Operations that become one loop are torch's."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from espalier.core.native import native_of
from espalier.core.native.stacked import Stacked
from tests.core.native.beside_torch import compiled, numbers, same
from tests.tiers import examples

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


@examples(60, fast=8)  # each is a compilation
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
