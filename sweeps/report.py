"""Figures and tables of a sweep, from plain results."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sweeps.results import TrialResult, ranked
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
            [t.number, t.state, "" if t.value is None else repr(t.value), t.spread or "", t.verdict, t.evidence, *cells]
        )
    return text.getvalue()


def point_text(params: Mapping[str, Any], spec: SweepSpec) -> str:
    """Return what was searched of a point, briefly: `lr_exponent -0.512, decay_points 0.61`."""
    searched = {"decay_points" if name.startswith("decay_point") else name for name, _ in spec.space.domains()}
    return ", ".join(f"{name} {_short(params[name])}" for name in params if name in searched)


def _short(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(_short(v) for v in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _axes(width: float = 8, height: float = 4.8) -> Any:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color="#e4e7eb", linewidth=0.7)
    axes.set_axisbelow(True)
    return figure, axes


def exponent_figure(trials: Sequence[TrialResult], spec: SweepSpec, path: Path) -> Path:
    """Draw the objective against the exponent, one dot a trial, coloured by its first decay point; write a PNG."""
    figure, axes = _axes()
    done = [t for t in trials if t.state == "complete" and t.value is not None and math.isfinite(t.value)]
    metric = spec.objective.metric
    if done:
        points = [(t.params.get("decay_points") or [math.nan])[0] for t in done]
        exponents, values = [t.params["lr_exponent"] for t in done], [t.value or 0.0 for t in done]
        coloured = any(math.isfinite(p) for p in points)
        dots = axes.scatter(
            exponents,
            values,
            c=points if coloured else ACCENT,
            cmap="viridis",
            s=34,
            edgecolors="white",
            linewidths=0.6,
            zorder=3,
        )
        if coloured:
            figure.colorbar(dots, ax=axes, label="first decay point (share of the budget)")
        best = ranked(done, spec.objective.mode)[0]
        place = (best.params["lr_exponent"], best.value or 0.0)
        axes.scatter(*place, s=150, facecolors="none", edgecolors=ACCENT, linewidths=1.8, zorder=4)
        axes.annotate(
            f"trial {best.number}: {best.value:.5f}",
            place,
            xytext=(0, -20),
            textcoords="offset points",
            ha="center",
            color=ACCENT,
            fontsize=9,
        )
        axes.set_ylim(*_frame(values))
    for t in (t for t in trials if t.state == "diverged" and "lr_exponent" in t.params):
        axes.axvline(t.params["lr_exponent"], ymax=0.03, color=ACCENT, linewidth=1.2)
    diverged = sum(t.state == "diverged" for t in trials)
    note = f"; {diverged} diverged (ticks at the bottom)" if diverged else ""
    axes.set_title(
        f"{spec.name}: {len(done)} trials of {spec.budget.steps:,} steps{note}", loc="left", color=INK, fontsize=11
    )
    axes.set_xlabel("learning-rate exponent (rate = 10 ** exponent)")
    axes.set_ylabel(metric)
    figure.savefig(path)
    return path


def _frame(values: Sequence[float]) -> tuple[float, float]:
    """Return the limits of an axis that shows the best values well: what is far worse is cut, not the rest squeezed."""
    ordered = sorted(values)
    low, high = ordered[0], ordered[min(len(ordered) - 1, int(0.9 * len(ordered)))]
    high = max(high, low + 1e-6)
    return low - 0.12 * (high - low), high + 0.1 * (high - low)


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
