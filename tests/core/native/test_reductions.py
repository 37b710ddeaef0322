"""Sums, means, spreads, the largest, softmax: torch's, over any axes."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.core.native.beside_torch import INF, NAN, compiled, listed, numbers, same

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
        for i, (ours, theirs) in enumerate(zip(compiled(function, x), listed(function(x)), strict=True)):
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
