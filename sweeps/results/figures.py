"""Figures and tables of a sweep, from plain results."""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from espalier.core.checks.findings import Checkup, LayerReport
from espalier.core.errors import counted
from espalier.sweeps.results.drawing import (
    ACCENT,
    FAINT,
    INK,
    LABEL_MOST,
    TALLEST,
    label,
    labels,
    legend,
    picture,
    plain,
    ticks,
    title,
)
from espalier.sweeps.results.formatting import decimals, params_text, params_within
from espalier.sweeps.results.story import TrialStory
from espalier.sweeps.results.trial_result import TrialResult, ranked
from espalier.sweeps.spec.space import Choice, Point
from espalier.sweeps.spec.spec import SweepSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    from espalier.core.checks.lr_range import RangeTest

CURVE_MOST = 60  # characters of a curve's label, which stands inside the axes


def table_csv(trials: Sequence[TrialResult]) -> str:
    """Return the table of all trials as CSV, one row each, by number."""
    names = sorted({name for t in trials for name in t.params})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    memory = [name for name in ("main", "gpu") if any(getattr(t.memory, name) for t in trials)]
    columns = [f"{'gpu_' if name == 'gpu' else ''}memory_gib" for name in memory]
    writer.writerow(["trial", "state", "value", "spread", "verdict", "evidence", *columns, *names])
    for t in sorted(trials, key=lambda t: t.number):
        cells = [json.dumps(v) if isinstance(v, list) else v for v in (t.params.get(name, "") for name in names)]
        writer.writerow(
            [
                t.number,
                t.state,
                "" if t.value is None else repr(t.value),
                "" if t.spread is None else repr(t.spread),
                t.verdict,
                t.evidence,
                *(f"{size / 2**30:.3f}" if (size := getattr(t.memory, name)) else "" for name in memory),
                *cells,
            ]
        )
    return text.getvalue()


def point_text(params: Point, spec: SweepSpec) -> str:
    """Return the searched hyperparameters of a point, briefly: `lr_exponent -0.512, decay_points 0.61`."""
    return params_text(params, spec.space.searched())


def exponent_figure(trials: Sequence[TrialResult], spec: SweepSpec, path: Path) -> Path:
    """Draw the objective against the exponent, one dot a trial; write a PNG.

    Dots are coloured by a searched choice (a schedule, a hidden size), else by their first decay point. Values beyond
    the axis are triangles at its edge. Diverged and stopped trials are ticks at the bottom. The title counts all of
    them.
    """
    done = [t for t in trials if t.state == "complete" and t.value is not None and math.isfinite(t.value)]
    done = [t for t in done if "lr_exponent" in t.params]
    with picture(path) as figure:
        axes = plain(figure.add_subplot())
        notes: list[str] = []
        if done:
            low, high = _frame([t.value or 0.0 for t in done], spec.objective.mode)
            _dots(figure, axes, done, _choices(spec, done), low, high)
            _mark(axes, ranked(done, spec.objective.mode)[0])
            axes.set_ylim(low, high)
            if cut := sum(not low <= (t.value or 0.0) <= high for t in done):
                notes.append(f"{cut} worse than the axis shows (triangles at its edge)")
        notes += _unfinished(axes, trials)
        trained = f"{counted(len(done), 'trial')} of {counted(spec.budget.steps, 'step')}"
        title(axes, f"{spec.name}: {trained}", "; ".join(notes))
        axes.set_xlabel("learning-rate exponent (rate = 10 ** exponent)")
        axes.set_ylabel(label(f"final {spec.objective.metric}", 60))
    return path


def _unfinished(axes: "Axes", trials: Sequence[TrialResult]) -> list[str]:
    """Draw a tick at the bottom for each diverged or stopped trial. Return a note on each state."""
    notes: list[str] = []
    for state, colour, where in (("diverged", ACCENT, 0.03), ("stopped", FAINT, 0.02)):
        exponents = [t.params["lr_exponent"] for t in trials if t.state == state and "lr_exponent" in t.params]
        for exponent in exponents:
            axes.axvline(exponent, ymax=where, color=colour, linewidth=1.2)
        if exponents:
            shade = "red" if state == "diverged" else "grey"
            notes.append(f"{len(exponents)} {state} ({shade} ticks at the bottom)")
    return notes


