"""Figures of the whole space: what matters, all hyperparameters at once, and choices at their own best rate."""

from collections.abc import Sequence

from espalier.core.errors import brief, counted
from espalier.sweeps.answer.axes import Axis, Factor
from espalier.sweeps.answer.options import Options
from espalier.sweeps.report.figure import INK, Cell, Chart, Figure, Marks, Missing, Table
from espalier.sweeps.report.grammar import (
    BEST,
    TIE,
    VALUE_MOST,
    axis_text,
    coloured,
    distinct,
    dot_size,
    factor_text,
    has,
    name_of,
    names,
    notation,
    number,
    place,
    rate_title,
    value_text,
)
from espalier.sweeps.report.subject import Subject, factor_colours, outcomes, states_of
from espalier.sweeps.results.trial_result import TrialResult

IMPORTANCE_TITLE = "What matters"
NONE_AT = -0.12  # of an axis of parallel coordinates, where lines pass of trials without a value there
PARALLEL_TITLE = "All of them at once"
LINES_MOST = 150  # trials in parallel coordinates: more cannot be told apart
NAME_MOST = 26  # characters of a hyperparameter beside an axis
FEW = "There are fewer than three hyperparameters, so the figures above show all of them."


def importance_figure(subject: Subject) -> Figure | Missing:
    """Return how much of the objective's differences among the better trials each hyperparameter explains."""
    if len(subject.searched.names()) < 3:
        return Missing("importance", IMPORTANCE_TITLE, FEW)
    weights = subject.answer.importance
    if not weights:
        return Missing("importance", IMPORTANCE_TITLE, "There are too few complete trials to tell what matters.")
    ordered = sorted(weights.items(), key=lambda pair: -pair[1])
    marks = Marks()
    labels = distinct([name for name, _ in ordered], NAME_MOST)
    rows = [[rank, label, weight] for rank, (label, (_, weight)) in enumerate(zip(labels, ordered, strict=True))]
    marks.tables["importance"] = Table.of({"rank": "rank", "name": "hyperparameter", "x": "importance"}, rows)
    marks.draw(
        "importance",
        {"type": "bar", "color": TIE, "cornerRadiusEnd": 2},
        x=number("x", "share of what is explained", axis={"format": ".0%", "tickCount": 6}, scale={"zero": True}),
        y=names("name", None, sort={"field": "rank"}, axis={"labelLimit": 180}),
        tooltip=[names("name", "hyperparameter"), number("x", "importance", format=".1%")],
    )
    text = "How much each hyperparameter decides whether a trial is among the better ones (PED-ANOVA)."
    alt = "Bars: " + ", ".join(f"{brief(name, NAME_MOST)} {weight:.0%}" for name, weight in ordered) + "."
    return Figure("importance", IMPORTANCE_TITLE, text, alt, marks.chart(), marks.tables, 60 + 26 * len(rows))


def parallel_figure(subject: Subject) -> Figure | Missing:
    """Return complete trials as lines through all hyperparameters, each on an axis of its own from 0 to 1."""
    columns: list[Axis | Factor] = [*subject.searched.axes, *subject.searched.factors]
    if len(columns) < 3:
        return Missing("parallel", PARALLEL_TITLE, FEW)
    if len(subject.complete) < 2:
        return Missing("parallel", PARALLEL_TITLE, "Fewer than two trials are complete.")
    weights = subject.answer.importance or {}
    columns.sort(key=lambda column: -weights.get(column.name, 0.0))
    rows = _parallel_rows(subject, columns)
    low = min(0.0, *(float(row[3] or 0) for row in rows))
    marks = Marks()
    titles = {"trial": "trial", "order": "order", "name": "hyperparameter", "y": "place on its axis", "text": "value"}
    titles |= {"share": "share of trials that are better", "result": subject.spec.objective.metric}
    marks.tables["lines"] = Table.of(titles, rows)
    x = names("name", None, sort={"field": "order"}, axis={"labelAngle": -25, "labelLimit": 160, "grid": True})
    ends = {"labels": False, "ticks": False, "values": [0, 1]}
    y = number("y", "lowest to highest", axis=ends, scale={"domain": [1.5 * low, 1]})
    shade = {"scheme": "viridis", "domain": [0, 1]}
    marks.draw(
        "lines",
        {"type": "line", "strokeWidth": 1.4, "opacity": 0.55},
        x=x,
        y=y,
        detail=names("trial"),
        color=number("share", None, scale=shade, legend={"format": ".0%", "title": "trials that are better"}),
        tooltip=[number("trial", "trial"), number("result", "result")],
    )
    marks.tables["best"] = Table.of(titles, [row for row in rows if row[0] == subject.complete[0].number])
    orange = {"type": "line", "strokeWidth": 3, "color": BEST, "point": {"filled": True, "color": BEST, "size": 50}}
    tooltip = [names("name", "hyperparameter"), names("text", "value")]
    marks.draw("best", orange, x=x, y=y, tooltip=tooltip)
    text = "Each line is a trial, the orange one the best. An axis runs from the least to the most that was searched."
    text += " A line passes below an axis of which its trial has no value." if low < 0 else ""
    many = counted(len({row[0] for row in rows}), "trial")
    alt = f"Lines of {many} through {counted(len(columns), 'hyperparameter')}. {outcomes(subject)}"
    return Figure("parallel", PARALLEL_TITLE, text, alt, marks.chart(), marks.tables, 340)


