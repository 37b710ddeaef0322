"""The learning-rate range test (Smith 2017, arXiv:1506.01186) with error bars, and every published rule side by side.

K = seeds (one lane each), S = steps. The rate rises by equal factors from 10 ** low to 10 ** high.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from espalier.core.checks.lr_rules import RULES, Rule
from espalier.core.errors import BadInput, counted
from espalier.core.programs.program import Program
from espalier.core.task import Data, Task
from espalier.core.training.cohort import Cohort
from espalier.core.training.events import Ended
from espalier.core.training.setup import CohortSetup
from espalier.core.training.trial import Hyperparameters, Structure, Trial

LOW, HIGH, STEPS, SEEDS = -6.0, 1.5, 400, 16  # the default length of a test
SHORTEST = 30  # the fewest steps that can be read
BIN = 0.2  # decades: narrower than the half decade by which an interval is widened, wider than a step


@dataclass(frozen=True)
class Spread:
    """The suggestions of one rule over the seeds, as exponents: median, quartiles, and how many seeds had none."""

    median: float
    low: float
    high: float
    silent: int

    @staticmethod
    def of(values: Sequence[float | None]) -> "Spread":
        """Return the spread of values, some of which may be None or NaN."""
        known = [value for value in values if value is not None and math.isfinite(value)]
        if not known:
            return Spread(math.nan, math.nan, math.nan, len(values))
        low, middle, high = np.quantile(known, [0.25, 0.5, 0.75])
        return Spread(float(middle), float(low), float(high), len(values) - len(known))


@dataclass(frozen=True)
class RangeTest:
    """The result of a range test.

    exponents: log10 of the rate at each step (S,).
    losses: training losses (K, S), NaN from the step at which a seed diverged.
    bins: the centres of equal bins of the exponents (B,).
    band: lower quartile, median and upper quartile over the seeds of each seed's median loss in a bin (3, B). It is
    NaN where fewer than half of the seeds were left.
    rules: the spread of each published rule, and of our binned minimum.
    interval: exponents worth searching; None if the curve does not show any.
    edge: the exponent from which on training diverges; None if it does not.
    notes: what was unusual, in plain sentences.
    """

    exponents: np.ndarray
    losses: np.ndarray
    bins: np.ndarray
    band: np.ndarray
    rules: Mapping[str, Spread]
    interval: tuple[float, float] | None
    edge: float | None
    notes: Sequence[str]


@dataclass(frozen=True)
class Ramp:
    """A rate that rises by equal factors from 10 ** low to 10 ** high in `steps` steps."""

    low: float = LOW
    high: float = HIGH
    steps: int = STEPS

    def checked(self) -> "Ramp":
        """Return the ramp. Raises BadInput for an empty range or too few steps."""
        if not self.low < self.high:
            raise BadInput(f"the range of exponents {self.low:g} ... {self.high:g}: low must be below high")
        if self.steps < SHORTEST:
            raise BadInput(f"steps: {self.steps}; a range test needs at least {SHORTEST}")
        return self

    def exponents(self) -> np.ndarray:
        """Return log10 of the rate of each step (S,)."""
        return self.low + (self.high - self.low) * np.arange(self.steps) / self.steps


def range_test(
    task: Task,
    data: Data,
    structure: Structure,
    hyper: Hyperparameters,
    ramp: Ramp = Ramp(),
    seeds: Sequence[int] = tuple(range(SEEDS)),
    program: str | Program = "vmap",
    device: str = "cpu",
) -> RangeTest:
    """Train one lane per seed while the rate rises, and read the curves.

    hyper: momentum, weight decay and the like; the ramp replaces its rate and schedule.
    Raises BadInput for an empty range or too few steps, and where the task raises for every seed.
    """
    exponents, steps = ramp.checked().exponents(), ramp.steps
    if not seeds:
        raise BadInput("seeds: none; give at least one")
    factor = 10.0 ** (ramp.high - ramp.low)
    rising_rate = replace(hyper, lr=10.0**ramp.low, floor=factor, decay_points=(), warmup=0.0)
    trials = [Trial(str(seed), seed, steps, rising_rate, reports=1) for seed in seeds]
    rising = replace(structure, schedule="exponential", phases=())
    cohort = Cohort(
        CohortSetup(task, data, rising, trials, len(trials), program, device, 0, watchers=(), curve_points=steps)
    )
    ends = [event for event in cohort.train() if isinstance(event, Ended)]
    failed = [end for end in ends if end.status == "failed" and end.step < steps]  # which no rate has caused
    if len(failed) == len(ends):
        raise BadInput(f"task: the range test failed for {counted(len(seeds), 'seed')}: {failed[0].evidence}")
    losses = np.full((len(ends) - len(failed), steps), np.nan)
    for k, end in enumerate(end for end in ends if end not in failed):
        for step, loss in end.curve:
            losses[k, step - 1] = loss
    test = read_curves(exponents, losses)
    if not failed:
        return test
    note = f"{len(failed)} of {counted(len(seeds), 'seed')} failed and are left out: {failed[0].evidence}"
    return replace(test, notes=[note, *test.notes])


def read_curves(exponents: np.ndarray, losses: np.ndarray) -> RangeTest:
    """Read curves of losses (K, S) over rising exponents (S,); NaN from the step at which a seed diverged."""
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


LEFT = 4.0  # times the lowest so far: where fastai and Lightning stop


def _edge(exponents: np.ndarray, losses: np.ndarray) -> float | None:
    """Return the exponent from which on half of the seeds have diverged for good; None if they do not."""
    lefts: list[float] = []
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
    lr = rule(10.0 ** exponents[: len(losses)], losses, planned)
    return math.log10(lr) if lr is not None and lr > 0 and math.isfinite(lr) else None


def _binned(exponents: np.ndarray, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the centres of equal bins of the exponents, and each seed's median loss there (K, bins).

    A median ignores a spike. A bin has at least five steps.
    """
    span = exponents[-1] - exponents[0]
    count = max(2, min(round(span / BIN), len(exponents) // 5))
    pieces = np.array_split(np.arange(len(exponents)), count)
    table = np.full((len(losses), count), np.nan)
    for b, piece in enumerate(pieces):
        whole = np.isfinite(losses[:, piece]).all(1)
        table[whole, b] = np.median(losses[whole][:, piece], axis=1)
    return np.array([exponents[piece].mean() for piece in pieces]), table


CLEAR = 4.5  # times the differences of neighbouring points: the minimum of 35 points of pure noise lies 2 to 3.5 below
FALLEN = 0.25  # of the whole fall: before it, the rate is too low to learn much during the test


def _interval(
    bins: np.ndarray, table: np.ndarray, band: np.ndarray, lengths: Sequence[int], steps: int, edge: float | None
) -> tuple[tuple[float, float] | None, list[str]]:
    """Return the exponents from a quarter of the fall to the lowest loss, over the seeds; and notes on oddities."""
    middle, notes = band[1], list[str]()
    diverged = sum(n < steps for n in lengths)
    if diverged:
        at = bins[0] + (bins[-1] - bins[0]) * min(lengths) / steps
        notes.append(f"{diverged} of {counted(len(lengths), 'seed')} diverged, the first near an exponent of {at:.2f}")
    if why := _why_unreadable(middle):
        return None, [*notes, why]
    known = np.flatnonzero(np.isfinite(middle))
    if int(np.nanargmin(middle)) == known[-1] and not diverged:
        notes.append("the loss was still falling at the highest rate: reach higher")
    if int(np.nanargmin(middle)) == known[0]:
        notes.append("the loss was least at the lowest rate: begin lower")
    low, high = _quartiles_of_bounds(bins, table)
    half = (bins[1] - bins[0]) / 2
    top = high + half if edge is None else min(high + half, edge)
    return (min(low - half, top - 2 * half), top), notes


def _why_unreadable(middle: np.ndarray) -> str:
    """Return why the median curve cannot be read, "" if it can."""
    known = np.flatnonzero(np.isfinite(middle))
    if len(known) < 3:
        return "the curves are too short to read: the loss was no number almost from the start; begin lower"
    start, least = float(middle[known[:3]].mean()), float(np.nanmin(middle))
    tremble = float(np.median(np.abs(np.diff(middle[known]))))
    if start - least > max(CLEAR * tremble, 1e-3 * abs(start)):
        return ""
    return (
        f"the curve is flat: the loss falls from {start:.4g} to {least:.4g}, where neighbouring points differ by "
        f"{tremble:.2g}; train longer, take more seeds, or reach higher rates"
    )


def _quartiles_of_bounds(bins: np.ndarray, table: np.ndarray) -> tuple[float, float]:
    """Return the lower quartile over the seeds of where the fall begins, and the upper of where the loss is lowest."""
    lows: list[float] = []
    highs: list[float] = []
    for row in table:
        seen = np.flatnonzero(np.isfinite(row))
        if len(seen) < 3:
            continue
        bottom = int(seen[np.argmin(row[seen])])
        line = row[seen[0]] - FALLEN * (row[seen[0]] - row[bottom])
        begun = next((int(b) for b in seen if row[b] <= line), bottom)
        lows.append(bins[min(begun, bottom)])
        highs.append(bins[bottom])
    return float(np.quantile(lows, 0.25)), float(np.quantile(highs, 0.75))
