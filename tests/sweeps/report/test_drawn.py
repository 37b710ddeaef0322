"""What figures look like: limits of axes, edges, colours and shapes, long names, tables of every sort."""

import math
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from espalier.sweeps.report.document import Document
from espalier.sweeps.report.figure import Figure, Missing
from espalier.sweeps.report.material import Material, Ratios, Trace
from espalier.sweeps.report.pictures import compiled, png, write_png
from espalier.sweeps.report.rates import FORESEEN
from espalier.sweeps.results.trial_result import TrialResult
from espalier.sweeps.spec.spec import SweepSpec
from tests.sweeps.made import row, spec_with

SPEC = spec_with(space={"lr_exponent": {"low": -3, "high": 3}, "decay_points": {"count": 2}})
COMPLETE = [row(n, 2.0 + n / 10, params={"lr_exponent": -n / 4, "decay_points": [0.5, 0.8]}) for n in range(6)]
DIVERGED = [row(n, None, "diverged", params={"lr_exponent": 1.0 + n / 5}) for n in range(6, 9)]
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


def document_of(trials: list[TrialResult], spec: SweepSpec = SPEC, **more: Any) -> Document:
    return Document.of(Material("made-1", spec, "finished", trials, **more))


def drawn(trials: list[TrialResult], name: str, spec: SweepSpec = SPEC, **more: Any) -> Figure:
    figure = document_of(trials, spec, **more).figure(name)
    assert isinstance(figure, Figure), figure
    return figure


def is_a_picture(content: bytes) -> bool:
    """Whether it is a PNG of a size for a page, with more on it than one colour."""
    with Image.open(BytesIO(content)) as image:
        colours = image.convert("RGB").getcolors(1 << 24) or []
        return (
            image.format == "PNG" and 600 <= image.width <= 2400 and 100 <= image.height <= 1600 and len(colours) > 10
        )


@pytest.mark.each_value
@pytest.mark.parametrize("rows", TABLES.values(), ids=TABLES.keys())
@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_figures_are_drawn_whatever_there_is(rows: list[TrialResult], mode: str) -> None:
    document = document_of(rows, spec_with(objective={"metric": "valid_loss", "mode": mode}))
    assert all(compiled(figure)["marks"] for figure in document.figures if isinstance(figure, Figure))
    figure = document.figure("valley")
    assert is_a_picture(png(figure)) if isinstance(figure, Figure) else figure.why == "No trial has ended yet."
    assert isinstance(figure, Figure) == bool(rows)


@pytest.mark.parametrize("mode, sign", [("min", 1), ("max", -1)])
def test_trials_far_off_stand_at_the_edge_and_are_counted(mode: str, sign: int) -> None:
    """Twenty good ones, and at rates ten times higher two that are far worse."""
    good = [row(n, sign * (2 + n / 100), params={"lr_exponent": -2 + n / 20}) for n in range(20)]
    bad = [row(20 + n, sign * 50.0 * (n + 1), params={"lr_exponent": 0.5}) for n in range(2)]
    spec = spec_with(objective={"metric": "valid_loss", "mode": mode}, space={"lr_exponent": {"low": -3, "high": 1}})
    document = document_of(good + bad, spec)
    figure, frame = drawn(good + bad, "valley", spec), document.subject.frame
    rows = figure.tables["trials"].records()
    assert frame and len(rows) == 22
    edge = frame[1] if sign > 0 else frame[0]
    assert [r["y"] for r in rows if r["x"] == 0.5] == pytest.approx([edge] * 2, rel=1e-5)
    assert "At the edge: 2 worse than the axis shows." in figure.text
    assert [r["result"] for r in rows if r["x"] == 0.5] == [sign * 50.0, sign * 100.0]


def test_the_axis_of_the_rate_has_all_that_was_searched() -> None:
    for layer in drawn(COMPLETE, "valley").chart["layer"]:
        if "x" in layer["encoding"]:
            low, high = layer["encoding"]["x"]["scale"]["domain"]
            assert low < -3 and high > 3, "or the range above would look untried"


def test_diverged_and_stopped_trials_are_marked_and_counted() -> None:
    stopped = [row(n, None, "stopped", params={"lr_exponent": -3.0}) for n in range(9, 11)]
    figure = drawn(COMPLETE + DIVERGED + stopped, "valley")
    assert "At the edge: 3 diverged, 2 stopped or parked." in figure.text
    looks = [r["look"] for r in figure.tables["trials"].records()]
    assert looks.count("diverged") == 3 and looks.count("stopped or parked") == 2


