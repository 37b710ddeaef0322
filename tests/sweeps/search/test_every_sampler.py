"""Every sampler: points inside the space, the same by the same seed, better ones with what was learnt."""

import random
from pathlib import Path
from typing import Any

import pytest

from espalier.core.training.events import Event
from tests.sweeps.made import life, spec_with
from tests.sweeps.search.desk import BRANCHED, Desk, assert_inside, finish, loss_of

pytestmark = pytest.mark.filterwarnings("ignore:QMCSampler is experimental")


MIXED = {
    "lr_exponent": {"low": -3, "high": -1},
    "decay_points": {"count": 2, "low": 0.4, "high": 0.9, "branches": 2},
    "weight_decay": {"low": 1e-6, "high": 1e-2, "log": True},
    "momentum": {"low": 0, "high": 0.9, "step": 0.3},
    "batch_size": {"low": 2, "high": 9, "integer": True},
    "scale": [0.1, 1.0],
    "warmup": 0.1,
}


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "gp"])
def test_a_sampler_gives_trials_inside_the_space(sampler: str, tmp_path: Path) -> None:
    spec = spec_with(space=MIXED, search={"sampler": sampler, "seed": 1}, trials=24)
    desk = Desk(tmp_path, spec, cohort_trials=8)
    dice = random.Random(0)  # losses without an optimum, at which a model would ask again and again

    def lives(number: int, _: float) -> list[Event]:
        return life(number, dice.random())

    points = [trial.point for cohort in finish(desk.search, lives) for trial in cohort]
    assert len(points) == 24
    for point in points:
        assert_inside(point, spec)
    assert len({point["lr_exponent"] for point in points}) > 8  # of 12 trunks: a model may ask for an end twice
    assert len({tuple(point["decay_points"]) for point in points}) > 18
    assert desk.states() == {"COMPLETE": 24}


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "gp"])
def test_the_same_seed_gives_the_same_trials_and_another_seed_others(sampler: str, tmp_path: Path) -> None:
    def points(name: str, seed: int) -> list[Any]:
        spec = spec_with(space=BRANCHED.space.model_dump(), search={"sampler": sampler, "seed": seed}, trials=8)
        return [t.point for cohort in finish(Desk(tmp_path / name, spec).search) for t in cohort]

    assert points("a", 1) == points("b", 1)
    assert points("c", 2) != points("d", 1)


def test_a_search_that_learns_ends_nearer_to_the_best(tmp_path: Path) -> None:
    spec = spec_with(space={"lr_exponent": {"low": -30, "high": 30}}, search={"sampler": "tpe", "seed": 0}, trials=36)
    losses = [loss_of(t.point) for cohort in finish(Desk(tmp_path, spec).search) for t in cohort]
    assert sorted(losses[24:])[6] < sorted(losses[:12])[6]
