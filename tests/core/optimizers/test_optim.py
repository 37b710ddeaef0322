"""Optimizers against torch.optim: every lane of a stack moves as a model of its own would."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from espalier.core.optimizers import OPTIMIZERS, SGD, Adam, AdamW, Optimizer
from espalier.core.training.history import history
from espalier.core.training.trial import Hyperparameters, Structure, Trial
from tests.tiers import examples

STEPS, PARAMETERS = 12, 13

OURS: dict[str, Optimizer] = {
    "SGD": SGD(momentum=False),
    "momentum": SGD(),
    "Nesterov": SGD(nesterov=True),
    "Adam": Adam(),
    "AdamW": AdamW(),
}
every_optimizer = pytest.mark.parametrize("name", OURS)


def theirs(name: str, hyper: Hyperparameters, theta: nn.Parameter) -> torch.optim.Optimizer:
    numbers = dict(hyper.numbers)
    settings_: dict[str, Any] = {"lr": hyper.lr, "weight_decay": numbers.get("weight_decay", 0.0)}
    if name in ("Adam", "AdamW"):
        kind = torch.optim.Adam if name == "Adam" else torch.optim.AdamW
        return kind([theta], betas=(numbers["beta1"], numbers["beta2"]), eps=numbers["eps"], **settings_)
    momentum = 0.0 if name == "SGD" else numbers["momentum"]
    return torch.optim.SGD([theta], momentum=momentum, nesterov=name == "Nesterov", **settings_)


@dataclass
class Stack:
    """Lanes that are moved by given gradients."""

    optimizer: Optimizer
    hypers: list[Hyperparameters]

    def start(self) -> Tensor:
        each = [torch.randn(PARAMETERS, dtype=torch.float64, generator=generator(k)) for k in range(len(self.hypers))]
        return torch.stack(each)

    def train(self, gradients_SKP: Tensor, dtype: torch.dtype = torch.float64) -> Iterator[Tensor]:
        """Yield the parameters after every step."""
        trials = [Trial(str(k), 0, STEPS, hyper) for k, hyper in enumerate(self.hypers)]
        table_SCK = history(Structure(self.optimizer, "constant"), trials, [0] * len(trials), STEPS)
        theta_KP = self.start().to(dtype)
        slots = {slot: torch.zeros_like(theta_KP) for slot in self.optimizer.slots}
        for c_CK, grad_KP in zip(table_SCK, gradients_SKP.to(dtype), strict=True):
            self.optimizer.update(theta_KP, grad_KP.clone(), slots, c_CK.to(dtype)[..., None])
            yield theta_KP.clone()


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gradients(lanes: int) -> Tensor:
    return torch.randn(STEPS, lanes, PARAMETERS, dtype=torch.float64, generator=generator(99))


hypers = st.builds(
    Hyperparameters,
    lr=st.floats(1e-4, 1),
    momentum=st.floats(0.01, 0.99),
    weight_decay=st.sampled_from((0.0, 1e-4, 0.3)),
    beta1=st.floats(0, 0.99),
    beta2=st.floats(0.5, 0.9999),
    eps=st.sampled_from((1e-8, 1e-3)),
)


@every_optimizer
@examples(15)
@given(lanes=st.lists(hypers, min_size=1, max_size=4))
def test_every_lane_moves_as_torch_optim_moves_it(name: str, lanes: list[Hyperparameters]) -> None:
    stack = Stack(OURS[name], lanes)
    given_SKP = gradients(len(lanes))
    ours_SKP = torch.stack(list(stack.train(given_SKP)))
    for k, hyper in enumerate(lanes):
        theta = nn.Parameter(stack.start()[k])
        optimizer = theirs(name, hyper, theta)
        for s in range(STEPS):
            theta.grad = given_SKP[s, k].clone()
            optimizer.step()
            torch.testing.assert_close(ours_SKP[s, k], theta.detach(), rtol=1e-9, atol=1e-11)


@every_optimizer
@pytest.mark.parametrize("broken", (float("nan"), float("inf")))
def test_a_broken_gradient_moves_no_other_lane(name: str, broken: float) -> None:
    lanes = [Hyperparameters(lr=0.1 / (k + 1), momentum=0.9, weight_decay=0.1) for k in range(3)]
    given_SKP = gradients(3)
    *_, whole_KP = Stack(OURS[name], lanes).train(given_SKP, torch.float32)
    given_SKP[2:, 1] = broken
    *_, beside_KP = Stack(OURS[name], lanes).train(given_SKP, torch.float32)
    assert torch.equal(beside_KP[[0, 2]], whole_KP[[0, 2]])
    assert not beside_KP[1].isfinite().any()


@every_optimizer
def test_a_lane_moves_alike_alone_and_beside_others(name: str) -> None:
    lanes = [Hyperparameters(lr=0.1 / (k + 1), momentum=0.9, weight_decay=0.1, beta1=0.8) for k in range(5)]
    given_SKP = gradients(5)
    *_, together_KP = Stack(OURS[name], lanes).train(given_SKP, torch.float32)
    *_, first_KP = Stack(OURS[name], lanes[:1]).train(given_SKP[:, :1], torch.float32)
    assert torch.equal(first_KP[0], together_KP[0])


@every_optimizer
def test_at_a_rate_of_zero_nothing_moves_but_the_optimizer_goes_on_learning(name: str) -> None:
    """Weight decay included: it is scaled by the rate, decoupled or not."""
    stack = Stack(OURS[name], [Hyperparameters(lr=0.0, momentum=0.9, weight_decay=0.5)])
    *_, theta_KP = stack.train(gradients(1))
    assert torch.equal(theta_KP, stack.start())


def test_plain_sgd_keeps_no_state_and_ignores_momentum() -> None:
    hyper = Hyperparameters(lr=0.1, momentum=0.9)
    *_, without = Stack(SGD(momentum=False), [hyper]).train(gradients(1))
    *_, zero = Stack(SGD(), [replace(hyper, momentum=0.0)]).train(gradients(1))
    assert torch.equal(without, zero)
    assert SGD(momentum=False).slots == () and SGD().slots == ("momentum",)
    assert Adam().slots == ("mean", "square")


@every_optimizer
def test_an_optimizer_can_be_the_key_of_a_cohort(name: str) -> None:
    optimizer = OURS[name]
    assert {optimizer: 1}[dataclasses.replace(optimizer)] == 1  # pyright: ignore[reportArgumentType]
    assert len(set(OURS.values())) == len(OURS)


def test_the_names_of_optimizers_make_what_they_say() -> None:
    assert {name: OPTIMIZERS[name]() for name in OPTIMIZERS} == {"sgd": SGD(), "adam": Adam(), "adamw": AdamW()}


def test_momentum_is_written_in_the_row_of_its_lane() -> None:
    stack = Stack(SGD(), [Hyperparameters(lr=0.1, momentum=0.0), Hyperparameters(lr=0.1, momentum=0.9)])
    theta_KP, slots = stack.start(), {"momentum": torch.zeros(2, PARAMETERS, dtype=torch.float64)}
    trials = [Trial(str(k), 0, STEPS, hyper) for k, hyper in enumerate(stack.hypers)]
    table_SCK = history(Structure(SGD(), "constant"), trials, [0, 0], STEPS)
    ones_KP = torch.ones(2, PARAMETERS, dtype=torch.float64)
    for c_CK in table_SCK[:3]:
        SGD().update(theta_KP, ones_KP.clone(), slots, c_CK[..., None])
    assert slots["momentum"][:, 0].tolist() == pytest.approx([1, 1 + 0.9 + 0.81])
