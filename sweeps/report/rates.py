"""Figures of where the objective is low: over the learning rate, and over rate and decay together."""

from collections.abc import Sequence

import numpy as np

from espalier.core.errors import brief
from espalier.sweeps.answer.axes import Axis
from espalier.sweeps.answer.valley import Array, Valley
from espalier.sweeps.report.figure import INK, Cell, Chart, Figure, Marks, Missing, Table
from espalier.sweeps.report.grammar import (
    BEST,
    LOST,
    PART,
    PLAIN,
    TIE,
    WEAK,
    axis_text,
    coloured,
    dot_size,
    names,
    notation,
    number,
    place,
    rate_title,
)
from espalier.sweeps.report.subject import Subject, outcomes
from espalier.sweeps.results.trial_result import TrialResult

BEST_LOOK, TIE_LOOK, COMPLETE_LOOK = "best", "cannot be told from the best", "complete"
OTHER_LOOK = "complete, by another choice"
CUT_LOOK, DIVERGED_LOOK, STOPPED_LOOK = "worse than the axis shows", "diverged", "stopped or parked"
LOOKS = {  # of a trial: its colour and its shape
    BEST_LOOK: (BEST, "circle"),
    TIE_LOOK: (TIE, "circle"),
    COMPLETE_LOOK: (PLAIN, "circle"),
    OTHER_LOOK: (WEAK, "square"),
    CUT_LOOK: (PLAIN, "triangle-up"),
    STOPPED_LOOK: (PART, "diamond"),
    DIVERGED_LOOK: (LOST, "cross"),
}
MAP_SHAPES = {STOPPED_LOOK: "circle", DIVERGED_LOOK: "cross"}  # on a map, of trials that have not ended whole
TITLE = "Where is it good?"
MAP_TITLE = "Two at once"
FORESEEN = "foreseen_below", "foreseen_above"
"""Tables of the fit beyond the complete trials."""
DASHES = [5, 4]
BELOW = 0.03  # of an axis, by which trials without a value there are drawn below it
TILES = (60, 24)  # of what is believed, across and up
PLACES = (30, 14)  # at which it is computed; between them it is interpolated
SUREST, PALEST = 0.6, 0.05  # opacity of a belief without doubt, beyond that of one without knowledge
NO_NUMBER = "No number was searched, only choices: they stand side by side below."


def look_of(subject: Subject, trial: TrialResult, cuts: bool = True) -> str | None:
    """Return how a trial is drawn; None for one without a place. cuts: whether the axis cuts off what is far worse."""
    if trial.state == "diverged":
        return DIVERGED_LOOK
    if trial.state != "complete" or trial.value is None or subject.frame is None:
        return STOPPED_LOOK if trial.state == "stopped" else None
    if subject.best and trial.number == subject.best.number:
        return BEST_LOOK
    if trial.number in subject.ties:
        return TIE_LOOK
    low, high = subject.frame
    if cuts and not low <= trial.value <= high:
        return CUT_LOOK
    return COMPLETE_LOOK if subject.chose_as_the_best(trial) else OTHER_LOOK


