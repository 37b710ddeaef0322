"""Figures and tables of a sweep, from plain results."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from espalier.core.checks.findings import Checkup, LayerReport
from espalier.core.errors import counted
from espalier.sweeps.results.drawing import (
    ACCENT,
    FAINT,
    INK,
    TALLEST,
    picture,
    plain,
    ticks,
    title,
)
from espalier.sweeps.results.formatting import params_text
from espalier.sweeps.results.trial_result import TrialResult
from espalier.sweeps.spec.space import Point
from espalier.sweeps.spec.spec import SweepSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from espalier.core.checks.lr_range import RangeTest


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
