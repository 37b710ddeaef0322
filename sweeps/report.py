"""Figures and tables of a sweep, from plain results."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.checkup import Checkup
from core.lr_range import RangeTest
from sweeps.results import TrialResult, params_text, ranked
from sweeps.spec import SweepSpec

INK, ACCENT, FAINT = "#1f2933", "#c2410c", "#9aa5b1"


def table_csv(trials: Sequence[TrialResult]) -> str:
    """Return the table of all trials as CSV, one row each, by number."""
    names = sorted({name for t in trials for name in t.params})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "state", "value", "spread", "verdict", "evidence", *names])
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
                *cells,
            ]
        )
    return text.getvalue()


def point_text(params: Mapping[str, Any], spec: SweepSpec) -> str:
    """Return what was searched of a point, briefly: `lr_exponent -0.512, decay_points 0.61`."""
    searched = {"decay_points" if name.startswith("decay_point") else name for name, _ in spec.space.domains()}
    return params_text(params, searched)


def drawing() -> Any:
    """Return matplotlib's Figure; to import it takes the better part of a second, so it waits until it is needed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.backends import backend_agg  # noqa: F401 - what a figure imports when it is saved
    from matplotlib.figure import Figure

    return Figure


def _axes(width: float = 8, height: float = 4.8) -> Any:
    figure = drawing()(figsize=(width, height), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color="#e4e7eb", linewidth=0.7)
    axes.set_axisbelow(True)
    return figure, axes


def exponent_figure(trials: Sequence[TrialResult], spec: SweepSpec, path: Path) -> Path:
    """Draw the objective against the exponent, one dot a trial, coloured by its first decay point; write a PNG."""
    figure, axes = _axes()
    done = [t for t in trials if t.state == "complete" and t.value is not None and math.isfinite(t.value)]
    if done:
        _dots(figure, axes, done)
        _mark(axes, ranked(done, spec.objective.mode)[0])
        axes.set_ylim(*_frame([t.value or 0.0 for t in done], spec.objective.mode))
    diverged = [t.params["lr_exponent"] for t in trials if t.state == "diverged" and "lr_exponent" in t.params]
    for exponent in diverged:
        axes.axvline(exponent, ymax=0.03, color=ACCENT, linewidth=1.2)
    note = f"; {len(diverged)} diverged (ticks at the bottom)" if diverged else ""
    title = f"{spec.name}: {len(done)} trials of {spec.budget.steps:,} steps{note}"
    axes.set_title(title, loc="left", color=INK, fontsize=11)
    axes.set_xlabel("learning-rate exponent (rate = 10 ** exponent)")
    axes.set_ylabel(spec.objective.metric)
    figure.savefig(path)
    return path