def test_beyond_complete_trials_the_valley_is_dashed_where_it_is_foreseen() -> None:
    trials: list[TrialResult] = []
    for n, x in enumerate([-2.6 + 0.2 * n for n in range(14)]):
        above, whole = (x + 1) ** 2 / 50, abs(x + 1) < 0.7
        trial = row(n, 2 + above if whole else None, "complete" if whole else "stopped", params={"lr_exponent": x})
        trials.append(replace(trial, scores={50: 3 + above}))
    spec = spec_with(space={"lr_exponent": {"low": -3, "high": 3}}, budget={"steps": 1000})
    figure = drawn(trials, "valley", spec)
    solid, below, above = ([r["x"] for r in figure.tables[name].records()] for name in ("fit", *FORESEEN))
    assert max(below) == min(solid) and max(solid) == min(above), "the line goes on"
    assert min(solid) >= -1.61 and max(solid) <= -0.39
    assert "Where it is dashed it is foreseen" in figure.text
    assert not set(FORESEEN) & set(drawn(COMPLETE, "valley").tables)


def test_an_accuracy_ends_at_one_and_a_reward_does_not() -> None:
    spec = spec_with(objective={"metric": "valid_accuracy", "mode": "max"})
    ends: list[float] = []
    for scale in (1, 100):
        rows = [row(n, scale * (0.91 + n / 100), params={"lr_exponent": -n / 4}) for n in range(10)]
        frame = document_of(rows, spec).subject.frame
        assert frame
        ends.append(frame[1])
    assert ends[0] == 1.0 and ends[1] > 99


def test_choices_are_colours_and_shapes_with_a_legend() -> None:
    space = {"lr_exponent": {"low": -3, "high": 0}, "schedule": ["cosine", "linear"]}
    params = [{"lr_exponent": -n / 4, "schedule": ["cosine", "linear"][n % 2]} for n in range(8)]
    rows = [row(n, 2.0 + n, params=point) for n, point in enumerate(params)]
    figure = drawn(rows, "by_choice", spec_with(space=space))
    (layer,) = figure.chart["layer"]
    colours, shapes = (layer["encoding"][channel]["scale"] for channel in ("color", "shape"))
    assert colours["domain"] == shapes["domain"] == ["cosine", "linear"]
    assert len(set(colours["range"])) == 2 and len(set(shapes["range"])) == 2
    by_trial = {r["trial"]: r["choice"] for r in figure.tables["trials"].records()}
    assert by_trial == {n: point["schedule"] for n, point in enumerate(params)}


def test_the_map_is_coloured_by_the_objective_over_rate_and_decay_point() -> None:
    records = drawn(COMPLETE, "map").tables["trials"].records()
    assert {(r["trial"], r["x"], r["y"], r["result"]) for r in records} == {
        (t.number, t.params["lr_exponent"], 0.5, t.value) for t in COMPLETE
    }


@pytest.mark.parametrize("least, scale", [(0.5, "log"), (-0.5, None)])
def test_curves_carry_losses_on_a_log_axis_where_they_can(least: float, scale: str | None) -> None:
    curve = [(n, 3.3 + (least - 3.3) * n / 30) for n in range(1, 31)]
    figure = drawn(COMPLETE, "curves", traces={t.number: Trace(curve) for t in COMPLETE})
    (layer,) = figure.chart["layer"]
    assert layer["encoding"]["y"]["scale"].get("type") == scale
    assert figure.tables["curves"].rows[-1][2:] == [30, least]
    assert ("log axis" in figure.text) == (scale == "log")


def test_a_score_that_rises_has_no_log_axis() -> None:
    spec = spec_with(objective={"metric": "valid_accuracy", "mode": "max"})
    rows = [row(n, 0.9 - n / 100, reports={10: 0.5, 20: 0.9 - n / 100}) for n in range(5)]
    assert "type" not in drawn(rows, "curves", spec).chart["layer"][0]["encoding"]["y"]["scale"]


def test_trials_by_another_choice_than_the_best_are_not_taken_for_its_valley() -> None:
    params = [{"lr_exponent": -n / 4, "kind": "ab"[n % 2]} for n in range(8)]
    rows = [row(n, 2.0 + n / 100, params=point) for n, point in enumerate(params)]
    spec = spec_with(space={"lr_exponent": {"low": -3, "high": 0}, "kind": ["a", "b"]})
    records = drawn(rows, "valley", spec).tables["trials"].records()
    others = {r["trial"] for r in records if r["look"] == "complete, by another choice"}
    assert others == {1, 3, 5, 7}