def _parallel_rows(subject: Subject, columns: Sequence[Axis | Factor]) -> list[list[Cell]]:
    """Return a row for each value of each trial that is drawn, the best last."""
    labels = distinct([column.name for column in columns], NAME_MOST)
    rows: list[list[Cell]] = []
    for rank, t in _some(subject.complete)[::-1]:
        share = rank / max(1, len(subject.complete) - 1)
        for order, (column, name) in enumerate(zip(columns, labels, strict=True)):
            height, text = _height(column, t)
            rows.append([t.number, order, name, height, text, share, t.value])
    return rows


def _some(complete: Sequence[TrialResult]) -> list[tuple[int, TrialResult]]:
    """Return trials with their ranks: the better half of what is drawn are the best, the rest is spread evenly."""
    ranked = list(enumerate(complete))
    if len(ranked) <= LINES_MOST:
        return ranked
    half = LINES_MOST // 2
    step = (len(ranked) - half) / half
    return ranked[:half] + [ranked[half + int(k * step)] for k in range(half)]


def _height(column: Axis | Factor, trial: TrialResult) -> tuple[float, str]:
    """Return where a trial lies between the ends of an axis, below them without a value; and its value for people."""
    if not has(column, trial.params):
        return NONE_AT, "none"
    if isinstance(column, Factor):
        return column.index(trial.params) / max(1, len(column.values) - 1), factor_text(column, trial.params)
    x, (low, high) = place(column, trial.params) or 0.0, column.ends
    return (x - low) / (high - low), axis_text(column, trial.params)


# --- choices ---------------------------------------------------------------------------------------------------------

CHOICES_TITLE = "Choices, each at its own best"
VALUES_MOST = 40  # of all choices together


def choices_figure(subject: Subject) -> Figure | Missing:
    """Return each value of each choice by its best trial."""
    if not subject.answer.options:
        return Missing("choices", CHOICES_TITLE, "Nothing was chosen from a list to put side by side.")
    rows = [row for options in subject.answer.options for row in _rows_of(subject, options)][:VALUES_MOST]
    values = [row[1] for row in rows if isinstance(row[1], float)]
    if not values:
        return Missing("choices", CHOICES_TITLE, "No trial is complete yet.")
    marks = Marks()
    titles = {"order": "order", "name": "choice", "x": f"best {subject.spec.objective.metric}", "trial": "trial"}
    titles |= {"complete": "complete trials", "behind": "behind the best", "point": "its best configuration"}
    titles |= {"why": "why none"}
    marks.tables["choices"] = Table.of(titles, [[rank, *row] for rank, row in enumerate(rows)])
    y = names("name", None, sort={"field": "order"}, axis={"labelLimit": 220, "grid": True})
    axis = notation(min(values), max(values))
    x = number("x", subject.metric, scale={"zero": False, "nice": True, "padding": 14}, axis=axis)
    _draw_within(marks, subject, x)
    tooltip = [names("name", "choice"), number("x", "best"), number("behind", "behind the best")]
    marks.draw(
        "choices",
        {"type": "point", "filled": True, "size": 110, "color": TIE, "opacity": 1},
        x=x,
        y=y,
        tooltip=[*tooltip, number("trial", "trial"), number("complete", "complete trials"), names("point", "all")],
    )
    without = [row for row in rows if row[6]]
    if without:
        words = {"type": "text", "align": "left", "x": 8, "color": INK, "fontSize": 12}
        marks.draw("choices", words, y=y, text=names("why"))
    text = f"Each dot is the best trial with that choice{_at_its_best(subject)}."
    if without:
        text += f" Without a complete trial: {', '.join(f'{row[0]} ({row[6]})' for row in without)}."
    if "within" in marks.tables:
        text += " What lies in the shaded part cannot be told from the best, given the noise of another seed."
    alt = "Dots: " + "; ".join(f"{row[0]}: {row[6] or f'{row[1]:.6g}'}" for row in rows) + "."
    return Figure("choices", CHOICES_TITLE, text, alt, marks.chart(), marks.tables, 70 + 28 * len(rows))


