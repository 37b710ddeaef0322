"""Figures of trainings: loss curves of the best and of each verdict, and update ratios over time."""

import re
from collections.abc import Mapping, Sequence
from statistics import median, median_low

from espalier.core.errors import brief, counted
from espalier.sweeps.report.figure import INK, Cell, Chart, Figure, Marks, Missing, Table
from espalier.sweeps.report.grammar import (
    BEST,
    LEAST_PLAIN,
    LOST,
    MOST_PLAIN,
    PALETTE,
    PART,
    PLAIN,
    STEPS,
    coloured,
    distinct,
    names,
    notation,
    number,
)
from espalier.sweeps.report.material import Ratios, block_means
from espalier.sweeps.report.subject import Subject
from espalier.sweeps.results.trial_result import TrialResult

TOP_TIMES = 10  # how far above where trials begin a log axis reaches, where curves run away
EACH = 3  # curves of a verdict, or of what was stopped
CURVES_TITLE = "How they trained"
BEST_GROUP, STOPPED_GROUP = "best", "stopped or parked"
VERDICT_COLOURS = {
    BEST_GROUP: BEST,
    "healthy": "#2f9e44",
    "catapult": "#0c8599",
    "hot": "#e64980",
    "frozen": "#1c7ed6",
    "stuck": "#f08c00",
    "collapsed": "#a61e4d",
    "diverged": LOST,
    STOPPED_GROUP: PART,
}


def curves_figure(subject: Subject) -> Figure | Missing:
    """Return the losses of the best trials, of some of each verdict, and of some that were stopped, on a log axis."""
    groups = _groups(subject)
    trained = _training_losses(subject, groups)
    what, rows = ("training loss", trained) if trained else (subject.metric, _reported(subject, groups))
    if not rows:
        return Missing("curves", CURVES_TITLE, "No curve of a trial is recorded here yet.")
    heights = [float(row[3] or 0) for row in rows]
    losses = bool(trained) or subject.sign > 0  # a score that rises to 1 has no use for a log axis
    positive = losses and all(height > 0 for height in heights)
    titles = {"trial": "trial", "group": "verdict", "x": "step", "y": what}
    marks, drawn = Marks(), [name for name, trials in groups if any(row[1] == name for row in rows) and trials]
    marks.tables["curves"] = Table.of(titles, rows)
    looks = [(name, VERDICT_COLOURS.get(name, PLAIN)) for name in drawn[::-1]]
    top = _top(rows) if positive else None
    cut = {} if top is None else {"domainMax": top}
    scale: Chart = {"type": "log", "nice": False, "padding": 6, **cut} if positive else {"zero": False, "nice": True}
    how_written = _notation([height for height in heights if top is None or height <= top], positive)
    marks.draw(
        "curves",
        {"type": "line", "strokeWidth": 1.6, "strokeJoin": "round", "clip": top is not None},
        x=number("x", "step", axis=STEPS),
        y=number("y", what, scale=scale, axis={**how_written, "tickCount": 6, "labelOverlap": True}),
        color=coloured("group", looks),
        detail=names("trial"),
        strokeWidth={"condition": {"test": f"datum.group == '{BEST_GROUP}'", "value": 3}, "value": 1.4},
        tooltip=[number("trial", "trial"), names("group", "verdict")],
    )
    how = [what, *(["on a log axis"] if positive else []), *(["means over blocks of steps"] if rows is trained else [])]
    text = f"The best, and up to {EACH} of each verdict and of what was stopped or parked: {', '.join(how)}."
    text += f" What rises above {TOP_TIMES} times where trials begin is cut off." if top is not None else ""
    alt = f"Lines: {what} by step of {counted(len({row[0] for row in rows}), 'trial')}: {', '.join(drawn)}."
    return Figure("curves", CURVES_TITLE, text, alt, marks.chart(), marks.tables, 340)


def _top(rows: Sequence[Sequence[Cell]]) -> float | None:
    """Return where a log axis ends, so that curves that run away leave room for the others; None if most of them do."""
    begins: dict[Cell, float] = {}
    peaks: dict[Cell, float] = {}
    for row in sorted(rows, key=lambda row: float(row[2] or 0)):
        height = float(row[3] or 0)
        begins.setdefault(row[0], height)
        peaks[row[0]] = max(height, peaks.get(row[0], height))
    top = TOP_TIMES * median(begins.values())
    return top if median_low(peaks.values()) <= top < max(peaks.values()) / TOP_TIMES else None


def _notation(heights: Sequence[float], log: bool) -> Chart:
    """Return how the numbers of the axis are written, all alike: a log axis may need powers of ten for its ends."""
    powers = log and not (min(heights) >= LEAST_PLAIN and max(heights) < MOST_PLAIN)
    return {"format": "~e" if powers else "~g"} | ({} if log else notation(min(heights), max(heights)))


def _groups(subject: Subject) -> list[tuple[str, list[TrialResult]]]:
    """Return the trials to draw by group, the best group last: it is drawn over the others."""
    best, rest = subject.complete[:1], subject.complete[1:]
    ended = [*rest, *(t for t in subject.trials if t.state in ("diverged", "failed"))]
    verdicts = dict.fromkeys(t.verdict for t in ended if t.verdict)
    groups = [(verdict, [t for t in ended if t.verdict == verdict]) for verdict in verdicts]
    stopped = sorted((t for t in subject.trials if t.state == "stopped"), key=lambda t: -subject.last_step(t))
    running = [t for t in subject.trials if t.state in ("running", "interrupted")]
    order = list(VERDICT_COLOURS)[::-1]
    groups = [*groups, (STOPPED_GROUP, stopped), ("running", running), (BEST_GROUP, best)]
    groups.sort(key=lambda group: order.index(group[0]) if group[0] in order else -1)
    return [(brief(name, 30), _spread(trials)) for name, trials in groups]