def valley_figure(subject: Subject) -> Figure | Missing:
    """Return the objective over the learning rate, with the fitted valley, its band, ties, references and the lost."""
    axis = subject.axis
    if axis is None:
        return Missing("valley", TITLE, NO_NUMBER)
    trials = _trials_table(subject, axis)
    if not trials.rows:
        return Missing("valley", TITLE, "No trial has ended yet.")
    marks = Marks()
    y = subject.upright()
    _draw_band(marks, subject, axis, y)
    _draw_references(marks, subject, y)
    _draw_trials(marks, trials, subject.along(axis, "x"), y)
    for part, dash in (("fit", {}), *((part, {"strokeDash": DASHES}) for part in FORESEEN)):
        if part in marks.tables:  # over the dots, which hide it where there are many
            line: Chart = {"type": "line", "color": INK, "strokeWidth": 1.5, "clip": True, **dash}
            marks.draw(part, line, x=subject.along(axis, "x"), y=y | {"field": "mean"})
    text = f"Each dot is a trial: {subject.metric} at its end over {rate_title(axis)}."
    if "fit" in marks.tables:
        text += " The line is the fitted valley at the other hyperparameters of the best, the band its doubt at 95 %."
    if any(part in marks.tables for part in FORESEEN):
        text += " Where it is dashed it is foreseen, from the scores of trials that were stopped or parked."
    text += _edge_text(trials) + subject.not_here([t for t in subject.trials if look_of(subject, t)], [axis])
    alt = f"Dots: {subject.metric} of each trial over {rate_title(axis)}. {outcomes(subject)} {subject.answer.sentence}"
    return Figure("valley", TITLE, text, alt, marks.chart(), marks.tables, 360)


def _edge_text(trials: Table) -> str:
    """Return how many trials lie at the edge, and why, as a sentence after a space; "" if none does."""
    numbers = {look: sum(row[3] == look for row in trials.rows) for look in (CUT_LOOK, DIVERGED_LOOK, STOPPED_LOOK)}
    parts = [f"{number} {look}" for look, number in numbers.items() if number]
    return f" At the edge: {', '.join(parts)}." if parts else ""


def _trials_table(subject: Subject, axis: Axis) -> Table:
    """Return each trial that has a place: where it is drawn, its true objective, its look."""
    low, high = subject.frame or (0.0, 1.0)
    rows: list[list[Cell]] = []
    for t in subject.trials:
        x, look = place(axis, t.params), look_of(subject, t)
        if x is None or look is None:
            continue
        inside = look in (BEST_LOOK, TIE_LOOK, COMPLETE_LOOK, OTHER_LOOK)
        y = min(max(t.value or 0.0, low), high) if inside else subject.edge
        rows.append([t.number, x, y, look, axis.value(t.params), t.value, t.verdict])
    rows.sort(key=lambda row: list(LOOKS)[::-1].index(str(row[3])))  # the best is drawn last
    titles = {"trial": "trial", "x": "place", "y": "drawn at", "look": "kind", "value": axis.name}
    titles |= {"result": subject.spec.objective.metric, "verdict": "verdict"}
    return Table.of(titles, rows)


def _draw_trials(marks: Marks, trials: Table, x: Chart, y: Chart) -> None:
    marks.tables["trials"] = trials
    looks = [look for look in LOOKS if any(row[3] == look for row in trials.rows)]
    tooltip = [number("trial", "trial"), number("result", "result"), names("verdict", "verdict")]
    marks.draw(
        "trials",
        {"type": "point", "filled": True, "strokeWidth": 1.5, "clip": False},
        x=x,
        y=y,
        color=coloured("look", [(look, LOOKS[look][0]) for look in looks]),
        shape=names("look", scale={"domain": looks, "range": [LOOKS[look][1] for look in looks]}),
        size={
            "condition": {"test": f"datum.look == '{BEST_LOOK}'", "value": 80},
            "value": dot_size(len(trials.rows), 60),
        },
        opacity={"condition": {"test": f"datum.look == '{COMPLETE_LOOK}'", "value": 0.7}, "value": 1},
        tooltip=tooltip,
    )


