"""Whether the best of one sweep is better than the best of another, or only luckier with its seed. Pure functions.

Welch's t test (1947) of two means whose variances are estimated apart:

    t = (m1 - m2) / sqrt(v1 + v2),   v = sd^2 / trainings,   degrees = (v1 + v2)^2 / (v1^2 / d1 + v2^2 / d2)

Where the noise of one sweep alone is known it stands for both, and this is Student's test (1908) with its degrees.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from espalier.sweeps.results.noise import CONFIDENCE, Noise, estimate_noise
from espalier.sweeps.results.trial_result import TrialResult, best_trial
from espalier.sweeps.spec.spec import SweepSpec


@dataclass(frozen=True)
class Measured:
    """The best configuration of a sweep. value: the mean of its trainings, with confirmations.

    noise: of a single training in that sweep; None where no configuration was trained under two seeds.
    """

    trial: int
    value: float
    trainings: int
    noise: Noise | None


@dataclass(frozen=True)
class Difference:
    """By how much the best of a second sweep is better than that of a first; negative where it is worse.

    low, high: the interval that holds the true difference at 95 %. p: the chance of as large a difference between
    equals. All None where the noise of neither is known. source: whose noise it is.
    """

    by: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    source: str = ""

    @property
    def verdict(self) -> str:
        """better, worse, noise (it may be nothing but that), or unknown."""
        if self.p is None:
            return "unknown"
        if self.p >= 1 - CONFIDENCE or self.by == 0:
            return "noise"
        return "better" if self.by > 0 else "worse"


def measured_best(trials: Sequence[TrialResult], spec: SweepSpec) -> Measured | None:
    """Return the best configuration of a sweep; None before any trial is complete.

    >>> from espalier.sweeps.results.trial_result import TrialResult
    >>> from espalier.sweeps.spec.spec import make_spec
    >>> again = TrialResult(1, "complete", 1.2, {"seed": 1}, confirms=0)
    >>> trials = [TrialResult(0, "complete", 1.0, {"seed": 0}), again]
    >>> best = measured_best(trials, make_spec({"name": "a", "task": "names"}))
    >>> best.trial, best.value, best.trainings, round(best.noise.sd, 3)
    (0, 1.1, 2, 0.141)
    """
    best = best_trial(trials, spec.objective.mode)
    if best is None:
        return None
    again = [t for t in trials if t.confirms == best.number and t.state == "complete"]
    values = [t.value for t in (best, *again) if t.value is not None]
    noise = estimate_noise(trials, spec.objective.mode, spec.replicates)
    return Measured(best.number, statistics.fmean(values), len(values) * spec.replicates, noise)


def difference(first: Measured, second: Measured, sign: float) -> Difference:
    """Return by how much the second is better. sign: -1 of an objective to maximise.

    >>> noise = Noise(0.01, 4, "4 confirmations")
    >>> apart = difference(Measured(0, 2.5, 2, noise), Measured(3, 2.4, 2, None), sign=1.0)
    >>> round(apart.by, 3), round(apart.low, 3), apart.verdict, apart.source
    (0.1, 0.072, 'better', 'the noise of the first, taken for both')
    """
    from scipy.special import stdtr, stdtrit

    by = sign * (first.value - second.value)
    one, other = first.noise or second.noise, second.noise or first.noise
    if one is None or other is None:
        return Difference(by)
    v1, v2 = one.sd**2 / first.trainings, other.sd**2 / second.trainings
    degrees = float(one.degrees)
    if first.noise and second.noise and v1 + v2 > 0:
        degrees = (v1 + v2) ** 2 / (v1**2 / one.degrees + v2**2 / other.degrees)
    error = math.sqrt(v1 + v2)
    if error == 0:
        p, within = float(by == 0), 0.0
    else:
        p, within = 2 * float(stdtr(degrees, -abs(by) / error)), float(stdtrit(degrees, (1 + CONFIDENCE) / 2)) * error
    return Difference(by, by - within, by + within, p, _source(first, second))


def _source(first: Measured, second: Measured) -> str:
    if first.noise and second.noise:
        return "the noise of each"
    return f"the noise of the {'first' if first.noise else 'second'}, taken for both"