def test_the_curves_are_drawn_also_with_no_complete_trial() -> None:
    lost = [row(n, None, "diverged", verdict="diverged", reports={10: 5.0, 20: 9.0}) for n in range(3)]
    assert is_a_picture(png(drawn(lost, "curves")))
    assert isinstance(document_of([]).figure("curves"), Missing)


def test_the_ratios_of_a_trial_are_drawn_weight_by_weight() -> None:
    ratios = Ratios(["C", "W1"], [[0, -2.0, -3.0, -1.0, -1.0], [10, None, -2.5, -1.0, -1.0]])
    figure = drawn(COMPLETE, "ratios", traces={0: Trace((), ratios)})
    assert figure.tables["ratios"].rows == [
        ["C", "weights", 0, -2.0],
        ["W1", "weights", 0, -3.0],
        ["W1", "weights", 10, -2.5],
    ]
    assert [r["y"] for r in figure.tables["lines"].records()] == [-1.0, -3.0, -4.0]
    assert isinstance(document_of(COMPLETE, traces={0: Trace()}).figure("ratios"), Missing)


def test_of_many_tensors_some_of_every_part_of_the_network_are_drawn() -> None:
    tensors = [f"layers.{n}.weight" for n in range(100)]
    ratios = Ratios(tensors, [[0, *range(100)]])
    figure = drawn(COMPLETE, "ratios", traces={0: Trace((), ratios)})
    shown = [r["tensor"] for r in figure.tables["ratios"].records()]
    assert len(shown) == 12 and shown[0] == "layers.0.weight" and shown[-1] == "layers.99.weight"
    assert "88 more tensors are left out" in figure.text


def test_a_picture_replaces_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "valley.png"
    path.write_text("old")
    assert write_png(drawn(COMPLETE, "valley"), path) == path
    assert is_a_picture(path.read_bytes())


LONG = {f"a_rather_long_name_of_a_hyperparameter_{i}": ["a-long-word-for-an-activation", f"relu-{i}"] for i in range(9)}
ODD = {"_hidden": ["$x", "$y_$z"], "größe": ["中文", "a"]}
SPACES: dict[str, dict[str, Any]] = {"one": {}, "three": {"c5": [1, 2], "dropout": [0.1, 0.2]}, "ten": LONG, "odd": ODD}


@pytest.mark.sampled(1)
@pytest.mark.parametrize("space, count", list(zip(SPACES.values(), (1, 5, 30, 5), strict=True)), ids=SPACES.keys())
def test_every_picture_leaves_its_axes_room(space: dict[str, Any], count: int) -> None:
    """However long names are: what stands beside a plot of 720 pixels is at most as wide as it."""
    spec = spec_with(
        name="a-name-that-is-just-forty-characters-lon", space={"lr_exponent": {"low": -3, "high": 0}, **space}
    )
    params = [{"lr_exponent": -3 * n / count, **{k: v[n % 2] for k, v in space.items()}} for n in range(count)]
    rows = [row(n, 2.0 + n / 10, params=point) for n, point in enumerate(params)]
    tensors = [f"_encoder.layers.{i}.self_attention.out_projection.weight" for i in range(count)]
    trace = Trace(
        [(n, 3.0 / n) for n in range(1, 30)], Ratios(tensors, [[s, *[-3.0 + s / 10] * count] for s in range(10)])
    )
    document = document_of(
        [*rows, *DIVERGED, row(999, 1e9, params=params[0])], spec, traces={t.number: trace for t in rows}
    )
    for figure in document.figures:
        if isinstance(figure, Figure):
            with Image.open(BytesIO(png(figure))) as image:
                assert 720 * 1.5 <= image.width <= 1.5 * 1.5 * 720, figure.name


def test_values_that_differ_in_the_middle_of_a_long_text_stay_two() -> None:
    values = [f"{'x' * 40}{letter}{'y' * 40}" for letter in "ab"]
    params = [{"lr_exponent": -n / 4, "path": values[n % 2]} for n in range(6)]
    rows = [row(n, 2.0 + n, params=point) for n, point in enumerate(params)]
    spec = spec_with(space={"lr_exponent": {"low": -3, "high": 0}, "path": values})
    assert len({r["choice"] for r in drawn(rows, "by_choice", spec).tables["trials"].records()}) == 2
    assert len({r["name"] for r in drawn(rows, "choices", spec).tables["choices"].records()}) == 2
