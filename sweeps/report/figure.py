"""A figure: a Vega-Lite description and its tables, as plain data, and how charts look on white and on black.

Columns have neutral names, since Vega-Lite reads dots, brackets and quotes in the name of a field as a path. What
people call them is the title.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Cell = str | int | float | None
Chart = dict[str, Any]
"""A Vega-Lite description, or a part of one."""


@dataclass(frozen=True)
class Column:
    """A column of a table. key: its name in a chart. title: its name for people."""

    key: str
    title: str


@dataclass(frozen=True)
class Table:
    """Rows of one figure, a cell for each column. No cell is NaN or infinite: JSON has none."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]

    @classmethod
    def of(cls, titles: Mapping[str, str], rows: Sequence[Sequence[Cell]]) -> "Table":
        """Return a table with the titles of its columns by their keys."""
        return cls([Column(key, title) for key, title in titles.items()], rounded(rows))

    def records(self) -> list[dict[str, Cell]]:
        """Return the rows as a chart reads them."""
        keys = [column.key for column in self.columns]
        return [dict(zip(keys, row, strict=True)) for row in self.rows]


@dataclass(frozen=True)
class Figure:
    """A figure of a report. text: how to read it, in a sentence or two. alt: what is to be seen, for who cannot see.

    chart: without data; its layers name the tables. height: in pixels.
    """

    name: str
    title: str
    text: str
    alt: str
    chart: Chart
    tables: Mapping[str, Table]
    height: int = 300


@dataclass(frozen=True)
class Missing:
    """A figure for which there is no data. why: one sentence."""

    name: str
    title: str
    why: str


@dataclass(frozen=True)
class Marks:
    """The layers of a chart, in order of drawing, with the tables that they draw."""

    layers: list[Chart] = field(default_factory=list[Chart])
    tables: dict[str, Table] = field(default_factory=dict[str, Table])

    def draw(self, table: str, mark: str | Chart, **encoding: Chart | list[Chart] | None) -> None:
        """Add a layer: a mark for each row of a table. An encoding that is None is left out.

        The titles of a tooltip are ours: Vega-Lite makes an expression of them, in which it escapes no backslash.
        """
        named = {name: channel for name, channel in encoding.items() if channel is not None}
        self.layers.append({"data": {"name": table}, "mark": mark, "encoding": named})

    def chart(self, **more: Any) -> Chart:
        """Return the chart of all layers."""
        return {"layer": self.layers, **more}


DIGITS = 6  # of numbers in a page
DIGITS_MOST = 16  # that a number has


def rounded(rows: Sequence[Sequence[Cell]]) -> list[list[Cell]]:
    """Return rows with as many digits as a page shows; None for what is no finite number, which JSON does not have."""
    digits = [digits_of([cell for cell in column if isinstance(cell, float)]) for column in zip(*rows, strict=True)]
    return [[_rounded(cell, most) for cell, most in zip(row, digits, strict=True)] for row in rows]


def digits_of(values: Sequence[float], most: int = DIGITS) -> int:
    """Return to how many digits values are rounded: to more, where all are equal in the first ones.

    >>> digits_of([0.1, 0.2]), digits_of([1e9, 1e9 + 1]), digits_of([3.0, 3.0])
    (6, 13, 6)
    """
    finite = [value for value in values if math.isfinite(value)]
    size, span = max(map(abs, finite), default=0.0), max(finite, default=0.0) - min(finite, default=0.0)
    equal = int(math.log10(size) - math.log10(span)) if 0 < span <= size else 0
    return min(DIGITS_MOST, most + max(0, equal - 2))


def _rounded(cell: Cell, digits: int) -> Cell:
    """Return a cell without the digits that are not shown. Those before the point are."""
    if not isinstance(cell, float):
        return cell
    if not math.isfinite(cell):
        return None
    return float(f"{cell:.{digits}g}") if abs(cell) < 10**digits or abs(cell) >= 1e15 else float(round(cell))


# --- how it looks: the same on the page, in pictures and in Python ---------------------------------------------------

FONT = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', Arial, sans-serif"


def _config(ink: str, faint: str, grid: str) -> Chart:
    words = {"labelColor": faint, "titleColor": ink, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": 600}
    return {
        "background": "transparent",
        "font": FONT,
        "view": {"stroke": None},
        "axis": {**words, "gridColor": grid, "domainColor": faint, "tickColor": faint, "titlePadding": 8},
        "legend": {
            **words,
            "orient": "bottom",
            "labelLimit": 300,
            "titleLimit": 300,
            "symbolLimit": 30,
            "columns": 3,
        },
    }


LIGHT_INK, DARK_INK = "#1f2933", "#e4e7eb"
LIGHT = _config(LIGHT_INK, "#52606d", "#e4e7eb")
DARK = _config(DARK_INK, "#b0b8c1", "#343c45")
INK: Chart = {"expr": "ink"}
"""The colour of lines and words that have no meaning of their own."""
WIDTH = 720  # pixels of a figure outside the page, where it has no container


def described(figure: Figure, config: Chart = LIGHT) -> Chart:
    """Return the Vega-Lite description of a figure with its size and its looks, but without data."""
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "description": figure.alt,
        "width": WIDTH,
        "height": figure.height,
        "config": config,
        "params": [{"name": "ink", "value": LIGHT_INK}],
        **figure.chart,
    }


def whole(figure: Figure) -> Chart:
    """Return the Vega-Lite description of a figure with its data, on white."""
    return described(figure) | {
        "background": "white",
        "datasets": {name: table.records() for name, table in figure.tables.items()},
    }
