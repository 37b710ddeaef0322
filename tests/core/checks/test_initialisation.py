"""Published numbers of initialisation, the usual ones known again, and LSUV."""

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import nn

from espalier.core.checks.initialisation import GAINS, lsuv
from espalier.core.rows import seeded
from espalier.core.task import Task
from espalier.core.tasks.deep_names import DeepNames
from espalier.core.tasks.digits import DigitsConv
from tests.core.checks.spoiled import Ten, checkup, of


def test_the_first_loss_of_the_lecture_is_near_ln_27(names_txt: str) -> None:
    (first,) = of(checkup(DeepNames(names_txt)), "first loss")
    assert first.level == "pass" and f"ln 27 = {math.log(27):.4f}" in first.sentence


def test_gains_are_torchs() -> None:
    for name, gain in GAINS.items():
        if name in ("tanh", "relu", "leaky_relu", "sigmoid"):
            assert gain == pytest.approx(nn.init.calculate_gain(name))


@pytest.mark.parametrize(
    ("fill", "words"),
    [
        (lambda w: nn.init.kaiming_uniform_(w, a=5**0.5), "torch's default"),
        (lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"), "Kaiming for ReLU normal"),
        (lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu"), "Kaiming for ReLU uniform"),
        (lambda w: nn.init.kaiming_normal_(w, nonlinearity="tanh"), "Kaiming for tanh normal"),
        (lambda w: nn.init.xavier_uniform_(w), "Xavier uniform"),
        (lambda w: nn.init.normal_(w), "a standard normal"),
        (lambda w: nn.init.constant_(w, 0.5), "constant"),
    ],
)
def test_the_usual_initialisations_are_known_again(fill: Any, words: str) -> None:
    class Filled(Ten):
        def model(self) -> nn.Module:
            model = nn.Sequential(nn.Linear(6, 40), nn.Tanh(), nn.Linear(40, 300), nn.Tanh(), nn.Linear(300, 10))
            fill(model[2].weight)
            return model

    with seeded(3):
        said = [f.sentence for f in of(checkup(Filled()), "initialisation") if f.sentence.startswith("2.weight")]
    assert words in said[0], said


def test_a_convolutions_fan_in_counts_its_window() -> None:
    said = [f.sentence for f in of(checkup(DigitsConv(channels=16)), "initialisation")]
    assert any(line.startswith("4.weight: torch's default") for line in said), said


@pytest.mark.parametrize("layers", [[nn.Linear(6, 40), nn.Tanh(), nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, 4)]])
def test_lsuv_leaves_every_layer_with_mean_0_and_standard_deviation_1(layers: list[nn.Module]) -> None:
    """Both hold at the end, to a thousandth (fastai's course, part 2)."""
    torch.manual_seed(0)
    model = nn.Sequential(*layers)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(7).add_(0.3)
    x = torch.randn(512, 6)
    ended = lsuv(model, lambda m: m(x))
    assert list(ended) == ["0.weight", "2.weight", "4.weight"]
    for depth, (mean, std) in zip((1, 3, 5), ended.values(), strict=True):
        out = model[:depth](x)
        assert out.mean().item() == pytest.approx(mean, abs=1e-4)
        assert abs(mean) < 1e-3 and abs(std - 1) < 1e-3
        assert out.std().item() == pytest.approx(1, abs=1e-3)


def test_lsuv_ends_where_nothing_can_be_scaled() -> None:
    model = nn.Sequential(nn.Linear(6, 4, bias=False), nn.Linear(4, 2))
    nn.init.zeros_(model[0].weight)
    assert set(lsuv(model, lambda m: m(torch.randn(32, 6)))) == {"0.weight", "1.weight"}


def test_lsuv_scales_weights_that_are_no_modules_too(small_tasks: Mapping[str, Task]) -> None:
    task = small_tasks["names"]
    model, batch = task.model(), tuple(t[:200] for t in task.data().train)
    ended = lsuv(model, lambda m: task.loss(m, batch))
    assert list(ended) == ["W1", "W2"]
    assert all(abs(std - 1) < 1e-3 for _, std in ended.values())
