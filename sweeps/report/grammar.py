"""Parts of Vega-Lite descriptions that figures share: channels, scales of hyperparameters, colours.

Colours are those that can be told apart on white and on black, also by who cannot tell red from green. What has none is
drawn in the colours of the page's theme.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from espalier.core.errors import brief
from espalier.sweeps.answer.axes import Axis, Factor
from espalier.sweeps.report.figure import Cell, Chart
from espalier.sweeps.spec.space import Point

BEST, TIE, PLAIN, LOST, PART, WEAK = "#e8590c", "#1c7ed6", "#868e96", "#e03131", "#9775fa", "#adb5bd"
PALETTE = ("#1c7ed6", "#e8590c", "#2f9e44", "#9775fa", "#e64980", "#0c8599", "#f08c00", "#868e96", "#a61e4d", "#5c940d")
TITLE_MOST, VALUE_MOST = 40, 24  # characters
EXPONENT_LABELS = "[format(datum.value, '.2~f'), format(pow(10, datum.value), '.2~g')]"  # an exponent, its rate below
STEPS = {"labelExpr": "format(datum.value, '~s')", "labelOverlap": True, "tickCount": 8}  # 500 and 1k, no 0.5k
LEAST_PLAIN, MOST_PLAIN = 1e-4, 1e6  # of numbers that are written without a power of ten
LOG_LABELS = "format(pow(10, datum.value), '.2~g')"


def number(key: str, title: str | None = None, **more: Any) -> Chart:
    """Return a channel of numbers."""
    return {"field": key, "type": "quantitative", "title": title, **more}


def names(key: str, title: str | None = None, **more: Any) -> Chart:
    """Return a channel of names."""
    return {"field": key, "type": "nominal", "title": title, **more}


def fixed(value: object) -> Chart:
    """Return a channel with one value for all rows."""
    return {"value": value}


def coloured(key: str, looks: Sequence[tuple[str, str]], title: str | None = None) -> Chart:
    """Return a channel of colours. looks: each name with its colour, in the order of the legend."""
    scale = {"domain": [name for name, _ in looks], "range": [colour for _, colour in looks]}
    return names(key, title, scale=scale, legend={"title": title, "symbolOpacity": 1})


def notation(low: float, high: float) -> Chart:
    """Return how an axis writes numbers: as Vega does, or as powers of ten with the digits in which these ends differ.

    >>> notation(0.5, 30.0), notation(1e-12, 5e-12), notation(1e9, 1e9 + 1)
    ({}, {'format': '.3~e'}, {'format': '.12~e'})
    """
    size = max(abs(low), abs(high))
    if LEAST_PLAIN <= size < MOST_PLAIN:
        return {}
    differing = math.log10(size) - math.log10(high - low) if 0 < high - low < size else 0.0
    return {"format": f".{3 + int(differing)}~e"}


def dot_size(many: int, few: float) -> float:
    """Return the area of a dot in square pixels: smaller where there are many. few: of up to 60."""
    return max(14.0, round(few * min(1.0, (60 / max(1, many)) ** 0.5)))


@lru_cache(maxsize=64)
def rate_title(axis: Axis) -> str:
    """Return what an axis is called."""
    if axis.exponent:
        return f"{axis.name} (below: the rate)"
    if axis.key == "decay_points":
        return f"{name_of(axis)} (share of the budget)"
    return name_of(axis)


def name_of(column: Axis | Factor) -> str:
    """Return the name of a hyperparameter in a sentence: that in the spec, `decay point` in two words."""
    words = isinstance(column, Axis) and column.key == "decay_points"
    return brief(column.name.replace("_", " ") if words else column.name, TITLE_MOST)


def has(column: Axis | Factor, params: Point) -> bool:
    """Whether a trial has a value of a hyperparameter: by a condition it may have none."""
    if isinstance(column, Factor):
        return column.index(params) < len(column.values)
    return column.value(params) is not None


def along(axis: Axis, key: str, ends: tuple[float, float], **more: Any) -> Chart:
    """Return a channel that puts coordinates of a hyperparameter on its axis, with their values as labels.

    ends: the coordinates that the axis has to have.
    """
    low, high = ends
    margin = 0.04 * (high - low)
    scale = {"domain": [round(low - margin, 6), round(high + margin, 6)], "nice": False, "zero": False}
    look: Chart = {"title": rate_title(axis), "labelOverlap": True, "tickCount": 8}
    if axis.decades:
        look["labelExpr"] = EXPONENT_LABELS if axis.exponent else LOG_LABELS
    else:
        look["format"] = ".3~g"
    return {"field": key, "type": "quantitative", "scale": scale, "axis": look, **more}


def place(axis: Axis, params: Point) -> float | None:
    """Return where a trial lies on an axis; None where it has no value."""
    value = axis.value(params)
    return None if value is None else axis.coordinate(value)


def value_text(value: object) -> str:
    """Return a value of a hyperparameter for people.

    >>> value_text(0.000123456), value_text([0.6, 0.8]), value_text(None)
    ('0.0001235', '0.6 0.8', 'none')
    """
    if isinstance(value, list | tuple):
        return " ".join(map(value_text, value))  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(value, float):
        return f"{value:.4g}"
    return "none" if value is None else str(value)


def axis_text(axis: Axis, params: Point) -> str:
    """Return a trial's value on an axis for people; "" where it has none."""
    value = axis.value(params)
    return "" if value is None else f"{value:.4g}"


def distinct(texts: Sequence[str], most: int) -> list[str]:
    """Return texts as short labels, of which no two are one where the texts are not.

    >>> distinct(["a", "x" * 30 + "1" + "x" * 30, "x" * 30 + "2" + "x" * 30], 12)
    ['a', 'xxx ... xxxx', 'xxx ... xxxx (2)']
    """
    taken: dict[str, str] = {}
    labels: list[str] = []
    for text in texts:
        short, number = brief(text, most), 1
        label = short
        while taken.setdefault(label, text) != text:
            number += 1
            label = f"{short} ({number})"
        labels.append(label)
    return labels


def factor_labels(factor: Factor) -> list[str]:
    """Return the values of a choice for people, in its order."""
    return distinct([value_text(value) for value in factor.values], VALUE_MOST)


def factor_text(factor: Factor, params: Point) -> str:
    """Return a trial's choice for people; "" where it has none."""
    index = factor.index(params)
    return factor_labels(factor)[index] if index < len(factor.values) else ""


def cell(value: object) -> Cell:
    """Return a value of a hyperparameter as a cell of a table."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else value_text(value)
