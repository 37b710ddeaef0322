"""The model as a sampler, in studies of Optuna as anybody has them."""

import math

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import TrialState

from espalier.sweeps.samplers.thaw import Codec, ThawSampler


def loss(trial: optuna.Trial, sign: float = 1.0) -> float:
    """A bowl over a rate, a momentum and a width; it diverges at high rates. Best: 0."""
    lr, momentum = trial.suggest_float("lr", 1e-4, 1.0, log=True), trial.suggest_float("momentum", 0.0, 0.99)
    width = trial.suggest_int("width", 8, 64, step=8)
    name = trial.suggest_categorical("kind", ["a", "b"])
    if lr > 0.3:
        return math.nan
    end = (math.log10(lr) + 2) ** 2 + (momentum - 0.6) ** 2 + (width - 40) ** 2 / 2000 + (0.1 if name == "a" else 0.0)
    for step in range(1, 11):
        trial.report(sign * (end + 1 / step), step)
    return sign * end


def best(sampler: BaseSampler, trials: int, sign: float = 1.0) -> float:
    study = optuna.create_study(sampler=sampler, direction="minimize" if sign > 0 else "maximize")
    study.optimize(lambda trial: loss(trial, sign), n_trials=trials)
    return sign * study.best_value


@pytest.mark.parametrize("sign", [1.0, -1.0], ids=["minimize", "maximize"])
def test_it_finds_more_than_chance_in_a_plain_study(sign: float) -> None:
    ours = [best(ThawSampler(seed, learning_rate="lr", steps=10), 20, sign) for seed in range(5)]
    chance = [best(RandomSampler(seed), 20, sign) for seed in range(5)]
    assert float(np.median(ours)) < float(np.median(chance)) / 3


def test_the_same_seed_proposes_the_same_trials() -> None:
    studies = [optuna.create_study(sampler=ThawSampler(3)) for _ in range(2)]
    for study in studies:
        study.optimize(loss, n_trials=8)
    # the first trial is Optuna's own, by the same seed
    assert [trial.params for trial in studies[0].trials] == [trial.params for trial in studies[1].trials]


def test_trials_that_run_at_once_are_not_alike() -> None:
    study = optuna.create_study(sampler=ThawSampler(0, learning_rate="lr"))
    study.optimize(loss, n_trials=8)
    domains = study.trials[0].distributions
    rates = [math.log10(study.ask(domains).params["lr"]) for _ in range(4)]
    running = [trial for trial in study.trials if trial.state == TrialState.RUNNING]
    assert len(running) == 4
    assert len({(round(rate, 2), trial.params["width"]) for rate, trial in zip(rates, running, strict=True)}) == 4


def test_parameters_become_points_and_points_parameters() -> None:
    domains = {
        "lr": FloatDistribution(1e-4, 1.0, log=True),
        "step": FloatDistribution(0.0, 1.0, step=0.25),
        "width": IntDistribution(8, 64, step=8),
        "kind": CategoricalDistribution(["a", None, True]),
    }
    codec = Codec(domains, "lr")
    params = {"lr": 0.01, "step": 0.75, "width": 24, "kind": None}
    point = codec.point(params)
    assert point == pytest.approx((-2.0, 0.75, 24.0, 1.0))
    assert codec.params(point) == params | {"lr": pytest.approx(0.01)}
    assert codec.params((-9.0, 0.7, 27.9, 2.0)) == {"lr": 1e-4, "step": 0.75, "width": 24, "kind": True}


def test_a_study_of_two_objectives_is_refused() -> None:
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=ThawSampler(0))
    with pytest.raises(ValueError, match="2 objectives"):
        study.optimize(lambda trial: (loss(trial), 0.0), n_trials=2)
