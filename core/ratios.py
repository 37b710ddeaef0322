"""Update-to-data and gradient-to-data ratios of every lane, and the verdict on a run's health.

N = lanes, P = numbers in one parameter tensor of a lane.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

HOT, FROZEN = -1.0, -4.0
"""Medians of the update ratio beyond which a run is called hot or frozen. Good runs of makemore's networks sit between
-1.3 and -2.7 (Karpathy, "Building makemore", part 3, draws its line at -3); two decades either way are evidence."""

COLLAPSED = 0.01
"""A run whose last loss is within this share of the loss of a constant guess has learned nothing from its inputs."""


def log_ratio(change_NP: Tensor, theta_NP: Tensor) -> Tensor:
    """Return log10(std(change) / std(parameter)) of each lane's rows of one parameter tensor, (N,) float64.

    Standard deviations have Bessel's correction; the parameter is read after the update (makemore, part 3). No change
    at all gives -inf, a constant parameter +inf or NaN.
    """
    if len(theta_NP) == 1:  # a single row is summed in another order than one of several
        return log_ratio(change_NP.repeat(2, 1), theta_NP.repeat(2, 1))[:1]
    return torch.log10(change_NP.std(1).double() / theta_NP.std(1).double())


@dataclass(frozen=True)
class Verdict:
    """What a run's health says, with its evidence in one sentence."""

    name: str
    evidence: str


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


def verdict(losses: Sequence[float], update_ratios: Sequence[float], diverged_at: int | None, guess: float) -> Verdict:
    """Judge a finished run.

    losses: training loss, averaged over blocks of steps, in order.
    update_ratios: medians over tensors of the sampled update ratios, in order.
    diverged_at: the step whose loss was NaN or infinite, if any.
    guess: the loss of a constant guess, NaN where it is unknown.
    """
    ratio = median(update_ratios)
    if diverged_at is not None:
        return Verdict("diverged", f"the loss was NaN or infinite at step {diverged_at}")
    if losses and losses[-1] > 3 * min(losses) and losses[-1] > losses[0]:
        return Verdict("diverged", f"the loss ended at {losses[-1]:.4g}, above its start {losses[0]:.4g}")
    if losses and len(losses) > 2 and max(losses[1:-1]) > 1.5 * losses[0] and losses[-1] < losses[0]:
        return Verdict("catapult", f"the loss rose to {max(losses[1:-1]):.4g}, then fell to {losses[-1]:.4g}")
    if losses and math.isfinite(guess) and abs(losses[-1] - guess) <= COLLAPSED * guess:
        return Verdict("collapsed", f"the loss ended at {losses[-1]:.4g}; a constant guess has {guess:.4g}")
    if ratio > HOT:
        return Verdict("hot", f"the median log10 update ratio is {ratio:.2f}, above {HOT:g}")
    if update_ratios and all(value == -math.inf for value in update_ratios):
        return Verdict("frozen", "no step changed any weight")
    if ratio < FROZEN:
        return Verdict("frozen", f"the median log10 update ratio is {ratio:.2f}, below {FROZEN:g}")
    if math.isnan(ratio):
        return Verdict("healthy", "the loss is finite; no parameter has a ratio")
    return Verdict("healthy", f"the median log10 update ratio is {ratio:.2f}")


def constant_guess_loss(target: Tensor) -> float:
    """Return the cross-entropy of always guessing the classes' own frequencies; NaN for targets that are no classes."""
    if target.is_floating_point() or target.dim() != 1 or target.min() < 0:
        return math.nan
    share = torch.bincount(target).double() / len(target)
    share = share[share > 0]
    return float(-(share * share.log()).sum())
