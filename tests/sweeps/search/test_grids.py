"""Grids: each of their points once."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.sweeps.made import spec_with
from tests.sweeps.search.desk import Desk, assert_inside, finish

pytestmark = pytest.mark.filterwarnings("ignore:QMCSampler is experimental")


GRIDS: dict[str, tuple[dict[str, Any], int]] = {
    "lists": ({"lr_exponent": [-3, -2, -1], "scale": [0.1, 1.0]}, 6),
    "steps": ({"lr_exponent": {"low": -3, "high": -1, "step": 0.1}}, 21),
    "integers": ({"lr_exponent": -2, "batch_size": {"low": 2, "high": 9, "integer": True, "step": 3}}, 3),
    "decay points": (
        {"lr_exponent": [-2, -1], "decay_points": {"low": 0.1, "high": 0.7, "step": 0.2, "branches": 3}},
        8,
    ),
    "choices of points": ({"lr_exponent": [-2, -1], "decay_points": {"choices": [[0.5], [0.4, 0.8]]}}, 4),
    "steps that do not meet the end": ({"lr_exponent": {"low": -3, "high": -1, "step": 0.75}}, 3),
}


@pytest.mark.parametrize(("space", "size"), GRIDS.values(), ids=GRIDS.keys())
@pytest.mark.parametrize("cohort_trials", [2, 64])
def test_a_grid_gives_each_of_its_points_once(
    space: dict[str, Any], size: int, cohort_trials: int, tmp_path: Path
) -> None:
    spec = spec_with(space=space, search={"sampler": "grid"}, trials=100)
    desk = Desk(tmp_path, spec, cohort_trials=cohort_trials)
    points = [trial.point for cohort in finish(desk.search) for trial in cohort]
    assert spec.trials_wanted == spec.space.grid_size() == size == len(points)
    assert len({json.dumps(point, sort_keys=True) for point in points}) == size
    for point in points:
        assert_inside(point, spec)
    assert desk.states() == {"COMPLETE": size}


def test_a_grid_larger_than_the_wish_stops_at_the_wish(tmp_path: Path) -> None:
    spec = spec_with(space={"lr_exponent": {"low": -3, "high": -1, "step": 0.1}}, search={"sampler": "grid"}, trials=5)
    points = [t.point["lr_exponent"] for cohort in finish(Desk(tmp_path, spec).search) for t in cohort]
    assert len(set(points)) == len(points) == 5


def test_a_constant_space_is_trained_as_often_as_wished(tmp_path: Path) -> None:
    desk = Desk(tmp_path, spec_with(space={"lr_exponent": -2}, trials=3))
    finish(desk.search)
    assert desk.states() == {"COMPLETE": 3}


@pytest.mark.parametrize("value", ["[a", "[1, 2]", "plain"])
def test_a_choice_of_words_gives_the_words(value: str, tmp_path: Path) -> None:
    desk = Desk(tmp_path, spec_with(space={"lr_exponent": -2, "kind": [value, value + "b"]}, trials=4))
    points = [t.point["kind"] for cohort in finish(desk.search) for t in cohort]
    assert set(points) <= {value, value + "b"}
