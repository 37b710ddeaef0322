"""Figures and tables of a sweep."""

import csv
import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.checks.findings import Checkup, LayerReport
from espalier.core.checks.lr_range import read_curves
from espalier.sweeps.results.figures import (
    check_figure,
    point_text,
    range_figure,
    table_csv,
)
from tests.sweeps.made import row, spec_with

SPEC = spec_with(space={"lr_exponent": {"low": -3, "high": 0}, "decay_points": {"count": 2}})
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def read_back(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


# --- the table --------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(FLOATS, FLOATS, st.lists(FLOATS, max_size=3)), max_size=5))
def test_the_table_reads_back_to_the_same_bits(numbers: list[tuple[float, float, list[float]]]) -> None:
    rows = [
        row(n, value, params={"lr_exponent": exponent, "decay_points": points})
        for n, (value, exponent, points) in enumerate(numbers)
    ]
    found = read_back(table_csv(rows[::-1]))
    assert [int(cells["trial"]) for cells in found] == list(range(len(rows)))
    for cells, (value, exponent, points) in zip(found, numbers, strict=True):
        assert float(cells["value"]) == value
        assert float(cells["lr_exponent"]) == exponent
        assert json.loads(cells["decay_points"]) == points


def test_the_table_has_a_row_for_every_trial_whatever_became_of_it() -> None:
    states = ["complete", "diverged", "stopped", "failed", "running"]
    rows = [row(n, 1.5 if state == "complete" else None, state) for n, state in enumerate(states)]
    found = read_back(table_csv(rows))
    assert [cells["state"] for cells in found] == states
    assert [cells["value"] for cells in found] == ["1.5", "", "", "", ""]


def test_what_a_verdict_says_survives_its_commas_quotes_and_lines() -> None:
    evidence = 'the loss rose to 3, "then" fell\nto 1'
    (cells,) = read_back(table_csv([row(0, 1.0, verdict="catapult", evidence=evidence)]))
    assert (cells["verdict"], cells["evidence"]) == ("catapult", evidence)


@pytest.mark.parametrize("spread", [0.25, 0.0])
def test_the_spread_of_replicates_is_in_the_table_zero_too(spread: float) -> None:
    (cells,) = read_back(table_csv([row(0, 1.0, spread=spread)]))
    assert float(cells["spread"]) == spread


def test_without_replicates_there_is_no_spread() -> None:
    assert read_back(table_csv([row(0, 1.0)]))[0]["spread"] == ""


def test_trials_with_other_hyperparameters_share_one_header() -> None:
    rows = [row(0, 1.0, params={"lr_exponent": -1.0, "hidden": 8}), row(1, None, "running", params={"scale": True})]
    first, second = read_back(table_csv(rows))
    assert (first["hidden"], first["scale"], second["hidden"], second["scale"]) == ("8", "", "", "True")


def test_a_table_of_no_trials_is_its_header() -> None:
    assert table_csv([]).strip() == "trial,state,value,spread,verdict,evidence"


def test_a_point_is_told_by_what_was_searched() -> None:
    params = {"lr_exponent": -0.51234567, "decay_factor": 0.1, "seed": 0, "decay_points": [0.5, 0.75]}
    assert point_text(params, SPEC) == "lr_exponent -0.5123, decay_points 0.5 0.75"


# --- the figures ------------------------------------------------------------------------------------------------------


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the figures that are saved, for a look at what is on them."""
    from matplotlib.figure import Figure

    figures: list[Any] = []
    save = Figure.savefig

    def keep(self: Any, *args: Any, **kwargs: Any) -> Any:
        figures.append(self)
        return save(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def test_the_rules_of_a_range_test_have_a_strip_of_their_own(drawn: list[Any], tmp_path: Path) -> None:
    exponents = np.linspace(-4, 1, 60)
    losses = np.stack([3 - np.exp(-((exponents + 1 + k / 10) ** 2)) + (exponents > 0.5) * 100 for k in range(3)])
    test = read_curves(exponents, losses)
    range_figure(test, "names", tmp_path / "range.png")
    curve, strip = drawn[0].axes
    assert [text.get_text() for text in strip.get_yticklabels()] == list(test.rules)
    legend = [text.get_text() for text in curve.get_legend().get_texts()]
    assert not set(legend) & set(test.rules) and curve.get_ylabel().endswith("cut)")
    assert curve.get_xlim() == strip.get_xlim()


# --- long names, and many of them -------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 5, 100])
def test_a_check_leaves_its_axes_room(
    count: int, drawn: list[Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tensors = [f"_encoder.layers.{i}.self_attention.out_projection.weight" for i in range(count)]
    layers = [
        LayerReport(f"net.layers.{i}.attention", "MultiheadAttention", 0.0, 1.0, 0.0, None, None, 1.0)
        for i in range(count)
    ]
    checkup = Checkup([], layers=layers, ratios={-1.0: dict.fromkeys(tensors, -3.0)})
    with warnings.catch_warnings(record=True) as warned:
        check_figure(checkup, "a-name-that-is-just-forty-characters-lon", tmp_path / "check.png")
    assert not warned and capfd.readouterr() == ("", "")
    for figure in drawn:
        width = figure.get_window_extent().width
        for axes in figure.axes:
            assert axes.get_window_extent().width / width > (0.22 if len(figure.axes) == 3 else 0.4)
            text = axes._left_title.get_window_extent()
            assert not text.width or text.x1 <= width, "a title that is cut off"