def range_figure(test: RangeTest, name: str, path: Path) -> Path:
    """Draw the loss of a range test over the exponent, its band over seeds, its interval and the rules; write a PNG."""
    figure, axes = _axes(width=9)
    for row in test.losses:
        axes.plot(test.exponents, row, color=FAINT, linewidth=0.5, alpha=0.5, zorder=1)
    low, middle, high = test.band
    axes.fill_between(test.bins, low, high, color="#fed7aa", zorder=2, label="half of the seeds")
    axes.plot(test.bins, middle, color=ACCENT, linewidth=2, zorder=3, label="median")
    if test.interval:
        axes.axvspan(*test.interval, color="#e0f2fe", zorder=0, label="interval")
    if test.edge is not None:
        axes.axvline(test.edge, color=INK, linestyle=":", linewidth=1.2, label="diverges from here")
    for i, (rule, spread) in enumerate(test.rules.items()):
        if math.isfinite(spread.median):
            axes.errorbar(
                spread.median,
                0.04 + 0.035 * i,
                xerr=[[spread.median - spread.low], [spread.high - spread.median]],
                transform=axes.get_xaxis_transform(),
                fmt="o",
                markersize=4,
                capsize=2,
                label=rule,
                zorder=5,
            )
    known = middle[np.isfinite(middle)]
    if len(known):
        least, most = float(known.min()), float(np.median(known[: max(1, len(known) // 4)]))
        span = max(most - least, 1e-3 * abs(most), 1e-9)
        axes.set_ylim(least - 0.5 * span, most + 0.6 * span)
    axes.set_title(
        f"{name}: the learning-rate range test, {len(test.losses)} seeds", loc="left", color=INK, fontsize=11
    )
    axes.set_xlabel("learning-rate exponent (rate = 10 ** exponent)")
    axes.set_ylabel("training loss")
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path)
    return path


def check_figure(found: Checkup, name: str, path: Path) -> Path:
    """Draw the outputs and the gradients of each layer, and the first step's update ratios by exponent; write a PNG."""
    figure = drawing()(figsize=(9, 1.8 + 0.32 * len(found.layers) + 2.4), dpi=120, layout="constrained")
    from matplotlib.ticker import NullFormatter

    parts: Any = figure.subfigures(2, 1, height_ratios=[1 + 0.32 * len(found.layers), 2.6])
    top, bottom = parts
    outs, grads = top.subplots(1, 2, sharey=True)
    labels = [f"{layer.name} ({layer.kind})" for layer in found.layers]
    rows = range(len(labels))
    outs.errorbar(
        [layer.mean for layer in found.layers], rows, xerr=[layer.std for layer in found.layers], fmt="o", color=ACCENT
    )
    outs.set_yticks(list(rows), labels, fontsize=8)
    outs.invert_yaxis()
    outs.set_title(f"{name}: outputs, mean and standard deviation", loc="left", color=INK, fontsize=10)
    grads.barh(rows, [max(layer.grad_std, 1e-12) for layer in found.layers], color=FAINT)
    grads.set_xscale("log")
    shown = [layer.grad_std for layer in found.layers if layer.grad_std > 0] or [1.0]
    grads.set_xlim(10.0 ** math.floor(math.log10(min(shown)) - 0.1), 10.0 ** math.ceil(math.log10(max(shown)) + 0.1))
    grads.xaxis.set_minor_formatter(NullFormatter())
    grads.set_title("standard deviation of their gradients", loc="left", color=INK, fontsize=10)
    axes = bottom.subplots()
    names = list(next(iter(found.ratios.values()), {}))
    for exponent, ratios in found.ratios.items():
        axes.plot(names, [ratios[tensor] for tensor in names], "o-", label=f"exponent {exponent:g}", linewidth=1.2)
    axes.axhline(-3, color=INK, linestyle=":", linewidth=1)
    axes.set_title("log10(update / weight) of the first step; -3 is the lecture's line", loc="left", fontsize=10)
    axes.tick_params(axis="x", labelrotation=30, labelsize=8)
    if names:
        axes.legend(fontsize=8, frameon=False)
    for each in (outs, grads, axes):
        each.spines[["top", "right"]].set_visible(False)
        each.grid(True, color="#e4e7eb", linewidth=0.7)
        each.set_axisbelow(True)
    figure.savefig(path)
    return path


def _dots(figure: Any, axes: Any, done: Sequence[TrialResult]) -> None:
    """Draw one dot a trial, coloured by its first decay point where there is one."""
    points = [(t.params.get("decay_points") or [math.nan])[0] for t in done]
    coloured = any(math.isfinite(p) for p in points)
    look = {"c": points, "cmap": "viridis"} if coloured else {"color": ACCENT}
    place = [t.params["lr_exponent"] for t in done], [t.value for t in done]
    dots = axes.scatter(*place, s=34, edgecolors="white", linewidths=0.6, zorder=3, **look)
    if coloured:
        figure.colorbar(dots, ax=axes, label="first decay point (share of the budget)")


def _mark(axes: Any, best: TrialResult) -> None:
    """Ring the best trial and name it."""
    place, text = (best.params["lr_exponent"], best.value or 0.0), f"trial {best.number}: {best.value:.5f}"
    axes.scatter(*place, s=150, facecolors="none", edgecolors=ACCENT, linewidths=1.8, zorder=4)
    below = {"xytext": (0, -20), "textcoords": "offset points", "ha": "center"}
    axes.annotate(text, place, color=ACCENT, fontsize=9, **below)


def _frame(values: Sequence[float], mode: str) -> tuple[float, float]:
    """Return the limits of an axis that shows the best nine tenths well: what is far worse is cut."""
    sign = 1 if mode == "min" else -1
    ordered = sorted(sign * value for value in values)
    best, worst = ordered[0], ordered[min(len(ordered) - 1, int(0.9 * len(ordered)))]
    worst = max(worst, best + 1e-6)
    low, high = sorted((sign * (best - 0.12 * (worst - best)), sign * (worst + 0.1 * (worst - best))))
    return low, high


def ratios_figure(trial: TrialResult, story: Mapping[str, Any], spec: SweepSpec, path: Path) -> Path | None:
    """Draw the update-to-data ratio of each weight of a trial's first replicate, step by step; write a PNG.

    Return None where no weight has a ratio.
    """
    member = story["members"][0]
    if not member["ratios"]:
        return None
    figure, axes = _axes(width=9)
    steps = [row[0] for row in member["ratios"]]
    for i, name in enumerate(member["tensors"]):
        axes.plot(steps, [math.nan if row[1 + i] is None else row[1 + i] for row in member["ratios"]], label=name)
    axes.axhline(-3, color=INK, linestyle=":", linewidth=1)
    axes.axhspan(spec.health.frozen, spec.health.hot, color="#ecfdf5", zorder=0)
    title = f"{spec.name}: update-to-data ratios of trial {trial.number}; green: neither hot nor frozen"
    axes.set_title(title, loc="left", color=INK, fontsize=11)
    axes.set_xlabel("step")
    axes.set_ylabel("log10(std(update) / std(weight))")
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path)
    return path


def curves_figure(told: Sequence[tuple[TrialResult, Mapping[str, Any]]], spec: SweepSpec, path: Path) -> Path:
    """Draw log10 of the training loss, averaged over blocks of steps, of each trial's first replicate; write a PNG."""
    figure, axes = _axes()
    for rank, (trial, story) in enumerate(told):
        curve = [(step, loss) for step, loss in story["members"][0]["curve"] if loss and loss > 0]
        steps, losses = [step for step, _ in curve], [math.log10(loss) for _, loss in curve]
        label = f"trial {trial.number}: {point_text(trial.params, spec)} -> {trial.value:.5f}"
        axes.plot(
            steps,
            losses,
            label=label,
            linewidth=2 if rank == 0 else 1.2,
            color=ACCENT if rank == 0 else None,
            alpha=1 if rank == 0 else 0.75,
            zorder=10 - rank,
        )
    axes.set_title(f"{spec.name}: the best trials", loc="left", color=INK, fontsize=11)
    axes.set_xlabel("step")
    axes.set_ylabel("log10 of the training loss, averaged over blocks")
    if told:
        axes.legend(fontsize=8, frameon=False)
    figure.savefig(path)
    return path
