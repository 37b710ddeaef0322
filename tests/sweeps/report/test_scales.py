"""Axes of the objective at every size of its values: losses near 0, values that differ in a late digit, equal ones."""

import math
from typing import Any

import pytest

from espalier.sweeps.report.document import Document
from espalier.sweeps.report.figure import Figure, Table
from espalier.sweeps.report.grammar import notation
from espalier.sweeps.report.material import Material, Trace
from espalier.sweeps.report.pictures import compiled
from espalier.sweeps.report.subject import frame_of
from tests.sweeps.made import row, spec_with

SCALES = {
    "ordinary": (1.0, 1.0),
    "near 0": (1e-12, 1e-12),
    "huge": (1e15, 1e15),
    "that differ in the tenth digit": (1e9, 1e-1),
    "negative": (-5.0, 1.0),
    "negative, near 0": (-1e-12, 1e-13),
}


def document_of(values: list[float], mode: str = "min", **more: Any) -> Document:
    params = [{"lr_exponent": -n / 5, "kind": "ab"[n % 2]} for n in range(len(values))]
    trials = [row(n, value, params=params[n], reports={10: 2 * value, 20: value}) for n, value in enumerate(values)]
    space = {"lr_exponent": {"low": -3, "high": 0}, "kind": ["a", "b"]}
    spec = spec_with(space=space, objective={"metric": "valid_loss", "mode": mode})
    return Document.of(Material("made-1", spec, "finished", trials, **more))


def drawn(document: Document, name: str) -> Figure:
    figure = document.figure(name)
    assert isinstance(figure, Figure), figure
    return figure


def column(table: Table, key: str) -> list[float]:
    return [float(record[key] or 0) for record in table.records()]


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("base, unit", SCALES.values(), ids=SCALES.keys())
def test_values_fill_their_axis_at_every_scale(base: float, unit: float, mode: str) -> None:
    values = [base + unit * abs(n - 4) for n in range(12)]
    document = document_of(values, mode)
    for name, table in (("valley", "trials"), ("progress", "trials"), ("by_choice", "trials")):
        figure = drawn(document, name)
        scales = [layer["encoding"]["y"]["scale"] for layer in figure.chart["layer"] if "y" in layer["encoding"]]
        low, high = scales[0]["domain"]
        heights = column(figure.tables[table], "y")
        assert max(heights) - min(heights) > 0.5 * (high - low), name
        assert len({*heights}) >= 5, name
    assert len({*column(drawn(document, "choices").tables["choices"], "x")}) == 2
    place = document.columns().index("valid_loss")
    assert len({cells[place] for cells in document.rows()}) == len({*values})
    assert all(compiled(figure)["marks"] for figure in document.figures if isinstance(figure, Figure))


@pytest.mark.parametrize("value", [25.192775, 0.0, 1e-12, -3.0, 1e9, 0.1 + 0.2])
@pytest.mark.parametrize("count", [1, 12])
def test_around_equal_values_an_axis_has_round_numbers(value: float, count: int) -> None:
    """Without differences there is no scale but the value's own: ten per cent of it on either side."""
    low, high = frame_of([value] * count, 1.0)
    assert math.isclose((low + high) / 2, value, rel_tol=1e-9, abs_tol=1e-30)
    assert high - low == pytest.approx(0.2 * abs(value) or 2.0)


def test_what_differs_only_by_rounding_is_equal() -> None:
    assert frame_of([0.3, 0.1 + 0.2, 0.3], 1.0) == pytest.approx((0.27, 0.33))


def test_an_accuracy_of_all_ones_ends_at_one() -> None:
    assert frame_of([1.0, 1.0], -1.0) == (0.9, 1.0)


@pytest.mark.parametrize(
    "low, high, text",
    [
        (0.5, 30.0, None),
        (-200.0, 0.0, None),
        (1e-12, 5e-12, ".3~e"),
        (1e9, 4e9, ".3~e"),
        (1e9, 1e9 + 1, ".12~e"),
        (3.0, 1e15, ".3~e"),
    ],
)
def test_an_axis_of_large_or_small_numbers_has_powers_of_ten_with_the_digits_that_differ(
    low: float, high: float, text: str | None
) -> None:
    assert notation(low, high).get("format") == text


@pytest.mark.parametrize("last, text", [(1e15, "e"), (1e9, "e"), (0.1, "~g"), (1e-9, "e")])
def test_a_log_axis_has_one_notation(last: float, text: str) -> None:
    curve = [(n, 3.0 * (last / 3.0) ** (n / 30)) for n in range(1, 31)]
    trials = document_of([1.0, 2.0, 3.0], traces={n: Trace(curve) for n in range(3)})
    (layer,) = drawn(trials, "curves").chart["layer"]
    assert layer["encoding"]["y"]["scale"]["type"] == "log"
    assert layer["encoding"]["y"]["axis"]["format"].endswith(text)


def test_curves_that_reach_0_have_no_log_axis() -> None:
    curve = [(n, max(0.0, 1.0 - n / 20)) for n in range(1, 31)]
    trials = document_of([1.0, 2.0, 3.0], traces={n: Trace(curve) for n in range(3)})
    (layer,) = drawn(trials, "curves").chart["layer"]
    assert "type" not in layer["encoding"]["y"]["scale"]


def test_a_story_tells_values_apart_that_differ_in_a_late_digit() -> None:
    curve = [(n, 1e9 + n) for n in range(1, 5)]
    (story, *_) = document_of([1.0], traces={0: Trace(curve)}).stories()
    assert [round(value - 1e9) for _, value in story.curve] == [1, 2, 3, 4]


def test_curves_that_run_away_leave_room_for_the_others() -> None:
    """The axis of a curve to 1e35 would squash all that trained."""
    space = {"lr_exponent": {"low": -3, "high": 0}}
    trials = [row(n, 2.0 + n / 10, params={"lr_exponent": -n / 5}) for n in range(4)]
    trials += [row(9, None, "diverged", params={"lr_exponent": 0.0}, verdict="diverged")]
    curves = {n: Trace(curve=[(1, 3.0), (20, 2.0 + n / 10)]) for n in range(4)}
    runaway = {9: Trace(curve=[(1, 3.0), (20, 1e35)])}

    def axis(traces: dict[int, Trace]) -> Any:
        material = Material("made-1", spec_with(space=space), "finished", trials, traces=traces)
        figure = drawn(Document.of(material), "curves")
        (layer,) = figure.chart["layer"]
        return figure, layer["encoding"]["y"]["scale"]

    figure, scale = axis(curves | runaway)
    assert scale["domainMax"] == 30 and "10 times where trials begin is cut off" in figure.text
    assert max(column(figure.tables["curves"], "y")) == 1e35, "the data are whole"
    figure, scale = axis(curves)
    assert "domainMax" not in scale and "cut off" not in figure.text