def _rows_of(subject: Subject, options: Options) -> list[list[Cell]]:
    """Return a row for each value of a choice, the best first; of one without a complete trial with the reason."""
    by_number = {t.number: t for t in subject.trials}
    factor = next(each for each in subject.searched.factors if each.name == options.name)
    labels = distinct([value_text(option.option) for option in options.options], VALUE_MOST)
    rows: list[list[Cell]] = []
    for option, label in zip(options.options, labels, strict=True):
        name = f"{brief(options.name, NAME_MOST)}: {label}"
        if option.best is not None and option.value is not None:
            point = subject.configuration(by_number[option.best])
            rows.append([name, option.value, option.best, option.complete, option.behind, point, ""])
        else:
            place = factor.index({factor.name: option.option})
            states = states_of([t for t in subject.trials if factor.index(t.params) == place])
            rows.append([name, None, None, 0, None, "", f"no complete trial: {states}" if states else "not tried"])
    return rows


def _at_its_best(subject: Subject) -> str:
    """Return what was searched beside a choice, as the end of a sentence; "" for nothing."""
    if subject.searched.rate:
        return ", at the rate that suits it"
    return ", at the other values that suit it" if len(subject.searched.names()) > 1 else ""


def _draw_within(marks: Marks, subject: Subject, x: Chart) -> None:
    """Shade what cannot be told from the best."""
    ties, best = subject.answer.ties, subject.best
    if ties and best and best.value is not None:
        ends = sorted((best.value, best.value + subject.sign * ties.within))
        marks.tables["within"] = Table.of({"x": "from", "x2": "to"}, [ends])
        marks.draw("within", {"type": "rect", "opacity": 0.12, "color": TIE}, x=x, x2={"field": "x2"})


BY_CHOICE_TITLE = "Each choice over the rate"
SHAPES = ("circle", "square", "diamond", "triangle-up", "cross")


def by_choice_figure(subject: Subject) -> Figure | Missing:
    """Return the objective over the learning rate, coloured by the choice that matters most."""
    axis, weights = subject.axis, subject.answer.importance
    factors = sorted(subject.searched.factors, key=lambda each: -weights.get(each.name, 0.0))
    factor = next((each for each in factors if _differing(subject, each)), None)
    if axis is None or factor is None:
        why = "This needs a number and a choice of which complete trials have several values."
        return Missing("by_choice", BY_CHOICE_TITLE, why)
    rows = _rows_by_choice(subject, axis, factor)
    if not rows:
        return Missing("by_choice", BY_CHOICE_TITLE, "No complete trial has both.")
    marks, title = Marks(), brief(factor.name, NAME_MOST)
    titles = {"trial": "trial", "x": "place", "y": "drawn at", "choice": factor.name, "value": axis.name}
    marks.tables["trials"] = Table.of(titles | {"result": subject.spec.objective.metric}, rows)
    colours = {text: colour for text, colour in factor_colours(factor).items() if any(row[3] == text for row in rows)}
    shapes = [SHAPES[rank % len(SHAPES)] for rank in range(len(colours))]
    marks.draw(
        "trials",
        {"type": "point", "filled": True, "size": dot_size(len(rows), 60), "opacity": 0.85},
        x=subject.along(axis, "x"),
        y=subject.upright(),
        color=coloured("choice", list(colours.items()), title),
        shape=names("choice", title, scale={"domain": list(colours), "range": shapes}),
        tooltip=[number("trial", "trial"), number("result", "result"), names("choice", "choice")],
    )
    text = f"Complete trials by {title}: each value has its own valley. Far worse ones lie at the edge."
    text += subject.not_here(subject.complete, [axis, factor])
    alt = f"Dots: {subject.metric} over {rate_title(axis)}, coloured by {title}: {', '.join(colours)}."
    over = BY_CHOICE_TITLE if axis.rate else f"Each choice over {name_of(axis)}"
    return Figure("by_choice", over, text, alt, marks.chart(), marks.tables, 320)


def _rows_by_choice(subject: Subject, axis: Axis, factor: Factor) -> list[list[Cell]]:
    """Return the complete trials that have both, the best last."""
    low, high = subject.frame or (0.0, 1.0)
    rows: list[list[Cell]] = []
    for t in subject.complete[::-1]:
        x, text = place(axis, t.params), factor_text(factor, t.params)
        if x is not None and text and t.value is not None:
            rows.append([t.number, x, min(max(t.value, low), high), text, axis.value(t.params), t.value])
    return rows


def _differing(subject: Subject, factor: Factor) -> bool:
    """Whether complete trials have several values of a choice."""
    return len({factor.index(t.params) for t in subject.complete if has(factor, t.params)}) > 1
