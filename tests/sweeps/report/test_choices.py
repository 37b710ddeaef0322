"""The figure of choices: every value of each, also those that no trial was trained with to its end."""

from typing import Any

import pytest

from espalier.sweeps.report.document import Document
from espalier.sweeps.report.figure import Figure
from espalier.sweeps.report.material import Material
from espalier.sweeps.report.pictures import compiled, png
from espalier.sweeps.results.trial_result import TrialResult
from espalier.sweeps.spec.spec import make_spec
from tests.sweeps.made import row
from tests.sweeps.report.made import FUNCTION

ACTS = {"act": ["relu", "tanh", "gelu"]}
RATE = {"lr": {"low": 1e-4, "high": 1, "log": True}}
DEPTH = {"depth": {"low": 1.0, "high": 9.0}}


def trial(number: int, act: str, value: float | None, state: str = "complete") -> TrialResult:
    params = {"act": act, "lr_exponent": -1 - number / 4, "depth": 1.0 + number / 2}
    return row(number, value, state, params=params)


def choices_of(trials: list[TrialResult], name: str = "choices", **more: Any) -> Figure:
    spec = make_spec(dict(FUNCTION) | {"space": {"lr": None} | ACTS | more})
    figure = Document.of(Material("made-1", spec, "finished", trials)).figure(name)
    assert isinstance(figure, Figure), figure
    return figure


COMPLETE = [trial(0, "gelu", 1.0), trial(1, "tanh", 2.0), trial(2, "gelu", 1.5)]


@pytest.mark.parametrize(
    "others, why",
    [
        ([], "not tried"),
        ([trial(3, "relu", None, "stopped")], "no complete trial: 1 stopped"),
        ([trial(n, "relu", None, "stopped") for n in (3, 4, 5)], "no complete trial: 3 stopped"),
        (
            [trial(3, "relu", None, "diverged"), trial(4, "relu", None, "failed"), trial(5, "relu", None, "diverged")],
            "no complete trial: 2 diverged, 1 failed",
        ),
        ([trial(3, "relu", None, "running")], "no complete trial: 1 running"),
    ],
)
def test_a_choice_that_no_trial_ended_with_is_there_with_the_reason(others: list[TrialResult], why: str) -> None:
    figure = choices_of(COMPLETE + others)
    records = figure.tables["choices"].records()
    assert [(r["name"], r["x"], r["why"]) for r in records] == [
        ("act: gelu", 1.0, ""),
        ("act: tanh", 2.0, ""),
        ("act: relu", None, why),
    ]
    assert f"act: relu ({why})" in figure.text and f"act: relu: {why}" in figure.alt
    assert compiled(figure)["marks"] and png(figure)


def test_where_every_choice_has_a_complete_trial_no_reason_is_drawn() -> None:
    figure = choices_of([*COMPLETE, trial(3, "relu", 3.0)])
    assert not [layer for layer in figure.chart["layer"] if layer["encoding"].get("text")]
    assert "without a complete trial" not in figure.text.lower()


@pytest.mark.parametrize(
    "more, text",
    [
        ({}, "Each dot is the best trial with that choice."),
        (RATE, "Each dot is the best trial with that choice, at the rate that suits it."),
        (DEPTH, "Each dot is the best trial with that choice, at the other values that suit it."),
    ],
)
def test_a_rate_is_named_only_where_one_was_searched(more: dict[str, Any], text: str) -> None:
    assert choices_of([*COMPLETE, trial(3, "relu", 3.0)], **more).text.startswith(text)


@pytest.mark.parametrize("more, title", [(RATE, "Each choice over the rate"), (DEPTH, "Each choice over depth")])
def test_choices_stand_over_the_number_that_was_searched(more: dict[str, Any], title: str) -> None:
    assert choices_of(COMPLETE, "by_choice", **more).title == title