def _spread(trials: Sequence[TrialResult]) -> list[TrialResult]:
    """Return the first trials and the last one: both ends of what a group has."""
    return list(trials) if len(trials) <= EACH else [*trials[: EACH - 1], trials[-1]]


Groups = Sequence[tuple[str, Sequence[TrialResult]]]


def _training_losses(subject: Subject, groups: Groups) -> list[list[Cell]]:
    return [
        [t.number, name, step, loss] for name, trials in groups for t in trials for step, loss in subject.trace(t).curve
    ]


def _reported(subject: Subject, groups: Groups) -> list[list[Cell]]:
    """Return the objective at each report, of trials whose training loss is not recorded."""
    return [
        [t.number, name, step, value]
        for name, trials in groups
        for t in trials
        for step, value in block_means(sorted(t.reports.items()))
    ]


# --- update ratios ---------------------------------------------------------------------------------------------------

RATIOS_TITLE = "Is the rate right for each layer?"
TENSORS_MOST = 12  # lines
LINES = ((-1.0, "-1: hot"), (-3.0, "-3: usual"), (-4.0, "-4: frozen"))
VECTORS = re.compile(r"(bias|norm\d*\.weight|ln\w*\.weight|bn\w*\.weight|gain|gamma|beta|scale)$", re.IGNORECASE)


def ratios_figure(subject: Subject) -> Figure | Missing:
    """Return the update-to-data ratio of each weight of the best trial, step by step."""
    best = subject.best
    ratios = subject.trace(best).ratios if best else None
    if best is None or ratios is None or not ratios.known:
        why = "A function or a command trains here, so update ratios are not measured."
        own = "No update ratios of the best trial are recorded here."
        return Missing("ratios", RATIOS_TITLE, why if subject.spec.is_foreign else own)
    shown = _some(ratios.tensors)
    labels = distinct([ratios.tensors[place] for place in shown], 34)
    marks = Marks()
    rows = _ratio_rows(ratios, dict(zip(shown, labels, strict=True)))
    marks.tables["ratios"] = Table.of({"tensor": "tensor", "group": "group", "x": "step", "y": "log10 ratio"}, rows)
    y = number("y", "log10(std(update) / std(weight))", scale={"zero": False, "nice": True})
    groups = list(dict.fromkeys(str(row[1]) for row in rows))
    dashes = {"domain": groups, "range": [[1, 0], [5, 3], [2, 2]][: len(groups)]}
    marks.draw(
        "ratios",
        {"type": "line", "strokeWidth": 1.6},
        x=number("x", "step", axis=STEPS),
        y=y,
        color=coloured("tensor", [(name, PALETTE[rank % len(PALETTE)]) for rank, name in enumerate(labels)]),
        strokeDash=names("group", None, legend={"orient": "top"}, scale=dashes) if len(groups) > 1 else None,
        tooltip=[names("tensor", "tensor"), number("x", "step"), number("y", "log10 ratio")],
    )
    marks.tables["lines"] = Table.of({"y": "log10 ratio", "name": "line"}, LINES)
    marks.draw("lines", {"type": "rule", "strokeDash": [3, 3], "opacity": 0.7, "color": INK}, y=y)
    words: Chart = {"type": "text", "color": INK, "align": "right", "baseline": "bottom", "fontSize": 10}
    marks.draw("lines", {**words, "x": "width", "dx": -4, "dy": -2}, y=y, text=names("name"))
    left_out = len(ratios.tensors) - len(shown)
    more = f" {left_out} more tensors are left out, evenly." if left_out else ""
    text = f"How much each step of the best trial changes each weight. Above -1 is hot, below -4 nothing moves.{more}"
    alt = f"Lines: update ratios by step of {counted(len(shown), 'tensor')} of {subject.headline(best)}."
    return Figure("ratios", RATIOS_TITLE, text, alt, marks.chart(), marks.tables, 320)


def _ratio_rows(ratios: Ratios, labels: Mapping[int, str]) -> list[list[Cell]]:
    """Return the ratios of some tensors that are known. labels: by the place of each tensor."""
    return [
        [label, _group(ratios.tensors[place]), int(row[0] or 0), row[1 + place]]
        for place, label in labels.items()
        for row in ratios.rows
        if len(row) > 1 + place and row[1 + place] is not None
    ]


def _some(tensors: Sequence[str]) -> list[int]:
    """Return the places of at most a dozen tensors, evenly over the layers, with the first and the last."""
    many = len(tensors)
    if many <= TENSORS_MOST:
        return list(range(many))
    return sorted({round(k * (many - 1) / (TENSORS_MOST - 1)) for k in range(TENSORS_MOST)})


def _group(tensor: str) -> str:
    """Return whether a tensor is an embedding, a vector, or a matrix.

    >>> _group("encoder.0.weight"), _group("encoder.0.bias"), _group("wte.embedding")
    ('weights', 'biases and gains', 'embeddings')
    """
    if "embed" in tensor.lower() or tensor.lower().startswith(("wte", "wpe")):
        return "embeddings"
    return "biases and gains" if VECTORS.search(tensor) else "weights"
