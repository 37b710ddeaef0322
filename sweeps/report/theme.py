"""How charts look on white and on black: configurations of Vega-Lite, the same for the page, pictures and Python."""

from espalier.sweeps.report.figure import Chart, Figure

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
            "labelLimit": 240,
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
