"""Verdicts on a run's health, each with its evidence in one sentence."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True)
class Thresholds:
    """The thresholds between verdicts.

    hot, frozen: the median log10 update ratio above, or below, which a run is called so. Good runs of makemore's
    networks sit
        between -1.3 and -2.7 (Karpathy, "Building makemore", part 3, draws its line at -3); a decade beyond either end.
    diverged: how many times its best a loss must have reached, rising. fastai's learning-rate finder stops at 4 times,
        PyTorch Lightning's at 4, torch-lr-finder at 5; a mean over a tenth of a run is less noisy than their single
        losses.
    catapult: how many times its start a loss must have reached before it fell below (Lewkowycz et al. 2020,
        arXiv:2003.02218: at rates between 2 and 4 over the curvature a loss first grows, then settles).
    collapsed: a run must end below the loss of a constant guess by at least this share of it.
    stuck: a run is stuck above this multiple of a neighbour's loss, if its own loss is flat.
    flat: the most that a flat loss falls over the last quarter of its reports, as a share.
    gain: a run whose gain is below this share of the best run's gain counts as without gain. The gain is measured
    from a constant guess, or from before training.
    """

    hot: float = -1.0
    frozen: float = -4.0
    diverged: float = 3.0
    catapult: float = 1.5
    collapsed: float = 0.01
    stuck: float = 5.0
    flat: float = 0.1
    gain: float = 0.1


@dataclass(frozen=True)
class Verdict:
    """A verdict on a run's health, with its evidence in one sentence."""

    name: str
    evidence: str


VERDICTS = ("healthy", "catapult", "hot", "frozen", "stuck", "collapsed", "diverged")
"""From the best to the worst."""
OUT_OF_MEMORY = "out of memory"
"""The verdict on a process that got no memory. It is none on a run's health, which nobody could see."""

LEARNT = 0.9  # share of a loss's fall after which small steps no longer count
SAMPLES = 5  # the fewest ratios that are judged
EXPLODED = 2.0  # decades above `frozen`: after a step of that size, small ratios mean that the run broke


def verdict(
    losses: Sequence[float],
    update_ratios: Sequence[float],
    diverged_at: int | None = None,
    guess: float = math.nan,
    thresholds: Thresholds = Thresholds(),
    *,
    start: float = math.nan,
    over: bool = True,
    beaten: str = "",
) -> Verdict:
    """Judge a run by itself. Verdicts that need other runs are `stuck` and sweeps.results.comparison.judged_together.

    losses: training loss, averaged over blocks of steps, in order.
    update_ratios: medians over tensors of the sampled update ratios, in order; only those before the loss has
    converged (`while_learning`).
    diverged_at: the step whose loss was NaN or infinite, if any.
    guess: the loss of a constant guess, NaN if unknown. start: the loss before training, NaN if unknown.
    over: whether the run has ended. A running one may be starting or recovering. So it is called collapsed only at
    exactly the loss of a constant guess, which means that the model ignores its input.
    beaten: why its objective ended no better than a constant guess or than before training; "" if it did better.
    """
    t, last = thresholds, losses[-1] if losses else math.nan
    if diverged_at is not None:
        return Verdict("diverged", f"the loss was NaN or infinite at step {diverged_at}")
    if risen := _risen([start, *losses] if over and math.isfinite(start) else losses, t.diverged):
        return Verdict("diverged", risen)
    if update_ratios and all(value == -math.inf for value in update_ratios):
        return Verdict("frozen", "no step changed any weight")
    beaten = _beaten_by_a_guess(last, guess, t.collapsed, over, beaten)
    ratio = median(update_ratios)
    still = ratio < t.frozen and max(filter(math.isfinite, update_ratios)) < t.frozen + EXPLODED
    if beaten:
        slow = f"; the median log10 update ratio is {ratio:.2f}, below {t.frozen:g}"
        return Verdict("frozen", beaten + slow) if still and over else Verdict("collapsed", beaten)
    if rose := _catapulted(losses, start if over else math.nan, t.catapult):
        return Verdict("catapult", rose)
    return _by_ratio(ratio, still, t)


def _by_ratio(ratio: float, still: bool, thresholds: Thresholds) -> Verdict:
    """Return the verdict from the median log10 update ratio, hot or frozen, or none. still: whether it is frozen."""
    if ratio > thresholds.hot:
        return Verdict("hot", f"the median log10 update ratio is {ratio:.2f}, above {thresholds.hot:g}")
    if still:
        return Verdict("frozen", f"the median log10 update ratio is {ratio:.2f}, below {thresholds.frozen:g}")
    if math.isnan(ratio):
        return Verdict("healthy", "the loss is finite; no parameter has a ratio")
    return Verdict("healthy", f"the median log10 update ratio is {ratio:.2f}")


def _beaten_by_a_guess(last: float, guess: float, collapsed: float, over: bool, beaten: str) -> str:
    """Return why a loss is no better than that of a constant guess; `beaten` if it is better."""
    if not over and abs(last - guess) <= collapsed * guess:
        return f"the loss ended at {last:.4g}; a constant guess has {guess:.4g}"
    if over and not beaten and last > (1 - collapsed) * guess:
        return f"the loss ended at {last:.4g}, no better than a constant guess ({guess:.4g})"
    return beaten


