"""Figures of a sweep with conditions: a trial without a hyperparameter has no place on its axis."""

from typing import Any

import pytest

from espalier.sweeps.report.document import Document
from espalier.sweeps.report.figure import Figure
from espalier.sweeps.report.material import Material
from espalier.sweeps.results.trial_result import TrialResult
from espalier.sweeps.spec.spec import SweepSpec, make_spec
from tests.sweeps.made import row, spec_with
from tests.sweeps.report.made import FUNCTION

SPACE = {
    "lr_exponent": {"low": -3, "high": 0},
    "schedule": ["step", "cosine"],
    "decay_points": {"low": 0.4, "high": 0.9, "when": {"schedule": "step"}},
    "momentum": {"low": 0.5, "high": 0.95, "when": {"schedule": "cosine"}},
}
SPEC = spec_with(space=SPACE)


NO_RATE = make_spec(
    dict(FUNCTION) | {"space": {"lr": None, "schedule": ["step", "cosine"], "momentum": SPACE["momentum"]}}
)


def step(number: int, value: float | None, state: str = "complete") -> TrialResult:
    """Return a trial with a decay point and no momentum."""
    params = {"lr_exponent": -2 + number / 10, "schedule": "step", "decay_points": [0.4 + number / 25]}
    return row(number, value, state, params=params)


def cosine(number: int, value: float | None, state: str = "complete") -> TrialResult:
    """Return a trial with momentum and no decay point."""
    params = {"lr_exponent": -2 + number / 10, "schedule": "cosine", "momentum": 0.5 + number / 50}
    return row(number, value, state, params=params)


def trunk(number: int, state: str = "stopped") -> TrialResult:
    """Return a trial that was to decay, and was left before."""
    return row(number, None, state, params={"lr_exponent": -2 + number / 10, "schedule": "step"})


def drawn(trials: list[TrialResult], name: str, spec: SweepSpec = SPEC) -> Figure:
    figure = Document.of(Material("made-1", spec, "finished", trials)).figure(name)
    assert isinstance(figure, Figure), figure
    return figure


def heights(figure: Figure, table: str) -> dict[Any, Any]:
    """Return how high up each trial of a map stands."""
    return {record["trial"]: record["y"] for record in figure.tables[table].records()}


STEPS = [step(0, 3.0), step(1, 2.0), step(2, 2.5)]


@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_ring_of_the_map_is_around_the_best(mode: str) -> None:
    spec = spec_with(space=SPACE, objective={"metric": "valid_loss", "mode": mode})
    figure = drawn([*STEPS, cosine(3, 2.2)], "map", spec)
    (ring,) = figure.tables["best"].records()
    at = {"min": 0.44, "max": 0.4}[mode]
    assert ring["y"] == pytest.approx(at) and "the orange ring is the best" in figure.text


def test_a_map_without_the_best_has_no_ring_and_says_so() -> None:
    figure = drawn([*STEPS, cosine(3, 1.0), cosine(4, 5.0), cosine(5, None, "stopped")], "map")
    assert "best" not in figure.tables and "orange ring" not in figure.text
    assert heights(figure, "trials").keys() == {0, 1, 2}
    without = "The best, trial 3, and 2 other trials have no decay point, so they are not here."
    assert without in figure.text and without in figure.alt


def test_the_ground_of_a_map_without_the_best_is_that_of_the_best_trial_on_it() -> None:
    steps = [step(n, 2 + abs(n - 4) / 10) for n in range(12)]
    others = [cosine(12 + n, 1 + n / 10) for n in range(8)]
    figure = drawn(steps + others, "map")
    assert "belief" in figure.tables and "at the other values of trial 4" in figure.text


def test_only_who_was_to_decay_stands_at_the_edge_as_before_its_decay() -> None:
    figure = drawn(
        [*STEPS, trunk(3), trunk(4, "diverged"), cosine(5, None, "stopped"), step(6, None, "stopped")], "map"
    )
    at = heights(figure, "partly")
    assert at.keys() == {3, 4, 6} and at[3] == at[4] < 0.4 and at[6] == pytest.approx(0.64)
    assert "at the lower edge" in figure.text and "1 trial has no decay point, so it is not here." in figure.text
    assert "lower edge" not in drawn([*STEPS, step(6, None, "stopped")], "map").text


def test_a_stopped_trial_without_another_number_is_nowhere() -> None:
    space = {"lr_exponent": {"low": -3, "high": 0}, "schedule": ["step", "cosine"], "momentum": SPACE["momentum"]}
    trials = [cosine(0, 2.0), cosine(1, 2.5), step(2, None, "stopped")]
    figure = drawn(trials, "map", spec_with(space=space))
    assert "partly" not in figure.tables and "1 trial has no momentum" in figure.text


def test_a_line_through_all_axes_shows_where_a_trial_has_no_value() -> None:
    """It goes below the axis there: straight through it, it would show a value that the trial does not have."""
    figure = drawn([*STEPS, cosine(3, 1.0)], "parallel")
    names = {"lr_exponent", "schedule", "decay_point", "momentum"}
    by_trial = {n: {r["name"]: r for r in figure.tables["lines"].records() if r["trial"] == n} for n in range(4)}
    assert all(each.keys() == names for each in by_trial.values())
    below = {(n, name) for n, each in by_trial.items() for name, r in each.items() if r["y"] < 0}
    assert below == {(0, "momentum"), (1, "momentum"), (2, "momentum"), (3, "decay_point")}
    assert by_trial[3]["decay_point"]["text"] == "none" and "below an axis" in figure.text
    low, _ = figure.chart["layer"][0]["encoding"]["y"]["scale"]["domain"]
    assert low <= by_trial[3]["decay_point"]["y"]
    whole = drawn([cosine(n, 1 + n) for n in range(3)], "parallel", spec_with(space=UNCONDITIONAL))
    assert "below an axis" not in whole.text and whole.chart["layer"][0]["encoding"]["y"]["scale"]["domain"] == [0, 1]


UNCONDITIONAL = SPACE | {"decay_points": None, "momentum": {"low": 0.5, "high": 0.95}}


def test_what_has_no_place_along_the_number_of_the_first_figure_is_named() -> None:
    """Where no rate is searched, that number may be one that the best does not have."""
    figure = drawn([step(0, 1.0), step(1, 2.0), cosine(2, 3.0), cosine(3, 4.0)], "valley", NO_RATE)
    assert {r["trial"] for r in figure.tables["trials"].records()} == {2, 3}
    assert "The best, trial 0, and 1 other trial have no momentum, so they are not here." in figure.text


def test_what_has_no_place_where_choices_are_coloured_is_named() -> None:
    trials = [step(0, 1.0), *(cosine(n, 3.0 + n) for n in (1, 2, 3))]
    figure = drawn(trials, "by_choice", NO_RATE)
    assert "The best, trial 0, has no momentum, so it is not here." in figure.text
