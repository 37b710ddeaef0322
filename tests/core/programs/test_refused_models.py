"""Models and losses that would train otherwise than they look are refused before anything is trained."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from espalier.core.checks import preflight
from espalier.core.errors import BadInput
from espalier.core.measures.guesses import entropy
from espalier.core.task import Batch, Data
from tests.core.programs.test_awkward import BATCH, Classes, finished, trials

Make = Callable[[], nn.Module]


def _hooked() -> nn.Module:
    model = nn.Linear(12, 5)
    model.weight.register_hook(lambda grad: grad.clamp(-1, 1))
    return model


class Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(12, 5, dtype=torch.complex64))

    def forward(self, x: Tensor) -> Tensor:
        return (x.to(torch.complex64) @ self.w).abs()


class Drawn(nn.Module):
    """Random features that it keeps as a plain tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.layer = torch.randn(12, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer((x @ self.features).cos())


class InAList(nn.Module):
    """A layer that torch does not know of."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.layer = [nn.Linear(12, 8)], nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.hidden[0](x).tanh())


class Permuted(nn.Module):
    """A permutation in Python, as of a flow; and a name that is counted."""

    made = 0

    def __init__(self) -> None:
        super().__init__()
        Permuted.made += 1
        self.name, self.number = f"model-{Permuted.made}", Permuted.made
        self.order, self.layer = torch.randperm(12).tolist(), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x[:, self.order])


class Named(nn.Module):
    """Counts its models, and names their modules so."""

    made = 0

    def __init__(self) -> None:
        super().__init__()
        Named.made += 1
        self.number, self.seen, self.layer = Named.made, [Named.made], nn.Linear(12, 5)

        class Inner(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return x.tanh()

        self.inner, self.scale = Inner(), lambda x: 2 * x

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.scale(self.inner(x)))


class Turns(nn.Module):
    """A buffer that begins as a whole number and becomes another kind of number."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 5)
        self.register_buffer("scale", torch.tensor(1))

    def forward(self, x: Tensor) -> Tensor:
        self.scale = 0.9 * self.scale + 0.1 * x.std().detach()
        return self.layer(x / self.scale)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (_hooked, "parameter weight of the model has a hook, which would not run in a lane"),
        (Complex, "parameter w of the model is complex"),
        (Drawn, "model's features differs from seed to seed, .*register_buffer"),
        (InAList, r"model's hidden\[0\].weight.* differs from seed to seed, .*ModuleList"),
        (Permuted, r"model's order\[\d+\] differs from seed to seed"),
        (Turns, "buffer scale begins as torch.int64 and becomes torch.float32"),
    ],
)
def test_a_model_that_would_train_otherwise_than_it_looks_is_refused(model: Make, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        preflight.check(Classes(model), BATCH)


def test_a_model_may_count_and_name_its_modules() -> None:
    preflight.check(Classes(Named), BATCH)


class Listed(Classes):
    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return super().loss(model, batch)[None]


@pytest.mark.parametrize("program", ["plain", "native"])
def test_a_loss_with_axes_is_refused(program: str) -> None:
    task = Listed(lambda: nn.Linear(12, 5))
    for call in (lambda: preflight.check(task, BATCH), lambda: finished(task, trials(1), program)):
        with pytest.raises(BadInput, match=r"loss\(\) returned a tensor of shape \(1,\); it must be one number"):
            call()


@pytest.mark.parametrize(
    ("target", "loss"),
    [
        (torch.tensor([True, False, False, False]), 0.5623351446188083),
        (torch.tensor([1_700_000_000, 1_700_000_001]), 0.6931471805599453),
    ],
)
def test_targets_of_two_values_have_a_constant_guess_however_they_are_written(target: Tensor, loss: float) -> None:
    assert entropy(target, target) == pytest.approx(loss, rel=1e-12)


class Masked(Classes):
    """Its last tensor is a mask under which every example counts."""

    def data(self) -> Data:
        return Data(*((*split, torch.ones(len(split[0]), dtype=torch.bool)) for split in vars(super().data()).values()))


def test_a_mask_is_not_taken_for_a_class() -> None:
    assert preflight.check(Masked(lambda: nn.Linear(12, 5)), BATCH).metrics == ["loss"]
