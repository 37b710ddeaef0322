"""Published rules that choose a learning rate from the curve of a range test.

Each is computed as its source does: with its own smoothing, early stop and trimming.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np

Curve = np.ndarray
Rule = Callable[[Curve, Curve, int], float | None]
"""Takes rates and losses of the steps trained, and the number planned; returns a rate, None where it has none."""


def _smoothed(losses: Curve, beta: float, shift: int, stop: float) -> Curve:
    """Return the bias-corrected moving average of losses, cut where it exceeds `stop` times its best.

    The correction of step t (counted from 1) is 1 - beta ** (t + shift).
    """
    smooth: list[float] = []
    average, best = 0.0, math.inf
    for t, loss in enumerate(losses.tolist(), start=1):
        average = beta * average + (1 - beta) * loss
        smooth.append(average / (1 - beta ** (t + shift)))
        if smooth[-1] < best:
            best = smooth[-1]
        elif t > 1 and smooth[-1] > stop * best:
            break
    return np.array(smooth)


def _as_fastai(lrs: Curve, losses: Curve, planned: int) -> tuple[Curve, Curve]:
    """fastai's lr_find: smooth by 0.98, stop at 4 times the best, drop the first tenth and the last five."""
    smooth = _smoothed(losses, 0.98, 0, 4.0)
    lrs, smooth = lrs[: len(smooth)][planned // 10 : -5], smooth[planned // 10 : -5]
    bad = np.flatnonzero(np.isnan(smooth))
    cut = int(bad[0]) if len(bad) else len(smooth)
    return lrs[:cut], smooth[:cut]


def valley(lrs: Curve, losses: Curve, planned: int) -> float | None:
    """fastai's valley: two thirds and half a section into the longest falling run of losses."""
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
    lr = lrs[left]
    while left >= -len(losses) and abs(slope[right] - slope[left]) > 0.005:
        lr = lrs[left]
        right, left = right - 1, left - 1
    return float(lr)


def minimum(lrs: Curve, losses: Curve, planned: int) -> float | None:
    """fastai's minimum: a tenth of the rate with the lowest loss."""
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
    averages: list[float] = []
    best = math.inf
    for loss in losses.tolist():
        averages.append(0.05 * loss + 0.95 * averages[-1] if averages else loss)
        best = min(best, averages[-1])
        if averages[-1] > 5 * best:
            break
    smooth = np.array(averages)
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
