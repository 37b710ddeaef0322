"""The figures of a report, of every kind of sweep."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from espalier.core.errors import BadInput
from espalier.sweeps.report.document import FIGURES, Document
from espalier.sweeps.report.figure import Figure, Missing
from espalier.sweeps.report.for_python import chart_of
from espalier.sweeps.report.material import Material
from espalier.sweeps.report.pictures import compiled
from espalier.sweeps.results.trial_result import TrialResult, at_rest
from tests.sweeps.report.made import BAD, KINDS, LANES, material_of

SIZES = (0, 1, 5, 60)


def figures_of(material: Material) -> dict[str, Figure]:
    return {figure.name: figure for figure in Document.of(material).figures if isinstance(figure, Figure)}


def parts(chart: Any) -> Iterator[dict[str, Any]]:
    """Yield every part of a description."""
    if isinstance(chart, dict):
        yield chart
    for inner in chart.values() if isinstance(chart, dict) else chart if isinstance(chart, list) else ():
        yield from parts(inner)


def strings(part: Any) -> Iterator[str]:
    """Yield every text in a part of a description."""
    if isinstance(part, str):
        yield part
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from strings(inner)


def hostile_names() -> list[str]:
    """Return the hostile names of hyperparameters."""
    return [name for name in KINDS["hostile names"]["space"] if name != "lr"]


@pytest.mark.each_value
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_figure_of_every_kind_of_sweep_is_drawn_or_says_why_not(kind: str, size: int) -> None:
    """A chart names only columns of its tables, every cell is JSON, and Vega-Lite takes the description."""
    document = Document.of(material_of(size, KINDS[kind]))
    assert [figure.name for figure in document.figures] == list(FIGURES)
    for figure in document.figures:
        if isinstance(figure, Missing):
            assert figure.why.endswith(".") and len(figure.why) < 200
            continue
        for layer in figure.chart["layer"]:
            table = figure.tables[layer["data"]["name"]]
            keys = {column.key for column in table.columns}
            fields = {part["field"] for part in parts(layer["encoding"]) if isinstance(part.get("field"), str)}
            assert fields <= keys and all(key.isidentifier() for key in keys)
            assert table.rows and all(len(row) == len(table.columns) for row in table.rows)
        json.dumps([table.records() for table in figure.tables.values()], allow_nan=False)
        assert figure.alt and figure.text
        assert compiled(figure)["marks"]


def test_what_an_author_has_named_is_data_or_a_title_and_never_a_field_or_an_expression() -> None:
    figures = figures_of(material_of(60, KINDS["hostile names"]))
    assert set(figures) == set(FIGURES) - {"ratios"}
    named = [*hostile_names(), BAD]
    read = ("field", "test", "expr", "labelExpr", "calculate", "filter", "signal", "href", "url", "tooltip")
    for figure in figures.values():
        for part in parts(figure.chart):
            texts = [text for name in read if name in part for text in strings(part[name])]
            assert not [name for name in named for text in texts if name in text], figure.name


def test_the_best_trial_and_its_ties_lie_within_the_axis() -> None:
    subject = Document.of(material_of(60)).subject
    assert subject.frame and subject.best and subject.best.value is not None
    low, high = subject.frame
    assert low < subject.best.value < high
    rows = Document.of(material_of(60)).figure("valley").tables["trials"].records()  # pyright: ignore
    assert all(low - 1e-4 <= row["y"] <= high + 1e-4 for row in rows)
    assert len(rows) == 60
    assert {row["look"] for row in rows} >= {"best", "complete", "diverged", "stopped or parked"}


@pytest.mark.parametrize("kind", ["lanes", "a metric to maximise"])
def test_the_lost_lie_at_the_worse_edge(kind: str) -> None:
    material = material_of(60, KINDS[kind])
    subject = Document.of(material).subject
    assert subject.frame
    worse = subject.frame[1 if material.spec.objective.mode == "min" else 0]
    rows = figures_of(material)["valley"].tables["trials"].records()
    lost = [row["y"] for row in rows if row["look"] == "diverged"]
    assert lost and all(math.isclose(float(y or 0), worse, rel_tol=1e-4) for y in lost)


def test_where_all_diverged_the_figures_that_need_a_number_say_so() -> None:
    material = material_of(9)
    lost = [TrialResult(t.number, "diverged", None, t.params, verdict="diverged") for t in material.trials]
    document = Document.of(replace(material, trials=lost, traces={}))
    assert {figure.name for figure in document.figures if isinstance(figure, Figure)} <= {"valley", "time"}
    assert "9 diverged" in document.subject.answer.sentence


def test_steps_divide_into_what_became_of_them() -> None:
    """The parts are the steps that trials have reported, and what they shared is taken off each in proportion."""
    material = material_of(60)
    rows = figures_of(material)["time"].tables["parts"].records()
    shares = {row["part"]: float(row["share"] or 0) for row in rows if row["row"] == "steps"}
    assert math.isclose(sum(shares.values()), 1, abs_tol=1e-5)
    reported = sum(max(t.reports, default=0) for t in material.trials)
    assert material.work
    assert math.isclose(shares["shared, not trained again"], material.work.shared / reported, rel_tol=1e-4)
    diverged = sum(max(t.reports) for t in material.trials if t.state == "diverged")
    left = 1 - shares["shared, not trained again"]
    assert math.isclose(shares["lost to divergence"], left * diverged / reported, rel_tol=1e-4)


def test_the_best_so_far_only_improves_and_ends_with_the_best() -> None:
    for kind, sign in (("lanes", 1), ("a metric to maximise", -1)):
        document = Document.of(material_of(60, KINDS[kind]))
        rows = figures_of(document.material)["progress"].tables["best"].rows
        values = [sign * float(row[1] or 0) for row in rows]
        assert values == sorted(values, reverse=True)
        assert document.subject.best and math.isclose(
            values[-1], sign * (document.subject.best.value or 0), rel_tol=1e-5
        )


def test_a_sweep_in_the_middle_shows_what_runs() -> None:
    material = material_of(30)
    running = [replace(t, state="running", value=None, verdict="") if t.number > 20 else t for t in material.trials]
    now = figures_of(replace(material, trials=running, state="running"))
    groups = {row["group"] for row in now["curves"].tables["curves"].records()}
    assert {"best", "running"} <= groups
    assert "curves" in figures_of(replace(material, trials=at_rest(running), state="interrupted"))


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_a_chart_of_altair_with_its_data(name: str) -> None:
    kind = (
        "a function with choices and a condition"
        if name in ("importance", "parallel", "choices", "by_choice")
        else "lanes"
    )
    document = Document.of(material_of(60, KINDS[kind]))
    chart = chart_of(document, name)
    figure = document.figure(name)
    assert isinstance(figure, Figure)
    described = chart.to_dict()  # validates it
    assert {len(rows) for rows in described["datasets"].values()} == {len(t.rows) for t in figure.tables.values()}


def test_an_unknown_figure_is_refused_with_the_names_that_there_are() -> None:
    document = Document.of(material_of(5))
    with pytest.raises(BadInput, match=r"figure 'vally'; the figures are: valley, map, curves, ratios, importance"):
        chart_of(document, "vally")
    with pytest.raises(BadInput, match=r"figure choices: Nothing was chosen from a list"):
        chart_of(document, "choices")


def test_far_worse_trials_do_not_flatten_the_valley() -> None:
    material = material_of(60, LANES)
    best = Document.of(material).subject.frame
    trials = [*material.trials, TrialResult(60, "complete", 1e9, material.trials[0].params)]
    worse = Document.of(replace(material, trials=trials)).subject.frame
    assert best and worse and worse[1] - worse[0] < 1.5 * (best[1] - best[0])
