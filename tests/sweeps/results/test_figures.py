"""Figures and tables of a sweep."""

import csv
import io
import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from espalier.core.checks.findings import Checkup, LayerReport
from espalier.core.checks.lr_range import read_curves
from espalier.sweeps.results.figures import (
    check_figure,
    curves_figure,
    exponent_figure,
    point_text,
    range_figure,
    ratios_figure,
    table_csv,
)
from espalier.sweeps.results.trial_result import TrialResult
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


def is_a_picture(path: Path) -> bool:
    """Whether a file is a PNG of a size for a page, with more on it than one colour."""
    with Image.open(path) as image:
        image.load()
        drawn = image.convert("RGB").getcolors(1 << 24) or []
        return image.format == "PNG" and 600 <= image.width <= 2400 and 300 <= image.height <= 1600 and len(drawn) > 10


def story(curve: list[tuple[int, Any]]) -> dict[str, Any]:
    return {"members": [{"curve": curve}]}


COMPLETE = [row(n, 2.0 + n / 10, params={"lr_exponent": -n / 4, "decay_points": [0.5, 0.8]}) for n in range(6)]
DIVERGED = [row(n, None, "diverged", params={"lr_exponent": 1.0 + n}) for n in range(6, 9)]
TABLES: dict[str, list[TrialResult]] = {
    "complete trials": COMPLETE,
    "complete and diverged trials": COMPLETE + DIVERGED,
    "diverged trials alone": DIVERGED,
    "one trial": COMPLETE[:1],
    "no trial": [],
    "trials without decay points": [row(n, float(n)) for n in range(5)],
    "trials of one value": [row(n, 2.0) for n in range(5)],
    "values far apart": [row(n, 10.0 ** (4 * n)) for n in range(9)],
    "a trial that has not been sampled": [
        *COMPLETE,
        row(6, None, "running", params={}),
        row(7, None, "failed", params={}),
    ],
    "values of every size": [row(0, -1e30), row(1, 0.0), row(2, 1e30), row(3, math.inf)],
}


@pytest.mark.each_value
@pytest.mark.parametrize("rows", TABLES.values(), ids=TABLES.keys())
@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_exponents_are_drawn_whatever_there_is(rows: list[TrialResult], mode: str, tmp_path: Path) -> None:
    spec = spec_with(objective={"metric": "valid_loss", "mode": mode})
    path = exponent_figure(rows, spec, tmp_path / "exponent.png")
    assert path == tmp_path / "exponent.png"
    assert is_a_picture(path)


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


def dots(axes: Any) -> list[tuple[float, float]]:
    """Return where the trials stand, but for the ring of the best and the signs of the legend."""
    places = [dot.get_offsets().tolist() for dot in axes.collections if dot.get_sizes()[0] < 100]
    return [(x, y) for offsets in places for x, y in offsets]


@pytest.mark.parametrize("mode, sign", [("min", 1), ("max", -1)])
def test_trials_far_off_stand_at_the_edge_and_are_counted(
    mode: str, sign: int, drawn: list[Any], tmp_path: Path
) -> None:
    """Twenty good ones, and at rates ten times higher two that are far worse."""
    good = [row(n, sign * (2 + n / 100), params={"lr_exponent": -2 + n / 20}) for n in range(20)]
    bad = [row(20 + n, sign * 50.0 * (n + 1), params={"lr_exponent": 0.5}) for n in range(2)]
    spec = spec_with(objective={"metric": "valid_loss", "mode": mode})
    exponent_figure(good + bad, spec, tmp_path / "exponent.png")
    (axes, *_) = drawn[0].axes
    low, high = axes.get_ylim()
    assert len(dots(axes)) == 22
    assert [y for x, y in dots(axes) if x == 0.5] == [high if sign > 0 else low] * 2
    assert axes.get_xlim()[1] > 0.5, "or the range above would look untried"
    assert "2 worse than the axis shows" in axes.get_title(loc="left")
    assert "x2" in [text.get_text() for text in axes.texts]


def test_diverged_and_stopped_trials_are_marked_and_counted(drawn: list[Any], tmp_path: Path) -> None:
    stopped = [row(n, None, "stopped", params={"lr_exponent": -3.0}) for n in range(9, 11)]
    exponent_figure(COMPLETE + DIVERGED + stopped, SPEC, tmp_path / "exponent.png")
    title = drawn[0].axes[0].get_title(loc="left")
    assert "3 diverged (red ticks" in title and "2 stopped (grey ticks" in title
    low, high = drawn[0].axes[0].get_xlim()
    assert low < -3 and high > 3


def test_an_accuracy_ends_at_one_and_a_reward_does_not(drawn: list[Any], tmp_path: Path) -> None:
    spec = spec_with(objective={"metric": "valid_accuracy", "mode": "max"})
    for scale in (1, 100):
        rows = [row(n, scale * (0.9 + n / 100), params={"lr_exponent": -n / 4}) for n in range(10)]
        exponent_figure(rows, spec, tmp_path / "exponent.png")
    assert drawn[0].axes[0].get_ylim()[1] == 1.0
    assert drawn[1].axes[0].get_ylim()[1] > 99


