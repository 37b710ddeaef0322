"""The learning-rate range test (Smith 2017, arXiv:1506.01186) with error bars, and every published rule side by side.

K = seeds (one lane each), S = steps. The rate rises by equal factors from 10 ** low to 10 ** high. Rules are computed
as their sources compute them, each with its own smoothing, its own early stop and its own trimming.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from espalier.core.errors import BadInput
from espalier.core.programs.program import Program
from espalier.core.task import Data, Task
from espalier.core.training.cohort import Cohort
from espalier.core.training.events import Ended
from espalier.core.training.trial import Hyperparameters, Structure, Trial

Curve = np.ndarray
Rule = Callable[[Curve, Curve, int], float | None]
"""Takes rates and losses of the steps trained, and the number planned; returns a rate, None where it has none."""

LOW, HIGH, STEPS, SEEDS = -6.0, 1.5, 400, 16  # of a test of which nothing else is said
BIN = 0.2  # decades: narrow beside the half decade that an interval is widened by, and wide beside a step


# --- rules, each as its source computes it --------------------------------------------------------------------------


def _smoothed(losses: Curve, beta: float, shift: int, stop: float) -> Curve:
    """Return the bias-corrected moving average of losses, up to where it exceeds `stop` times its best.

    The correction of step t (counted from 1) is 1 - beta ** (t + shift).
    """
    found: list[float] = []
    average, best = 0.0, math.inf
    for t, loss in enumerate(losses.tolist(), start=1):
        average = beta * average + (1 - beta) * loss
        found.append(average / (1 - beta ** (t + shift)))
        if found[-1] < best:
            best = found[-1]
        elif t > 1 and found[-1] > stop * best:
            break
    return np.array(found)


def _as_fastai(lrs: Curve, losses: Curve, planned: int) -> tuple[Curve, Curve]:
    """fastai's lr_find: smooth by 0.98, stop at 4 times the best, leave out the first tenth and the last five."""
    smooth = _smoothed(losses, 0.98, 0, 4.0)
    lrs, smooth = lrs[: len(smooth)][planned // 10 : -5], smooth[planned // 10 : -5]
    bad = np.flatnonzero(np.isnan(smooth))
    cut = int(bad[0]) if len(bad) else len(smooth)
    return lrs[:cut], smooth[:cut]


def valley(lrs: Curve, losses: Curve, planned: int) -> float | None:
    """fastai's valley: two thirds and a half section into the longest falling run of losses."""
    lrs, losses = _as_fastai(lrs, losses, planned)
    n = len(losses)
    if n < 2:
        return None
    lengths, first, last = [1] * n, 0, 0
    for i in range(1, n):
        for j in range(i):
            if losses[i] < losses[j] and lengths[i] < lengths[j] + 1:
                lengths[i] = lengths[j] + 1
            if lengths[last] < lengths[i]:
                last, first = i, i - lengths[i]
    section = (last - first) / 3
    return float(lrs[first + int(section) + int(section / 2)])


def slide(lrs: Curve, losses: Curve, planned: int) -> float | None:
    """fastai's slide: move an interval of 15 steps left from the end while the slopes at its ends differ."""
    lrs, losses = _as_fastai(lrs, losses, planned)
    if len(losses) < 17:
        return None
    slope = np.gradient(losses)
    right, left = -1, -16
    found = lrs[left]
    while left >= -len(losses) and abs(slope[right] - slope[left]) > 0.005:
        found = lrs[left]
        right, left = right - 1, left - 1
    return float(found)


def minimum(lrs: Curve, losses: Curve, planned: int) -> float | None:
    """fastai's minimum: a tenth of the rate of the least loss."""
    lrs, losses = _as_fastai(lrs, losses, planned)
    return float(lrs[losses.argmin()]) / 10 if len(losses) else None


def steep(lrs: Curve, losses: Curve, planned: int) -> float | None:
    """fastai's steep: where the loss falls fastest against the logarithm of the rate."""
    lrs, losses = _as_fastai(lrs, losses, planned)
    return float(lrs[(np.diff(losses) / np.diff(np.log(lrs))).argmin()]) if len(losses) > 1 else None


def lightning(lrs: Curve, losses: Curve, planned: int) -> float | None:
    """PyTorch Lightning's suggestion: where the loss falls fastest against the rate itself."""
    smooth = _smoothed(losses, 0.98, 1, 4.0)
    lrs, smooth = lrs[: len(smooth)][10:-1], smooth[10:-1]
    finite = np.isfinite(smooth)
    lrs, smooth = lrs[finite], smooth[finite]
    return float(lrs[np.gradient(smooth, lrs).argmin()]) if len(smooth) > 1 else None


def torch_lr_finder(lrs: Curve, losses: Curve, planned: int) -> float | None:
    """torch-lr-finder's steepest gradient, against the number of the step."""
    found: list[float] = []
    best = math.inf
    for loss in losses.tolist():
        found.append(0.05 * loss + 0.95 * found[-1] if found else loss)
        best = min(best, found[-1])
        if found[-1] > 5 * best:
            break
    smooth = np.array(found)
    lrs, smooth = lrs[: len(smooth)][10:-5], smooth[10:-5]
    return float(lrs[np.gradient(smooth).argmin()]) if len(smooth) > 1 else None


RULES: Mapping[str, Rule] = {
    "fastai valley": valley,
    "fastai slide": slide,
    "fastai minimum": minimum,
    "fastai steep": steep,
    "Lightning": lightning,
    "torch-lr-finder": torch_lr_finder,
}


# --- the test ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spread:
    """What a rule says over the seeds, in exponents: median, lower and upper quartile, and for how many it had none."""

    median: float
    low: float
    high: float
    silent: int

    @staticmethod
    def of(values: Sequence[float | None]) -> "Spread":
        """Return the spread of values, of which some may be missing."""
        known = [value for value in values if value is not None and math.isfinite(value)]
        if not known:
            return Spread(math.nan, math.nan, math.nan, len(values))
        low, middle, high = np.quantile(known, [0.25, 0.5, 0.75])
        return Spread(float(middle), float(low), float(high), len(values) - len(known))


@dataclass(frozen=True)
class RangeTest:
    """What came out.

    exponents: log10 of the rate of each step (S,). losses: training losses (K, S), NaN from where a seed diverged.
    bins: exponents in the middle of equal pieces; band: the lower quartile, median and upper quartile over the seeds of
    each seed's median loss in a piece (3, bins), NaN where fewer than half of the seeds were left.
    rules: each published rule and our own binned minimum. interval: exponents worth searching, None if nothing can be
    said. edge: from which exponent on training diverges, None if it does not. notes: what was odd, in plain sentences.
    """

    exponents: np.ndarray
    losses: np.ndarray
    bins: np.ndarray
    band: np.ndarray
    rules: Mapping[str, Spread]
    interval: tuple[float, float] | None
    edge: float | None
    notes: Sequence[str]


def range_test(
    task: Task,
    data: Data,
    structure: Structure,
    hyper: Hyperparameters,
    low: float = LOW,
    high: float = HIGH,
    steps: int = STEPS,
    seeds: Sequence[int] = tuple(range(SEEDS)),
    program: str | Program = "vmap",
    device: str = "cpu",
) -> RangeTest:
    """Train one lane per seed while the rate rises, and read the curves. Touches nothing but lanes of its own.

    hyper: momentum, weight decay and the like; its rate and schedule are replaced by the ramp.
    Raises BadInput for a range or a length of which nothing can be read, and where the task raises for every seed.
    """
    if not low < high:
        raise BadInput(f"the range of exponents {low:g} ... {high:g}: low must be below high")
    if steps < 30:
        raise BadInput(f"steps: {steps}; a range test needs at least 30")
    if not seeds:
        raise BadInput("seeds: none; give at least one")
    ramp = replace(hyper, lr=10.0**low, floor=10.0 ** (high - low), decay_points=(), warmup=0.0)
    trials = [Trial(str(seed), seed, steps, ramp, reports=1) for seed in seeds]
    rising = replace(structure, schedule="exponential", phases=())
    cohort = Cohort(task, data, rising, trials, len(trials), program, device, 0, watchers=(), curve_points=steps)
    ends = [event for event in cohort.train() if isinstance(event, Ended)]
    failed = [end for end in ends if end.status == "failed" and end.step < steps]  # which no rate has caused
    if len(failed) == len(ends):
        raise BadInput(f"task: the range test failed for each of {len(seeds)} seeds: {failed[0].evidence}")
    losses = np.full((len(ends) - len(failed), steps), np.nan)
    for k, end in enumerate(end for end in ends if end not in failed):
        for step, loss in end.curve:
            losses[k, step - 1] = loss
    test = read_curves(low + (high - low) * np.arange(steps) / steps, losses)
    if not failed:
        return test
    said = f"{len(failed)} of {len(seeds)} seeds failed and are left out: {failed[0].evidence}"
    return replace(test, notes=[said, *test.notes])


def read_curves(exponents: np.ndarray, losses: np.ndarray) -> RangeTest:
    """Return what curves of losses (K, S) over rising exponents (S,) say; NaN from where a seed diverged."""
    steps = len(exponents)
    lengths = [int(np.argmin(np.isfinite(row))) if not np.isfinite(row).all() else steps for row in losses]
    losses = np.array([np.where(np.arange(steps) < n, row, np.nan) for row, n in zip(losses, lengths, strict=True)])
    rules = {
        name: Spread.of([_exponent(rule, exponents, row[:n], steps) for row, n in zip(losses, lengths, strict=True)])
        for name, rule in RULES.items()
    }
    bins, table = _binned(exponents, losses)
    lowest = [float(bins[np.nanargmin(row)]) if np.isfinite(row).any() else None for row in table]
    rules["binned minimum"] = Spread.of(lowest)
    left = np.isfinite(table).sum(0) >= max(1, math.ceil(len(table) / 2))
    band = np.full((3, len(bins)), np.nan)
    for b in np.flatnonzero(left):
        band[:, b] = np.nanquantile(table[:, b], [0.25, 0.5, 0.75])
    edge = _edge(exponents, losses)
    interval, notes = _interval(bins, table, band, lengths, steps, edge)
    return RangeTest(exponents, losses, bins, band, rules, interval, edge, notes)


LEFT = 4.0  # times its least so far: where fastai and Lightning stop


def _edge(exponents: np.ndarray, losses: np.ndarray) -> float | None:
    """Return from which exponent on half of the seeds' losses have left for good; None if they stay."""
    lefts = []
    for row in losses:
        least = np.fmin.accumulate(np.where(np.isfinite(row), row, np.inf))
        inside = np.isfinite(row) & ((row <= LEFT * least) | (least <= 0))
        last = int(np.flatnonzero(inside)[-1]) + 1 if inside.any() else 0
        lefts.append(float(exponents[last]) if last < len(row) else math.inf)
    edge = float(np.median(lefts))
    return edge if math.isfinite(edge) else None


def _exponent(rule: Rule, exponents: np.ndarray, losses: np.ndarray, planned: int) -> float | None:
    if len(losses) < 2:
        return None
    found = rule(10.0 ** exponents[: len(losses)], losses, planned)
    return math.log10(found) if found is not None and found > 0 and math.isfinite(found) else None


def _binned(exponents: np.ndarray, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the middles of equal pieces of the exponents and each seed's median loss there (K, pieces).

    A median takes no notice of a spike. A piece has at least five steps.
    """
    span = exponents[-1] - exponents[0]
    count = max(2, min(round(span / BIN), len(exponents) // 5))
    pieces = np.array_split(np.arange(len(exponents)), count)
    table = np.full((len(losses), count), np.nan)
    for b, piece in enumerate(pieces):
        whole = np.isfinite(losses[:, piece]).all(1)
        table[whole, b] = np.median(losses[whole][:, piece], axis=1)
    return np.array([exponents[piece].mean() for piece in pieces]), table


CLEAR = 4.5  # times what neighbouring points differ by: the least of 35 points of pure noise lies 2 to 3.5 below
FALLEN = 0.25  # of the whole fall: below it a rate is too low to learn in the time of the test


def _interval(
    bins: np.ndarray, table: np.ndarray, band: np.ndarray, lengths: Sequence[int], steps: int, edge: float | None
) -> tuple[tuple[float, float] | None, list[str]]:
    """Return from where a quarter of the fall is done to where the loss is least, over the seeds; and what was odd."""
    notes: list[str] = []
    diverged = sum(n < steps for n in lengths)
    if diverged:
        first = min(range(len(lengths)), key=lambda k: lengths[k])
        at = bins[0] + (bins[-1] - bins[0]) * lengths[first] / steps
        notes.append(f"{diverged} of {len(lengths)} seeds diverged, the first near an exponent of {at:.2f}")
    middle = band[1]
    known = np.flatnonzero(np.isfinite(middle))
    if len(known) < 3:
        notes.append("the curves are too short to read: the loss was no number almost from the start; begin lower")
        return None, notes
    start, least = float(middle[known[:3]].mean()), float(np.nanmin(middle))
    tremble = float(np.median(np.abs(np.diff(middle[known]))))
    if not start - least > max(CLEAR * tremble, 1e-3 * abs(start)):
        notes.append(
            f"the curve is flat: the loss falls from {start:.4g} to {least:.4g}, where neighbouring points differ by "
            f"{tremble:.2g}; train longer, take more seeds, or reach higher rates"
        )
        return None, notes
    lows, highs = [], []
    for row in table:
        seen = np.flatnonzero(np.isfinite(row))
        if len(seen) < 3:
            continue
        bottom = int(seen[np.argmin(row[seen])])
        line = row[seen[0]] - FALLEN * (row[seen[0]] - row[bottom])
        begun = next((int(b) for b in seen if row[b] <= line), bottom)
        lows.append(bins[min(begun, bottom)])
        highs.append(bins[bottom])
    if int(np.nanargmin(middle)) == known[-1] and not diverged:
        notes.append("the loss was still falling at the highest rate: reach higher")
    if int(np.nanargmin(middle)) == known[0]:
        notes.append("the loss was least at the lowest rate: begin lower")
    low, high = float(np.quantile(lows, 0.25)), float(np.quantile(highs, 0.75))
    half = (bins[1] - bins[0]) / 2
    top = high + half if edge is None else min(high + half, edge)
    return (min(low - half, top - 2 * half), top), notes