def _draw_band(marks: Marks, subject: Subject, axis: Axis, y: Chart) -> None:
    """Draw the band of the fitted valley, and the range that is within noise of its lowest point."""
    valley = subject.answer.slice_of(axis.name)
    if valley is None:
        return
    places = map(axis.coordinate, valley.xs)
    fit = list(zip(places, valley.xs, valley.mean, valley.low, valley.high, strict=True))
    titles = {"x": "place", "value": axis.name, "mean": "fit", "low": "lower end", "high": "upper end"}
    parts = {part: shown for part, rows in _parts(fit, valley).items() if (shown := _shown(rows, subject))}
    for part, rows in parts.items():
        marks.tables[part] = Table.of(titles, rows)
    within = [axis.coordinate(end) for end in valley.within]
    marks.tables["within"] = Table.of({"x": "from", "x2": "to"}, [within])
    x = subject.along(axis, "x")
    marks.draw("within", {"type": "rect", "opacity": 0.12, "color": TIE}, x=x, x2={"field": "x2"})
    for part in parts:
        band = {"type": "area", "opacity": 0.15 if part in FORESEEN else 0.3, "color": PLAIN}
        marks.draw(part, band, x=x, y=y | {"field": "low"}, y2={"field": "high"})


def _parts(fit: Sequence[Sequence[float]], valley: Valley) -> dict[str, Sequence[Sequence[float]]]:
    """Return the rows of a fit where it is measured, and those below and above, where it is foreseen."""
    low, high = valley.measured
    inside = [k for k, row in enumerate(fit) if low <= row[1] <= high]
    first, last = (inside[0], inside[-1]) if inside else (0, len(fit) - 1)
    parts = {"fit": fit[first : last + 1], FORESEEN[0]: fit[: first + 1], FORESEEN[1]: fit[last:]}
    return {part: rows for part, rows in parts.items() if part == "fit" or len(rows) > 1}


def _shown(fit: Sequence[Sequence[float]], subject: Subject) -> list[list[Cell]]:
    """Return the rows of a fit that an axis shows, each band cut off where the axis ends."""
    low, high = subject.frame or (0.0, 1.0)
    rows = [row for row in fit if low <= row[2] <= high]
    return [[*row[:3], max(row[3], low), min(row[4], high)] for row in rows]


def _draw_references(marks: Marks, subject: Subject, y: Chart) -> None:
    """Draw a line for each untuned run that the axis shows."""
    low, high = subject.frame or (0.0, 1.0)
    inside = [r for r in subject.material.references if r.value is not None and low <= r.value <= high]
    if inside:
        rows: list[list[Cell]] = [[r.value, brief(r.title, 60)] for r in inside]
        marks.tables["references"] = Table.of({"y": subject.spec.objective.metric, "name": "untuned"}, rows)
        dash = names("name", "untuned", legend={"orient": "top", "labelLimit": 300})
        marks.draw("references", {"type": "rule", "strokeWidth": 1.5, "color": INK}, y=y, strokeDash=dash)


# --- two hyperparameters ---------------------------------------------------------------------------------------------


def map_figure(subject: Subject) -> Figure | Missing:
    """Return a map of rate and decay, else of the rate and the number that matters most besides."""
    across, up = subject.axis, _second(subject)
    if across is None or up is None:
        return Missing("map", MAP_TITLE, "A map needs two numbers that were searched; there is one at most.")
    whole, partly = _map_tables(subject, across, up)
    if not whole.rows:
        return Missing("map", MAP_TITLE, "No trial is complete yet, so there is nothing to colour a map by.")
    marks = Marks()
    legend = {"title": subject.metric, **notation(*(subject.frame or (0.0, 1.0)))}
    colour = number("shade", subject.metric, scale=_shades(subject), legend=legend)
    first = next(t for t in subject.complete if t.number == whole.rows[-1][0])
    _draw_belief(marks, subject, first, (across, up), colour)
    _draw_places(marks, whole, partly, (subject.along(across, "x"), subject.along(up, "y")), colour)
    if first is subject.best:
        marks.tables["best"] = Table.of({"x": across.name, "y": up.name}, [whole.rows[-1][1:3]])
        ring = {"type": "point", "filled": False, "size": 260, "color": BEST, "strokeWidth": 2.5}
        marks.draw("best", ring, x=subject.along(across, "x"), y=subject.along(up, "y"))
    here = {row[0] for row in partly.rows}
    ended = [t for t in subject.trials if look_of(subject, t) and t.number not in here]
    not_here = subject.not_here(ended, (across, up))
    text = _map_text(partly, first is subject.best) + not_here
    if "belief" in marks.tables:
        whose = "the best's other values" if first is subject.best else f"the other values of trial {first.number}"
        text += f" The ground is what is only believed, at {whose}; the fainter the less it is known."
    what = f"A map of {rate_title(across)} and {rate_title(up)}, coloured by {subject.metric}."
    alt = f"{what} {outcomes(subject)}{not_here}"
    chart = marks.chart(resolve={"scale": {"shape": "independent"}})
    return Figure("map", MAP_TITLE, text, alt, chart, marks.tables, 360)


