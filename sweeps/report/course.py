"""Figures of the sweep itself: where the time went, and the best so far against compute."""

from espalier.core.errors import counted
from espalier.sweeps.report.figure import Cell, Figure, Marks, Missing, Table
from espalier.sweeps.report.grammar import BEST, LOST, PART, PLAIN, TIE, WEAK, coloured, names, number
from espalier.sweeps.report.subject import Subject
from espalier.sweeps.results.trial_result import spans, under_way_s

TIME_TITLE = "Where the time went"
PROGRESS_TITLE = "How the search went"
STEPS_ROW, CLOCK_ROW = "steps", "clock"
PARTS = {  # in the order in which they are drawn
    "trained to the end": "#2f9e44",
    "stopped or parked": PART,
    "lost to divergence": LOST,
    "failed": "#a61e4d",
    "running": TIE,
    "shared, not trained again": WEAK,
    "before the first trial": "#f08c00",
    "trials under way": "#0c8599",
    "no trial under way": PLAIN,
}
OF_STATE = {
    "complete": "trained to the end",
    "stopped": "stopped or parked",
    "diverged": "lost to divergence",
    "failed": "failed",
    "running": "running",
    "interrupted": "running",
}


def time_figure(subject: Subject) -> Figure | Missing:
    """Return how the steps of all trials and the time of the clock divide, as far as the record knows."""
    parts = [*_steps(subject), *_clock(subject)]
    if not parts:
        return Missing("time", TIME_TITLE, "No trial has reported a step yet.")
    marks = Marks()
    totals = {row: sum(amount for which, _, amount, _ in parts if which == row) for row in (STEPS_ROW, CLOCK_ROW)}
    rows: list[list[Cell]] = [
        [row, part, amount / totals[row], text, list(PARTS).index(part)] for row, part, amount, text in parts
    ]
    titles = {"row": "of", "part": "part", "share": "share", "text": "amount", "order": "order"}
    marks.tables["parts"] = Table.of(titles, rows)
    drawn = [part for part in PARTS if any(row[1] == part for row in rows)]
    marks.draw(
        "parts",
        {"type": "bar", "height": 26},
        x=number("share", None, axis={"format": ".0%", "tickCount": 5}, stack="zero", scale={"domain": [0, 1]}),
        y=names("row", None, sort=[STEPS_ROW, CLOCK_ROW], axis={"ticks": False, "domain": False}),
        color=coloured("part", [(part, PARTS[part]) for part in drawn]),
        order=number("order"),
        tooltip=[names("part", "part"), number("share", "share", format=".1%"), names("text", "amount")],
    )
    text = _time_text(subject)
    alt = "Bars: " + "; ".join(f"{row}, {part}: {text}" for row, part, _, text in parts) + "."
    return Figure("time", TIME_TITLE, text, alt, marks.chart(), marks.tables, 110)


Part = tuple[str, str, float, str]
"""row, part, amount, amount for people"""


def _steps(subject: Subject) -> list[Part]:
    """Return the steps of trials by what became of them; what they shared is one part of its own."""
    by_part: dict[str, float] = {}
    for t in subject.material.trials:
        part = OF_STATE.get(t.state, "failed")
        by_part[part] = by_part.get(part, 0.0) + subject.last_step(t)
    total, work = sum(by_part.values()), subject.material.work
    shared = float(min(work.shared, total)) if work else 0.0
    if not total:
        return []
    trained = {part: steps * (1 - shared / total) for part, steps in by_part.items()}
    if shared:
        trained["shared, not trained again"] = shared
    return [(STEPS_ROW, part, steps, f"{steps:,.0f} steps") for part, steps in trained.items() if steps > 0]


def _clock(subject: Subject) -> list[Part]:
    """Return the time from the sweep's begin to its last end: before the first trial, while some train, waiting."""
    trained = spans(subject.material.trials)
    if not trained:
        return []
    first, last = trained[0][0], max(end for _, end in trained)
    begun, busy = min(subject.material.begun or first, first), under_way_s(subject.material.trials)
    parts = {
        "before the first trial": first - begun,
        "trials under way": busy,
        "no trial under way": last - first - busy,
    }
    return [(CLOCK_ROW, part, seconds, _duration(seconds)) for part, seconds in parts.items() if seconds > 0.05]


def _duration(seconds: float) -> str:
    """Return a time for people.

    >>> _duration(3.21), _duration(125), _duration(7500)
    ('3.2 s', '2 min 5 s', '2 h 5 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _time_text(subject: Subject) -> str:
    clock = {part: text for _, part, _, text in _clock(subject)}
    work = subject.material.work
    trained = f"{work.trained:,} steps were trained and {work.shared:,} shared. " if work else ""
    whole = ", ".join(f"{part} {text}" for part, text in clock.items())
    return f"{trained}{f'By the clock: {whole}. ' if whole else ''}Steps of a trial count as far as it reported."


# --- the best so far -------------------------------------------------------------------------------------------------


def progress_figure(subject: Subject) -> Figure | Missing:
    """Return the best objective so far against the training spent."""
    rows, best = _course(subject)
    if len(best) < 2:
        return Missing("progress", PROGRESS_TITLE, "Fewer than two trials are complete.")
    marks = Marks()
    titles = {"trial": "trial", "x": "full trainings spent", "y": "drawn at", "result": subject.spec.objective.metric}
    marks.tables["trials"] = Table.of(titles, rows)
    marks.tables["best"] = Table.of({"x": "full trainings spent", "y": "best so far"}, best)
    x = number("x", "spent, in full trainings", scale={"zero": True, "nice": False}, axis={"tickCount": 8})
    y = subject.upright()
    marks.draw(
        "trials",
        {"type": "point", "filled": True, "size": 30, "color": PLAIN, "opacity": 0.6},
        x=x,
        y=y,
        tooltip=[number("trial", "trial"), number("result", "result")],
    )
    marks.draw("best", {"type": "line", "interpolate": "step-after", "strokeWidth": 2.5, "color": BEST}, x=x, y=y)
    text = (
        "The orange line is the best so far; each dot a complete trial, when it ended. A step that trials share counts "
        "for each of them."
    )
    alt = f"A line: the best {subject.metric} against training spent, to {counted(len(rows), 'complete trial')}."
    return Figure("progress", PROGRESS_TITLE, text, alt, marks.chart(), marks.tables, 260)


def _course(subject: Subject) -> tuple[list[list[Cell]], list[list[Cell]]]:
    """Return complete trials by when they ended, and the best so far."""
    low, high = subject.frame or (0.0, 1.0)
    spent, rows, best = 0.0, list[list[Cell]](), list[list[Cell]]()
    whole = max(1, subject.spec.budget.steps)
    finite = {t.number for t in subject.complete}
    for t in sorted(subject.trials, key=lambda t: (t.ended is None, t.ended or 0.0, t.number)):
        spent += subject.last_step(t) / whole
        if t.number not in finite or t.value is None:
            continue
        rows.append([t.number, spent, min(max(t.value, low), high), t.value])
        before = best[-1][1] if best else None
        if not isinstance(before, float) or subject.sign * t.value < subject.sign * before:
            best.append([spent, t.value])
    if best:
        best.append([spent, best[-1][1]])
    return rows, best
