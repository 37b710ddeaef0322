"""The best so far of two sweeps, against the steps that they have trained, as a figure."""

import statistics
from collections.abc import Sequence

from espalier.core.errors import counted
from espalier.sweeps.browse.compare import Comparison, Side
from espalier.sweeps.report.figure import Cell, Figure, Marks, Missing, Table
from espalier.sweeps.report.grammar import BEST, TIE, coloured, number
from espalier.sweeps.results.trial_result import TrialResult, searched

NAME, TITLE = "compared", "The best so far, against what it cost"
COLOURS = (TIE, BEST)


def comparison_figure(comparison: Comparison) -> Figure | Missing:
    """Return the best objective so far of both sweeps against steps of training; Missing where they are no rivals."""
    if comparison.incomparable:
        return Missing(NAME, TITLE, comparison.incomparable)
    sides = (comparison.first, comparison.second)
    labels = [side.id if sides[0].id != sides[1].id else f"{side.id} ({k})" for k, side in enumerate(sides, 1)]
    lines = [best_so_far(side) for side in sides]
    rows: list[list[Cell]] = [[label, x, y] for label, line in zip(labels, lines, strict=True) for x, y in line]
    metric = sides[0].spec.objective.metric
    marks = Marks()
    marks.tables["best"] = Table.of({"sweep": "sweep", "x": "steps of training", "y": "best so far"}, rows)
    y = number("y", metric, scale={"domain": _frame(sides, lines), "zero": False, "clamp": True})
    marks.draw(
        "best",
        {"type": "line", "interpolate": "step-after", "strokeWidth": 2.5},
        x=number("x", "steps of training, of all trials", scale={"zero": True, "nice": False}, axis={"tickCount": 8}),
        y=y,
        color=coloured("sweep", list(zip(labels, COLOURS, strict=True))),
    )
    text = (
        "Each line is the best of a sweep so far. Steps of a trial count as far as it reported, shared ones for each."
    )
    alt = f"Two lines: the best {metric} so far of {labels[0]} and {labels[1]}, " + " and ".join(
        counted(len(searched(side.trials)), "trial") for side in sides
    )
    return Figure(NAME, TITLE, text, alt, marks.chart(), marks.tables, 280)


def best_so_far(side: Side) -> list[tuple[float, float]]:
    """Return each new best of a sweep, after so many steps of all its trials in the order of their ends.

    The last point is the end of the sweep.
    """
    spent, line, sign = 0.0, list[tuple[float, float]](), side.spec.objective.sign
    for trial in sorted(searched(side.trials), key=lambda t: (t.ended is None, t.ended or 0.0, t.number)):
        spent += _steps(trial, side)
        if trial.state == "complete" and trial.value is not None:
            better = not line or sign * trial.value < sign * line[-1][1]
            line += [(spent, trial.value)] if better else []
    return [*line, (spent, line[-1][1])] if line else []


def _steps(trial: TrialResult, side: Side) -> int:
    return side.spec.budget.steps if trial.state == "complete" else max(trial.reports, default=0)


def _frame(sides: Sequence[Side], lines: Sequence[Sequence[tuple[float, float]]]) -> list[float]:
    """Return the range of the objective: from the best to where half of each sweep's trials are no better."""
    values = [
        [t.value for t in searched(side.trials) if t.state == "complete" and t.value is not None] for side in sides
    ]
    ends = [statistics.median(each) for each in values] + [line[-1][1] for line in lines]
    low, high = min(ends), max(ends)
    room = (high - low) * 0.05 or abs(high) * 0.01 or 1.0
    return [low - room, high + room]