def _map_text(partly: Table, ring: bool) -> str:
    """Return how to read the trials on a map. ring: whether the best is one of them."""
    looks = {row[3] for row in partly.rows}
    parts = ["Filled dots were trained to their end"]
    parts += ["the orange ring is the best"] if ring else []
    parts += ["hollow dots were stopped or parked"] if STOPPED_LOOK in looks else []
    parts += ["crosses diverged"] if DIVERGED_LOOK in looks else []
    early = any(row[6] == "" for row in partly.rows)  # without a decay point
    edge = " Those at the lower edge ended before they decayed." if early else ""
    return f"{', '.join(parts)}.{edge}"


def _before_decay(subject: Subject, trial: TrialResult) -> bool:
    """Whether a trial ended before the decay that it was to have: one that has no decay by a condition did not."""
    if trial.state not in ("stopped", "diverged") or trial.params.get("decay_points"):
        return False
    return subject.spec.space.exists("decay_points", trial.params)


def _draw_places(marks: Marks, whole: Table, partly: Table, place_: tuple[Chart, Chart], colour: Chart) -> None:
    """Draw the trials: complete ones in the colour of their objective, the others hollow."""
    x, y = place_
    marks.tables["trials"] = whole
    dot = {
        "type": "point",
        "filled": True,
        "size": dot_size(len(whole.rows), 90),
        "stroke": PLAIN,
        "strokeWidth": 0.5,
        "opacity": 1,
    }
    tooltip = [number("trial", "trial"), number("result", "result")]
    marks.draw("trials", dot, x=x, y=y, color=colour, tooltip=tooltip)
    if not partly.rows:
        return
    marks.tables["partly"] = partly
    looks = {look: MAP_SHAPES[look] for look in MAP_SHAPES if any(row[3] == look for row in partly.rows)}
    shapes = names("look", legend={"orient": "top"}, scale={"domain": list(looks), "range": list(looks.values())})
    hollow = {"type": "point", "filled": False, "size": dot_size(len(partly.rows), 50), "color": INK}
    tooltip = [number("trial", "trial"), names("look", "state")]
    marks.draw("partly", hollow, x=x, y=y, shape=shapes, tooltip=tooltip)


def _second(subject: Subject) -> Axis | None:
    """Return the axis to draw beside the rate: a decay point, else the one that matters most."""
    others = [axis for axis in subject.searched.axes if subject.axis and axis.name != subject.axis.name]
    decay = [axis for axis in others if axis.key == "decay_points"]
    weights = subject.answer.importance
    ordered = sorted(others, key=lambda axis: -(weights.get(axis.name, 0.0) if weights else 0.0))
    return next(iter([*decay, *ordered]), None)


