"""A whole function as machine code: losses and gradients, what is changed in place, what is refused."""

from collections.abc import Callable, Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import grad

from espalier.core.native import NotNative, native_of
from espalier.core.native.stacked import Stacked
from tests.core.native.beside_torch import compiled, numbers, same

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


def test_a_source_of_very_many_lines_is_not_compiled() -> None:
    with pytest.raises(NotNative, match="lines of C would take minutes to compile; 10 are the most"):
        native_of(lambda x: [x.cos() @ x], [Stacked(numbers(4, 4), None)], most_lines=10)


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
