"""Parameters of Optuna as points of the model, and back."""

import random

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from espalier.sweeps.samplers.codec import Codec

DOMAINS: dict[str, BaseDistribution] = {
    "plain": FloatDistribution(-3, 0.5),
    "log": FloatDistribution(1e-5, 10, log=True),
    "stepped": FloatDistribution(0.1, 0.85, step=0.25),
    "many": FloatDistribution(0, 1, step=1e-5),
    "whole": IntDistribution(3, 9),
    "layers": IntDistribution(1, 1024, log=True),
    "listed": CategoricalDistribution([256, 16, 64]),
    "exponents": CategoricalDistribution([-1.0, -2.5, -2]),
    "kinds": CategoricalDistribution(["sgd", "adam", None]),
    "flags": CategoricalDistribution([True, False]),
    "two": CategoricalDistribution([1, 2]),
    "seed": CategoricalDistribution([0, 1, 2, 3]),
}


def draw(domain: BaseDistribution, dice: random.Random) -> float | int | str | bool | None:
    if isinstance(domain, CategoricalDistribution):
        return dice.choice(domain.choices)
    assert isinstance(domain, FloatDistribution | IntDistribution)
    if isinstance(domain, IntDistribution):
        return dice.randint(domain.low, domain.high)
    if domain.step:
        count = int((domain.high - domain.low) / domain.step + 1e-9)
        return domain.low + dice.randint(0, count) * domain.step
    return dice.uniform(domain.low, domain.high)


@pytest.mark.parametrize("seed", range(20))
def test_parameters_come_back_from_their_point(seed: int) -> None:
    codec, dice = Codec(DOMAINS, exponent="exponents", unordered=["seed"]), random.Random(seed)
    params = {name: draw(domain, dice) for name, domain in DOMAINS.items()}
    back = codec.params(codec.point(params))
    assert back.keys() == params.keys()
    for name, value in params.items():
        assert back[name] == (pytest.approx(value) if isinstance(value, float) else value), name


@pytest.mark.parametrize("seed", range(20))
def test_every_point_of_the_space_has_parameters_that_optuna_knows(seed: int) -> None:
    codec, rng = Codec(DOMAINS, exponent="exponents", unordered=["seed"]), np.random.default_rng(seed)
    params = codec.params(codec.space.point(rng.random(codec.space.dimensions)))
    optuna.create_trial(value=0.0, params=params, distributions=DOMAINS)  # refuses what a domain does not contain


def test_lists_of_three_numbers_have_an_order_and_others_have_none() -> None:
    codec = Codec(DOMAINS, exponent="exponents", unordered=["seed"])
    assert set(codec.choices) == {"kinds", "flags", "two", "seed"}
    assert codec.axes["exponents"].number.values == (-2.5, -2.0, -1.0), "an exponent is on its scale already"
    assert codec.axes["exponents"].number.length is not None
    assert codec.axes["listed"].number.values == pytest.approx((1.20412, 1.80618, 2.40824), abs=1e-4)
    assert codec.axes["many"].number.values is None


CONDITIONS = {
    "log": {"kinds": ["sgd"]},
    "flags": {"kinds": ["sgd", None], "listed": [64, 256]},
    "two": {"flags": [True]},
}


@pytest.mark.parametrize("seed", range(20))
def test_parameters_that_do_not_exist_are_left_out_on_the_way_there_and_back(seed: int) -> None:
    codec, rng = Codec(DOMAINS, exponent="exponents", conditions=CONDITIONS), np.random.default_rng(seed)
    params = codec.params(codec.space.point(rng.random(codec.space.dimensions)))
    kind, listed = params["kinds"], params["listed"]
    flags = kind in ("sgd", None) and listed in (64, 256)
    assert ("log" in params, "flags" in params) == (kind == "sgd", flags)
    assert ("two" in params) == (flags and params["flags"] is True)
    assert codec.params(codec.point(params)) == pytest.approx(params)
    domains = {name: DOMAINS[name] for name in params}
    optuna.create_trial(value=0.0, params=params, distributions=domains)  # refuses what a domain does not contain