def _map_tables(subject: Subject, across: Axis, up: Axis) -> tuple[Table, Table]:
    """Return complete trials, the best last; and those that were stopped or diverged."""
    titles = {"trial": "trial", "x": "place across", "y": "place up", "look": "kind", "shade": "colour"}
    titles |= {"one": across.name, "two": up.name, "result": subject.spec.objective.metric}
    low, high = subject.frame or (0.0, 1.0)
    whole: list[Sequence[Cell]] = []
    partly: list[Sequence[Cell]] = []
    for t in [*subject.complete[::-1], *(t for t in subject.trials if t.state in ("stopped", "diverged"))]:
        x, y, look = place(across, t.params), place(up, t.params), look_of(subject, t, cuts=False)
        if y is None and up.key == "decay_points" and _before_decay(subject, t):
            y = up.ends[0] - BELOW * (up.ends[1] - up.ends[0])
        if x is None or y is None or look is None:
            continue
        shade = None if t.value is None else min(max(t.value, low), high)
        values = axis_text(across, t.params), axis_text(up, t.params)
        row: list[Cell] = [t.number, x, y, look, shade, *values, t.value]
        (partly if look in (STOPPED_LOOK, DIVERGED_LOOK) else whole).append(row)
    return Table.of(titles, whole), Table.of(titles, partly)


def _shades(subject: Subject) -> Chart:
    """Return the scale of the objective's colours: the better, the darker and bluer."""
    low, high = subject.frame or (0.0, 1.0)
    return {"scheme": "viridis", "domain": [low, high], "reverse": subject.sign < 0}


def _draw_belief(marks: Marks, subject: Subject, of: TrialResult, axes: tuple[Axis, Axis], colour: Chart) -> None:
    """Draw what is believed of every place, the paler the less it is known. of: the trial with the other values."""
    points, (across, up) = subject.answer.points, axes
    surface = points.surface
    if surface is None:
        return
    lines = [np.linspace(0.0, 1.0, many) for many in PLACES]
    places = np.tile(points.row(of.params), (PLACES[0] * PLACES[1], 1))
    places[:, points.what.axes.index(across)] = np.repeat(lines[0], PLACES[1])
    places[:, points.what.axes.index(up)] = np.tile(lines[1], PLACES[0])
    believed, doubt = surface.believed(places)
    low, high = subject.frame or (0.0, 1.0)
    means = _between(np.clip(subject.sign * believed, low, high), lines)
    sure = _between(SUREST * np.clip(1 - doubt / (high - low), 0.0, 1.0) + PALEST, lines)
    tiles: list[list[Cell]] = [
        [
            *_ends(across, column, TILES[0]),
            *_ends(up, row, TILES[1]),
            float(means[column, row]),
            float(sure[column, row]),
        ]
        for column, row in np.ndindex(*TILES)
    ]
    titles = {"x": f"{across.name} from", "x2": "to", "y": f"{up.name} from", "y2": "up to"}
    titles |= {"shade": f"believed {subject.spec.objective.metric}, within the axis", "sure": "opacity"}
    marks.tables["belief"] = Table.of(titles, tiles)
    opacity = number("sure", scale={"domain": [0, 1], "range": [0, 1]}, legend=None)
    tooltip = [number("shade", "believed, not trained", format=".5~g")]
    marks.draw(
        "belief",
        {"type": "rect", "strokeWidth": 0},
        x=subject.along(across, "x"),
        x2={"field": "x2"},
        y=subject.along(up, "y"),
        y2={"field": "y2"},
        color=colour,
        opacity=opacity,
        tooltip=tooltip,
    )


def _between(values: Array, lines: Sequence[Array]) -> Array:
    """Return values at all pairs of places, as many as there are, interpolated to the middles of all tiles."""
    middles = [(np.arange(many) + 0.5) / many for many in TILES]
    grid = values.reshape(PLACES)
    columns: list[Array] = [np.interp(middles[0], lines[0], column) for column in grid.T]
    across = np.array(columns).T
    rows: list[Array] = [np.interp(middles[1], lines[1], row) for row in across]
    return np.array(rows)


def _ends(axis: Axis, tile: int, many: int) -> tuple[float, float]:
    """Return the coordinates between which one of so many tiles lies on an axis."""
    low, high = axis.ends
    return low + tile * (high - low) / many, low + (tile + 1) * (high - low) / many