def range_figure(test: "RangeTest", name: str, path: Path) -> Path:
    """Draw the loss of a range test over the exponent, its band over seeds, its interval; the rules below; a PNG."""
    with picture(path, 9, 6) as figure:
        axes, strip = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1 + 0.12 * len(test.rules)])
        for each in (plain(axes), plain(strip)):
            if test.interval:
                each.axvspan(*test.interval, color="#e0f2fe", zorder=0, label="interval")
            if test.edge is not None:
                each.axvline(test.edge, color=INK, linestyle=":", linewidth=1.2, label="diverges from here")
        cut = _losses(axes, test)
        _rules(strip, test)
        title(axes, f"{name}: the learning-rate range test, {counted(len(test.losses), 'seed')}", inches=8)
        axes.set_ylabel(f"training loss{cut}")
        axes.legend(fontsize=8, frameon=False, loc="upper left")
        strip.set_xlabel("learning-rate exponent (rate = 10 ** exponent)")
    return path


def _losses(axes: "Axes", test: "RangeTest") -> str:
    """Draw the loss of each seed, their median and the band around it. Return a note if the axis cuts some."""
    for row in test.losses:
        axes.plot(test.exponents, row, color=FAINT, linewidth=0.5, alpha=0.5, zorder=1)
    low, middle, high = test.band
    axes.fill_between(test.bins, low, high, color="#fed7aa", zorder=2, label="half of the seeds")
    axes.plot(test.bins, middle, color=ACCENT, linewidth=2, zorder=3, label="median")
    known = middle[np.isfinite(middle)]
    if not len(known):
        return ""
    least, most = float(known.min()), float(np.median(known[: max(1, len(known) // 4)]))
    span = max(most - least, 1e-3 * abs(most), 1e-9)
    axes.set_ylim(least - 0.15 * span, most + 0.6 * span)
    return f" (above {most + 0.6 * span:.3g} cut)" if np.nanmax(test.losses) > most + 0.6 * span else ""


def _rules(strip: "Axes", test: "RangeTest") -> None:
    """Draw each rule's suggestion, with its quartiles over the seeds, in its own row."""
    for i, spread in enumerate(test.rules.values()):
        if math.isfinite(spread.median):
            across = [[spread.median - spread.low], [spread.high - spread.median]]
            strip.errorbar(spread.median, i, xerr=across, fmt="o", markersize=4, capsize=2, color=INK, zorder=5)
    strip.set_yticks(range(len(test.rules)), list(test.rules), fontsize=8)
    strip.set_ylim(len(test.rules) - 0.5, -0.5)


def check_figure(checkup: Checkup, name: str, path: Path) -> Path:
    """Draw the outputs and the gradients of each layer, and the first step's update ratios by exponent; write a PNG."""
    rows = min(1 + 0.32 * len(checkup.layers), TALLEST - 4)
    with picture(path, 9, rows + 3.2) as figure:
        (top,), (bottom,) = figure.subfigures(2, 1, squeeze=False, height_ratios=[rows, 2.6])
        outs, grads = top.subplots(1, 2, sharey=True)
        _outputs(outs, checkup.layers, name)
        _gradients(grads, checkup.layers)
        ratios = bottom.subplots()
        _first_ratios(ratios, checkup.ratios)
        for axes in (outs, grads, ratios):
            plain(axes)
    return path


def _outputs(axes: "Axes", layers: Sequence[LayerReport], name: str) -> None:
    """Draw the mean and the standard deviation of each layer's outputs, the first layer on top."""
    labels = [f"{layer.name} ({layer.kind})" for layer in layers]
    rows = range(len(labels))
    axes.errorbar([layer.mean for layer in layers], rows, xerr=[layer.std for layer in layers], fmt="o", color=ACCENT)
    axes.set_yticks(*ticks(labels, 40), fontsize=8)
    axes.invert_yaxis()
    title(axes, f"{name}: outputs, mean and standard deviation", inches=3.4, size=10)


def _gradients(axes: "Axes", layers: Sequence[LayerReport]) -> None:
    """Draw the standard deviation of each layer's gradients, on a log axis."""
    from matplotlib.ticker import NullFormatter

    axes.barh(range(len(layers)), [max(layer.grad_std, 1e-12) for layer in layers], color=FAINT)
    axes.set_xscale("log")
    shown = [layer.grad_std for layer in layers if layer.grad_std > 0] or [1.0]
    axes.set_xlim(10.0 ** math.floor(math.log10(min(shown)) - 0.1), 10.0 ** math.ceil(math.log10(max(shown)) + 0.1))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_title("standard deviation of their gradients", loc="left", color=INK, fontsize=10)


def _first_ratios(axes: "Axes", ratios: Mapping[float, Mapping[str, float]]) -> None:
    """Draw the update ratios of the first step, a line for each exponent."""
    names = list(next(iter(ratios.values()), {}))
    for exponent, by_tensor in ratios.items():
        heights = [by_tensor[tensor] for tensor in names]
        axes.plot(range(len(names)), heights, "o-", label=f"exponent {exponent:g}", linewidth=1.2)
    axes.set_xticks(*ticks(names))
    axes.axhline(-3, color=INK, linestyle=":", linewidth=1)
    axes.set_title("log10(update / weight) of the first step; -3 is the lecture's line", loc="left", fontsize=10)
    axes.tick_params(axis="x", labelrotation=30 if len(names) <= 12 else 90, labelsize=8)
    if names:
        axes.legend(fontsize=8, frameon=False)


PALETTE = ("#c2410c", "#0369a1", "#15803d", "#7e22ce", "#a16207", "#be185d", "#0f766e", "#4b5563")
MARKERS = "osD^vPX*"
Choices = Mapping[str, Sequence[object]]
"""By hyperparameter, the values from which trials were chosen."""


def _choices(spec: SweepSpec, done: Sequence[TrialResult]) -> Choices:
    """Return the first two choices of a spec, each with the values that some trial has, in the spec's order."""
    choices = {name: list(domain.choices) for name, domain in spec.space.domains() if isinstance(domain, Choice)}
    known = {
        name: [value for value in values if any(t.params.get(name) == value for t in done)]
        for name, values in choices.items()
        if name != "seed"
    }
    return dict([(name, values) for name, values in known.items() if len(values) > 1][:2])


def _dots(
    figure: "Figure", axes: "Axes", done: Sequence[TrialResult], choices: Choices, low: float, high: float
) -> None:
    """Draw one dot a trial, a triangle at the edge where its value lies beyond it."""
    points = [(t.params.get("decay_points") or [math.nan])[0] for t in done]
    shaded = not choices and any(math.isfinite(p) for p in points)
    norm = _scale(points) if shaded else None
    dots = None
    for t, point in zip(done, points, strict=True):
        colour, marker = _look(t, choices)
        shade: dict[str, Any] = {"c": [point], "cmap": "viridis", "norm": norm} if shaded else {"color": colour}
        shade |= {"s": 34, "edgecolors": "white", "linewidths": 0.6, "zorder": 3, "clip_on": False}
        value = t.value or 0.0
        place = t.params["lr_exponent"], min(max(value, low), high)
        if value < low or value > high:
            marker = "v" if value < low else "^"
        drawn = axes.scatter(*place, marker=marker, **shade)
        dots = drawn if shaded and math.isfinite(point) else dots
    _count_cut(axes, done, low, high)
    if dots is not None:
        figure.colorbar(dots, ax=axes, label="first decay point (share of the budget)")
    if choices:
        _legend(axes, choices)


def _count_cut(axes: "Axes", done: Sequence[TrialResult], low: float, high: float) -> None:
    """Label triangles that overlap with their number."""
    beyond = [(t.params["lr_exponent"], (t.value or 0.0) > high) for t in done if not low <= (t.value or 0.0) <= high]
    for (exponent, above), count in Counter((round(exponent, 2), above) for exponent, above in beyond).items():
        if count > 1:
            look = {"xytext": (6, -9 if above else 4), "textcoords": "offset points", "fontsize": 8, "color": INK}
            axes.annotate(f"x{count}", (exponent, high if above else low), **look)


def _scale(points: Sequence[float]) -> "Normalize":
    from matplotlib.colors import Normalize

    known = [point for point in points if math.isfinite(point)]
    return Normalize(min(known), max(known))


def _look(t: TrialResult, choices: Choices) -> tuple[str, str]:
    """Return the colour of a trial's first choice and the marker of its second."""
    places = [values.index(t.params[name]) if t.params.get(name) in values else 0 for name, values in choices.items()]
    colour, marker, *_ = [*places, 0, 0]
    return PALETTE[colour % len(PALETTE)] if places else ACCENT, MARKERS[marker % len(MARKERS)]


def _legend(axes: "Axes", choices: Choices) -> None:
    """Add a legend of colours and markers."""
    for which, (name, values) in enumerate(choices.items()):
        shown = labels([str(value) for value in values], max(8, LABEL_MOST - len(label(name, 16))))
        for i, value in enumerate(shown):
            colour, marker = (PALETTE[i % len(PALETTE)], None) if which == 0 else (FAINT, MARKERS[i % len(MARKERS)])
            axes.scatter([], [], s=34, label=f"{label(name, 16)} {value}", color=colour, marker=marker)
    legend(axes, beside=True)


def _mark(axes: "Axes", best: TrialResult) -> None:
    """Circle the best trial and label it."""
    place, text = (best.params["lr_exponent"], best.value or 0.0), f"trial {best.number}: {decimals(best.value)}"
    axes.scatter(*place, s=150, facecolors="none", edgecolors=ACCENT, linewidths=1.8, zorder=4)
    below = {"xytext": (0, -20), "textcoords": "offset points", "ha": "center"}
    axes.annotate(text, place, color=ACCENT, fontsize=9, **below)


def _frame(values: Sequence[float], mode: str) -> tuple[float, float]:
    """Return the limits of an axis for the best nine tenths of the values: far worse ones are cut."""
    sign = 1 if mode == "min" else -1
    ordered = sorted(sign * value for value in values)
    best, worst = ordered[0], ordered[min(len(ordered) - 1, int(0.9 * len(ordered)))]
    worst = max(worst, best + 1e-6 * max(1.0, abs(best)))
    low, high = sorted((sign * (best - 0.12 * (worst - best)), sign * (worst + 0.1 * (worst - best))))
    share = mode == "max" and all(0 <= value <= 1 for value in values)  # an accuracy or an AUC is at most 1
    return (max(low, 0.0), min(high, 1.0)) if share else (low, high)


def ratios_figure(trial: TrialResult, story: TrialStory, spec: SweepSpec, path: Path) -> Path | None:
    """Draw the update-to-data ratio of each weight of a trial's first replicate, step by step; write a PNG.

    Return None if no weight has a ratio.
    """
    replicate = story["members"][0]
    if not replicate["ratios"]:
        return None
    steps, *columns = zip(*replicate["ratios"], strict=False)
    with picture(path, width=9) as figure:
        axes = plain(figure.add_subplot())
        for name, column in zip(labels(replicate["tensors"]), columns, strict=False):
            axes.plot(_numbers(steps), _numbers(column), label=name)
        axes.axhline(-3, color=INK, linestyle=":", linewidth=1)
        axes.axhspan(spec.health.frozen, spec.health.hot, color="#ecfdf5", zorder=0)
        of_what = f"{spec.name}: update-to-data ratios of trial {trial.number}; "
        title(axes, of_what + "green: neither hot nor frozen; dotted: -3, usual", inches=7.5)
        axes.set_xlabel("step")
        axes.set_ylabel("log10(std(update) / std(weight))")
        legend(axes, beside=True)
    return path


def _numbers(values: Sequence[float | None]) -> list[float]:
    """Return values with NaN for JSON's null: matplotlib interrupts a line there."""
    return [math.nan if value is None else value for value in values]


def curves_figure(trials: Sequence[tuple[TrialResult, TrialStory]], spec: SweepSpec, path: Path) -> Path:
    """Draw the training loss, averaged over blocks of steps, of each trial's first replicate, on a log axis; a PNG."""
    with picture(path) as figure:
        axes, seen = plain(figure.add_subplot()), list[float]()
        for rank, (trial, story) in enumerate(trials):
            curve = [(step, loss) for step, loss in story["members"][0]["curve"] if loss and loss > 0]
            seen += [loss for _, loss in curve]
            look: dict[str, Any] = {"linewidth": 2, "color": ACCENT} if rank == 0 else {"linewidth": 1.2, "alpha": 0.75}
            steps, losses = [step for step, _ in curve], [loss for _, loss in curve]
            axes.plot(steps, losses, label=_curve_label(trial, spec), zorder=10 - rank, **look)
        _losses_axis(axes, seen)
        title(axes, f"{spec.name}: the best trials")
        axes.set_xlabel("step")
        axes.set_ylabel("training loss, averaged over blocks (log scale)")
        legend(axes)
    return path


def _curve_label(trial: TrialResult, spec: SweepSpec) -> str:
    """Return a trial's number and value, then as many of its hyperparameters as fit beside them."""
    head = f"trial {trial.number}: {decimals(trial.value)}"
    params = params_within(trial.params, spec.space.searched(), CURVE_MOST - len(head) - 2)
    return label(f"{head}, {params}" if params else head, CURVE_MOST)


def _losses_axis(axes: "Axes", losses: Sequence[float]) -> None:
    """Make the axis logarithmic, with losses at its ticks: round ones also where they lie within a decade."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

    axes.set_yscale("log")
    low, high = (min(losses), max(losses)) if losses else (1.0, 10.0)
    near = high < 10 * low
    ticks = [tick for tick in MaxNLocator(6).tick_values(low, high) if tick > 0] if near else []
    axes.yaxis.set_major_locator(FixedLocator(ticks) if near else LogLocator(numticks=10))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda loss, _: f"{loss:.4g}"))
