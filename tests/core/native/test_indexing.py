"""What is taken, put and cut out of tensors is torch's."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from espalier.core.native import native_of
from espalier.core.native.stacked import Stacked
from tests.core.native.beside_torch import compiled, numbers, same


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


@pytest.mark.parametrize("index", (5, -6, 2**40))
def test_an_index_that_is_out_of_range_is_an_error_and_no_crash(index: int) -> None:
    made = native_of(lambda x, i: [x[i]], [Stacked(numbers(5, 3), None), Stacked(torch.tensor([0, 4, -5]), None)])
    with pytest.raises(IndexError, match="out of range"):
        made(1, [numbers(5, 3), torch.tensor([0, index, 1])])