def while_learning(
    losses: Sequence[tuple[int, float]], ratios: Sequence[tuple[int, float]], start: float = math.nan
) -> list[float]:
    """Return the update ratios up to the step by which the loss has done nine tenths of its fall.

    losses, ratios: (step, value), in order. Once a loss has converged its gradients vanish, in the best run too.

    >>> while_learning([(10, 2.3), (20, 0.1), (30, 0.01), (40, 0.01)], [(s, -s / 10) for s in range(0, 40, 5)])
    [0.0, -0.5, -1.0, -1.5, -2.0]
    """
    curve = [start, *(loss for _, loss in losses)] if math.isfinite(start) else [loss for _, loss in losses]
    learnt = math.inf
    if losses and max(curve[0], min(curve)) > min(curve):
        line = curve[0] - LEARNT * (curve[0] - min(curve))
        learnt = next((step for step, loss in losses if loss <= line), math.inf)
    least = max(SAMPLES, len(ratios) // 10)
    return [ratio for i, (step, ratio) in enumerate(ratios) if step < learnt or i < least]


def _catapulted(losses: Sequence[float], start: float, times: float) -> str:
    """Return a sentence if a loss rose far above its start and then fell below it for good, else "".

    start: NaN for the first loss. "For good" means over the last quarter: in a short run a block is a single, noisy
    batch.
    """
    known = math.isfinite(start)
    before, between = (start, losses[:-1]) if known else (losses[0] if losses else 0.0, losses[1:-1])
    if between and max(between) > times * before > 0 and max(losses[-max(1, len(losses) // 4) :]) < before:
        return f"the loss rose from {before:.4g} to {max(between):.4g}, then fell to {losses[-1]:.4g}"
    return ""


def no_better(
    name: str, value: float, guess: float, before: float, mode: str = "min", thresholds: Thresholds = Thresholds()
) -> str:
    """Return why a metric ended no better than a constant guess or than before training; "" if it is better.

    guess, before: NaN where unknown. mode: "max" for a metric to maximise.

    >>> no_better("valid_accuracy", 0.086, 0.1028, 0.09, "max")
    'valid_accuracy ended at 0.086, no better than a constant guess (0.1028)'
    """
    sign = 1 if mode == "min" else -1
    if sign * value >= sign * guess - thresholds.collapsed * abs(guess):
        return f"{name} ended at {value:.4g}, no better than a constant guess ({guess:.4g})"
    if sign * value >= sign * before - (ROUNDING * abs(before) if mode == "min" else 0):
        return f"{name} ended at {value:.4g}, no better than before training ({before:.4g})"
    return ""


ROUNDING = 1e-3  # relative: two programs, or one batch more, differ by less


def _risen(losses: Sequence[float], times: float) -> str:
    """Return a sentence if a loss is `times` its best, still rising, and has lost half of its fall in decades.

    Without the last condition a loss that fell a thousandfold and fluctuates at the bottom would be called diverged.
    The best is a mean over as many blocks as the end is, since a single one may be a lucky batch.
    """
    if len(losses) < 2 or min(losses) <= 0:
        return ""
    tail = max(1, len(losses) // 10)
    now, before = _mean(losses[-tail:]), _mean(losses[-2 * tail : -tail])
    best = _mean(_lowest(losses, tail))
    if now > times * best and now > before and now > math.sqrt(losses[0]) * math.sqrt(best):
        return f"the loss rose from its best {best:.4g} to {now:.4g}, and was rising"
    return ""


def _lowest(losses: Sequence[float], width: int) -> Sequence[float]:
    """Return the block of so many losses in a row whose mean is lowest, in time linear in the losses."""
    sums = [0.0, *accumulate(loss / len(losses) for loss in losses)]
    end = min(range(width, len(sums)), key=lambda end: sums[end] - sums[end - width])
    return losses[end - width : end]


def _mean(values: Sequence[float]) -> float:
    try:
        return math.fsum(values) / len(values)
    except OverflowError:  # on the way to the sum; the mean is finite
        return math.fsum(value / len(values) for value in values)


def stuck(
    values: Sequence[float], neighbour: str, reached: float, thresholds: Thresholds = Thresholds()
) -> Verdict | None:
    """Return the verdict "stuck" if a run's loss is flat, far above what a neighbour reached; else None.

    values: the run's validation losses, in order. reached: the neighbour's last one.

    >>> stuck([60.0, 29.1, 29.05, 29.02, 29.0], "trial 7", 2.93).evidence
    'the loss lay flat at 29, 9.9 times the 2.93 that trial 7 reached'
    """
    if len(values) < 2 or reached <= 0 or not math.isfinite(values[-1]):
        return None
    before = values[-1 - max(1, len(values) // 4)]
    if values[-1] <= thresholds.stuck * reached or values[-1] < (1 - thresholds.flat) * before:
        return None
    times = values[-1] / reached
    return Verdict(
        "stuck", f"the loss lay flat at {values[-1]:.4g}, {times:.2g} times the {reached:.4g} that {neighbour} reached"
    )


def median(values: Sequence[float]) -> float:
    """Return the median of the finite values, NaN if there are none.

    >>> median([1.0, math.inf, 3.0, 2.0]), median([])
    (2.0, nan)
    """
    finite = sorted(value for value in values if math.isfinite(value))
    if not finite:
        return math.nan
    half = len(finite) // 2
    return finite[half] if len(finite) % 2 else (finite[half - 1] + finite[half]) / 2