def test_choices_are_colours_and_shapes_with_a_legend(drawn: list[Any], tmp_path: Path) -> None:
    space = {"lr_exponent": {"low": -3, "high": 0}, "schedule": ["cosine", "linear"], "scale": [0.1, 1.0]}
    rows = [
        row(
            n,
            2.0 + n,
            params={"lr_exponent": -n / 4, "schedule": ["cosine", "linear"][n % 2], "scale": [0.1, 1.0][n // 4]},
        )
        for n in range(8)
    ]
    exponent_figure(rows, spec_with(space=space), tmp_path / "exponent.png")
    legend = drawn[0].axes[0].get_legend()
    said = [text.get_text() for text in legend.get_texts()]
    assert said == ["schedule cosine", "schedule linear", "scale 0.1", "scale 1.0"]
    colours = {tuple(dot.get_facecolor()[0]) for dot in drawn[0].axes[0].collections[:8]}
    assert len(colours) == 2


def test_without_a_choice_the_decay_points_are_the_colours(drawn: list[Any], tmp_path: Path) -> None:
    exponent_figure(COMPLETE, SPEC, tmp_path / "exponent.png")
    assert "first decay point" in drawn[0].axes[-1].get_ylabel()


@pytest.mark.parametrize("top, ticks", [(3.3, 4), (1e4, 3)])
def test_curves_carry_losses_on_a_log_axis(top: float, ticks: int, drawn: list[Any], tmp_path: Path) -> None:
    curve = [(n, top + (2.2 - top) * n / 30) for n in range(1, 31)]
    curves_figure([(trial, story(curve)) for trial in COMPLETE[:2]], SPEC, tmp_path / "curves.png")
    axes = drawn[0].axes[0]
    assert axes.get_yscale() == "log"
    assert axes.lines[0].get_ydata()[-1] == pytest.approx(2.2)
    drawn[0].canvas.draw()
    low, high = axes.get_ylim()
    shown = [float(text.get_text()) for text in axes.get_yticklabels() if low <= text.get_position()[1] <= high]
    assert len(shown) >= ticks and all(low <= loss <= high for loss in shown)
    assert "log10" not in axes.get_ylabel()


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


CURVES: dict[str, list[tuple[int, Any]]] = {
    "a curve": [(10 * n, 3.0 / n) for n in range(1, 30)],
    "a curve with gaps": [(10, 1.0), (20, None), (30, 0.0), (40, -1.0), (50, 0.5)],
    "an empty curve": [],
}


@pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES.keys())
def test_the_curves_of_the_best_are_drawn(curve: list[tuple[int, Any]], tmp_path: Path) -> None:
    path = curves_figure([(trial, story(curve)) for trial in COMPLETE[:5]], SPEC, tmp_path / "curves.png")
    assert is_a_picture(path)


def test_the_curves_are_drawn_also_with_no_complete_trial(tmp_path: Path) -> None:
    assert is_a_picture(curves_figure([], SPEC, tmp_path / "curves.png"))


def test_a_figure_replaces_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "exponent.png"
    path.write_text("old")
    assert is_a_picture(exponent_figure(COMPLETE, SPEC, path))


def test_the_ratios_of_a_trial_are_drawn_weight_by_weight(tmp_path: Path) -> None:
    told = {
        "members": [{"tensors": ["C", "W1"], "ratios": [[0, -2.0, -3.0, -1.0, -1.0], [10, None, -2.5, -1.0, -1.0]]}]
    }
    path = ratios_figure(COMPLETE[0], told, SPEC, tmp_path / "ratios.png")
    assert path and is_a_picture(path)
    assert ratios_figure(COMPLETE[0], {"members": [{"tensors": [], "ratios": []}]}, SPEC, tmp_path / "none.png") is None


# --- long names, and many of them -------------------------------------------------------------------------------------

LONG = {f"a_rather_long_name_of_a_hyperparameter_{i}": ["a-long-word-for-an-activation", f"relu-{i}"] for i in range(9)}
ODD = {"_hidden": ["$x", "$y_$z"], "größe": ["中文", "a"]}
SPACES: dict[str, dict[str, Any]] = {"one": {}, "three": {"c5": [1, 2], "dropout": [0.1, 0.2]}, "ten": LONG, "odd": ODD}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("space, count", list(zip(SPACES.values(), (1, 5, 100, 5), strict=True)), ids=SPACES.keys())
def test_every_figure_leaves_its_axes_room(
    space: dict[str, Any], count: int, drawn: list[Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    spec = spec_with(
        name="a-name-that-is-just-forty-characters-lon", space={"lr_exponent": {"low": -3, "high": 0}, **space}
    )
    params = [{"lr_exponent": -3 * n / count, **{k: v[n % 2] for k, v in space.items()}} for n in range(count)]
    rows = [row(n, 2.0 + n / 10, params=point) for n, point in enumerate(params)]
    tensors = [f"_encoder.layers.{i}.self_attention.out_projection.weight" for i in range(count)]
    ratios = [[step, *[-3.0 + step / 10] * 2 * count] for step in range(10)]
    ended: Any = {"members": [{"curve": [(n, 3.0 / n) for n in range(1, 30)], "tensors": tensors, "ratios": ratios}]}
    layers = [
        LayerReport(f"net.layers.{i}.attention", "MultiheadAttention", 0.0, 1.0, 0.0, None, None, 1.0)
        for i in range(count)
    ]
    checkup = Checkup([], layers=layers, ratios={-1.0: dict.fromkeys(tensors, -3.0)})
    with warnings.catch_warnings(record=True) as warned:
        exponent_figure([*rows, *DIVERGED, row(999, 1e9)], spec, tmp_path / "exponent.png")
        curves_figure([(trial, ended) for trial in rows], spec, tmp_path / "curves.png")
        ratios_figure(rows[0], ended, spec, tmp_path / "ratios.png")
        check_figure(checkup, spec.name, tmp_path / "check.png")
    assert not warned and capfd.readouterr() == ("", "")
    for figure in drawn:
        width = figure.get_window_extent().width
        for axes in figure.axes:
            share = axes.get_window_extent().width / width
            assert axes.get_label() == "<colorbar>" or share > (0.22 if len(figure.axes) == 3 else 0.4)
            text = axes._left_title.get_window_extent()
            assert not text.width or text.x1 <= width, "a title that is cut off"
