"""A function as a list of operations: the same numbers for any number of lanes, a refusal where there is no list."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, fx
from torch.func import grad_and_value, vmap

from espalier.core.native.stacked import Stacked
from espalier.core.programs.graph import PRIMES, NotOneGraph, graph_of

SIZES = st.integers(1, 40)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def kinds(module: fx.GraphModule) -> list[str]:
    return [str(node.target) for node in module.graph.nodes if node.op == "call_function"]


@given(rows=SIZES, inner=SIZES, columns=SIZES, lanes=st.integers(2, 9))
def test_a_product_is_the_product_however_it_is_turned(rows: int, inner: int, columns: int, lanes: int) -> None:
    a, b = normal(3, rows, inner), normal(3, inner, columns, seed=1)
    graph = graph_of(lambda a, b: [torch.bmm(a, b).tanh()], [Stacked(a, 0), Stacked(b, 0)])
    a, b = normal(lanes, rows, inner, seed=2), normal(lanes, inner, columns, seed=3)
    torch.testing.assert_close(graph(a, b)[0], torch.einsum("kmi,kin->kmn", a, b).tanh(), rtol=1e-4, atol=1e-5)
    turned = bool(columns % 8) and not rows % 8
    assert kinds(graph).count("aten.transpose.int") == 3 * turned


@given(lanes=st.integers(2, 12), examples=st.integers(1, 7))
def test_a_step_changes_its_arguments_as_the_function_does(lanes: int, examples: int) -> None:
    data = normal(50, 5)
    descend = vmap(grad_and_value(lambda w, x: torch.nn.functional.softplus(x @ w).mean()))

    def step(w_KF: Tensor, data_NF: Tensor, index_KB: Tensor) -> Sequence[Tensor]:
        grad_KF, loss_K = descend(w_KF, data_NF[index_KB])
        w_KF.sub_(grad_KF * 0.1)
        return [loss_K]

    index = torch.arange(3 * examples).view(3, examples)
    graph = graph_of(step, [Stacked(normal(3, 5), 0), Stacked(data, None), Stacked(index, 0)])
    index = (torch.arange(lanes * examples) * 7 % 50).view(lanes, examples)
    ours, theirs = normal(lanes, 5, seed=4), normal(lanes, 5, seed=4)
    for _ in range(3):
        torch.testing.assert_close(graph(ours, data, index)[0], step(theirs, data, index)[0])
    torch.testing.assert_close(ours, theirs)


def test_the_arguments_it_is_made_with_stay_as_they_are() -> None:
    a = normal(3, 4)
    kept = a.clone()
    graph_of(lambda a: [a.add_(1)], [Stacked(a, 0)])
    assert torch.equal(a, kept)


def test_lanes_laid_side_by_side_are_counted_too() -> None:
    graph = graph_of(lambda a: [a.reshape(-1, 4).cos().reshape(a.shape[0], -1)], [Stacked(normal(3, 5, 4), 0)])
    for lanes in (2, 7, 300):
        a = normal(lanes, 5, 4)
        assert torch.equal(graph(a)[0], a.cos().reshape(lanes, -1))


@pytest.mark.parametrize("size", PRIMES)
def test_a_size_that_could_be_taken_for_the_number_of_lanes_is_not(size: int) -> None:
    graph = graph_of(lambda a: [a.reshape(a.shape[0], 2, -1).sin()], [Stacked(normal(3, 2 * size), 0)])
    assert graph(normal(4, 2 * size))[0].shape == (4, 2, size)


def one_by_one(a: Tensor) -> Sequence[Tensor]:
    return [torch.stack([row * 2 for row in a])]


def asks(a: Tensor) -> Sequence[Tensor]:
    return [a * a.sum().item()]


def few_alone(a: Tensor) -> Sequence[Tensor]:
    return [a * 2 if a.shape[0] > 100 else a * 3]


def changes_few_alone(a: Tensor) -> Sequence[Tensor]:
    before = a.clone()
    a.mul_(2 if a.shape[0] > 100 else 3)
    return [before]


@pytest.mark.parametrize(
    "function", (one_by_one, asks, few_alone, changes_few_alone), ids=lambda function: function.__name__
)
def test_what_is_no_one_list_of_operations_is_refused(function: object) -> None:
    with pytest.raises(NotOneGraph):
        graph_of(function, [Stacked(normal(3, 4), 0)])  # pyright: ignore[reportArgumentType]
