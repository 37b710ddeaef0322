"""The verdict on a run's health, with its evidence in one sentence."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Thresholds:
    """Where one verdict ends and another begins.

    hot, frozen: the median log10 update ratio beyond which a run is called so. Good runs of makemore's networks sit
        between -1.3 and -2.7 (Karpathy, "Building makemore", part 3, draws its line at -3); a decade beyond either end.
    diverged: how many times its best a loss must have reached, rising. fastai's learning-rate finder stops at 4 times,
        PyTorch Lightning's at 4, torch-lr-finder at 5; a mean over a tenth of a run is calmer than their single losses.
    catapult: how many times its start a loss must have reached before it fell below (Lewkowycz et al. 2020,
        arXiv:2003.02218: at rates between 2 and 4 over the curvature a loss first grows, then settles).
    collapsed: how near to the loss of a constant guess, as a share of it, a run must have ended.
    stuck: how many times the loss that a neighbour reached. flat: by which share its loss fell, at most, over the last
        quarter of its reports.
    """

    hot: float = -1.0
    frozen: float = -4.0
    diverged: float = 3.0
    catapult: float = 1.5
    collapsed: float = 0.01
    stuck: float = 5.0
    flat: float = 0.1


@dataclass(frozen=True)
class Verdict:
    """What a run's health says, with its evidence in one sentence."""

    name: str
    evidence: str


VERDICTS = ("healthy", "hot", "frozen", "stuck", "collapsed", "catapult", "diverged")


def verdict(
    losses: Sequence[float],
    update_ratios: Sequence[float],
    diverged_at: int | None = None,
    guess: float = math.nan,
    thresholds: Thresholds = Thresholds(),
) -> Verdict:
    """Judge a run by itself; whether it is stuck shows only beside others (`stuck`).

    losses: training loss, averaged over blocks of steps, in order.
    update_ratios: medians over tensors of the sampled update ratios, in order.
    diverged_at: the step whose loss was NaN or infinite, if any.
    guess: the loss of a constant guess, NaN where it is unknown.
    """
    ratio, t = median(update_ratios), thresholds
    if diverged_at is not None:
        return Verdict("diverged", f"the loss was NaN or infinite at step {diverged_at}")
    if risen := _risen(losses, t.diverged):
        return Verdict("diverged", risen)
    if len(losses) > 2 and max(losses[1:-1]) > t.catapult * losses[0] > 0 and losses[-1] < losses[0]:
        return Verdict("catapult", f"the loss rose to {max(losses[1:-1]):.4g}, then fell to {losses[-1]:.4g}")
    if losses and math.isfinite(guess) and abs(losses[-1] - guess) <= t.collapsed * guess:
        return Verdict("collapsed", f"the loss ended at {losses[-1]:.4g}; a constant guess has {guess:.4g}")
    if ratio > t.hot:
        return Verdict("hot", f"the median log10 update ratio is {ratio:.2f}, above {t.hot:g}")
    if update_ratios and all(value == -math.inf for value in update_ratios):
        return Verdict("frozen", "no step changed any weight")
    if ratio < t.frozen:
        return Verdict("frozen", f"the median log10 update ratio is {ratio:.2f}, below {t.frozen:g}")
    if math.isnan(ratio):
        return Verdict("healthy", "the loss is finite; no parameter has a ratio")
    return Verdict("healthy", f"the median log10 update ratio is {ratio:.2f}")


def _risen(losses: Sequence[float], times: float) -> str:
    """Return how far a loss has risen: `times` its best, still rising, and half of its way down, in decades, undone.

    The last keeps a loss that came down a thousandfold and trembles at the bottom from being called diverged.
    """
    if len(losses) < 2 or min(losses) <= 0:
        return ""
    tail = max(1, len(losses) // 10)
    now, before, best = _mean(losses[-tail:]), _mean(losses[-2 * tail : -tail]), min(losses)
    if now > times * best and now > before and now > math.sqrt(losses[0] * best):
        return f"the loss rose from its best {best:.4g} to {now:.4g}, and was rising"
    return ""


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def stuck(
    values: Sequence[float], neighbour: str, reached: float, thresholds: Thresholds = Thresholds()
) -> Verdict | None:
    """Return the verdict of a run whose loss lies flat, far above what a neighbour reached; None if it does not.

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
    """Return the median of the finite values, NaN where there is none.

    >>> median([1.0, math.inf, 3.0, 2.0]), median([])
    (2.0, nan)
    """
    finite = sorted(value for value in values if math.isfinite(value))
    if not finite:
        return math.nan
    half = len(finite) // 2
    return finite[half] if len(finite) % 2 else (finite[half - 1] + finite[half]) / 2
