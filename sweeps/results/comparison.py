"""Verdicts by comparison of each trial with the best of its sweep. Pure functions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from espalier.core.measures.verdicts import VERDICTS, Thresholds, Verdict, stuck
from espalier.sweeps.results.trial_result import TrialResult, best_trial, ranked

NEAR = 0.3  # decades: rates within a factor of two count as equal
HALF = 0.5  # share of the best's gain: with less at a much higher rate, the rate is to blame
TENTH = 10  # the best tenth of a sweep


def judged_together(trials: Sequence[TrialResult], thresholds: Thresholds, mode: str = "min") -> list[TrialResult]:
    """Return the trials with verdicts that need a comparison with others.

    The best tenth, if it has gained anything, is neither frozen, hot nor stuck. A trial with almost none of the best
    one's gain is not healthy. A trial whose loss is flat far above another's is stuck, or hot if its rate was much
    higher. A rate far above the best one's is never called too low.
    """
    best = best_trial(trials, mode)
    sign = 1 if mode == "min" else -1
    if best is None or best.value is None or (best.to_beat is not None and sign * best.value >= sign * best.to_beat):
        return list(trials)  # no trial learned anything to compare with
    order = [t for t in ranked(trials, mode) if t.state == "complete" and t.value is not None]
    last = order[min(len(order), math.ceil(len(trials) / TENTH)) - 1].value
    beside = _Beside(best, thresholds, mode)
    judged: list[TrialResult] = []
    for t in trials:
        top = t.state == "complete" and t.value is not None and sign * t.value <= sign * (last or 0.0)
        verdict = beside.top(t) if top else beside.other(t)
        judged.append(replace(t, verdict=verdict.name, evidence=verdict.evidence, compared=True) if verdict else t)
    return judged


@dataclass(frozen=True)
class _Beside:
    """Judges trials by comparison with the best one: a new verdict, or None to keep the trial's own."""

    best: TrialResult
    thresholds: Thresholds
    mode: str

    def top(self, t: TrialResult) -> Verdict | None:
        """Judge one of the best tenth."""
        gain = self._gain(t)
        if gain is not None and gain < self.thresholds.gain:
            return self.other(t)
        pardoned = ("frozen", "hot", "stuck", "collapsed") if gain is not None else ("frozen", "hot", "stuck")
        if t.verdict not in pardoned:
            return None
        return Verdict("healthy", f"among the best tenth of the sweep; {t.evidence}")

    def other(self, t: TrialResult) -> Verdict | None:
        """Judge a trial that is not among the best tenth."""
        gain, decades = self._gain(t), self._decades(t)
        if t.verdict == "diverged" or t.verdict not in VERDICTS:  # the latter come from a user's own watcher
            return None
        if t.verdict == "collapsed":
            return (
                Verdict("stuck", f"{t.evidence}; {self._reached(t)}") if decades < -NEAR and gain is not None else None
            )
        if gain is not None and gain < self.thresholds.gain and not (t.verdict == "frozen" and decades < -NEAR):
            name = "stuck" if decades < -NEAR else "collapsed"
            beats = f"{t.value:.4g}, against {t.to_beat:.4g} of a constant guess or before training"
            return Verdict(name, f"hardly anything was learnt: {beats}; {self._reached(t)}")
        if decades > NEAR and gain is not None and gain < HALF:
            return Verdict(
                "hot", f"less than half of the best's gain, and its rate was not too low: {self._reached(t)}"
            )
        if t.verdict == "frozen" and decades >= -NEAR:
            name = "hot" if decades > NEAR else "healthy"
            return Verdict(name, f"{t.evidence}, but its rate was not too low: {self._reached(t)}")
        return self._flat(t, gain, decades) if t.verdict == "healthy" else None

    def _flat(self, t: TrialResult, gain: float | None, decades: float) -> Verdict | None:
        """Return the verdict on a trial whose loss is flat, far from the best one's."""
        if t.state != "complete" or t.number == self.best.number or self.best.value is None:
            return None
        values, best = [t.reports[s] for s in sorted(t.reports)], f"trial {self.best.number}"
        if self.mode == "min":
            seen = stuck(values, best, self.best.value, self.thresholds)
        else:
            seen = self._flat_below(values, gain)
        if seen and decades > NEAR:
            return Verdict("hot", f"{seen.evidence}, at a rate {10**decades:.3g} times lower")
        return seen

    def _flat_below(self, values: Sequence[float], gain: float | None) -> Verdict | None:
        """Like core.measures.verdicts.stuck, for a metric to maximise."""
        if gain is None or gain >= 1 / self.thresholds.stuck or len(values) < 2:
            return None
        before = values[-1 - max(1, len(values) // 4)]
        if values[-1] > before + self.thresholds.flat * abs(before):
            return None
        return Verdict(
            "stuck", f"it lay flat at {values[-1]:.4g}, where trial {self.best.number} reached {self.best.value:.4g}"
        )

    def _gain(self, t: TrialResult) -> float | None:
        """Return a trial's gain over its baseline as a share of the best one's; None if unknown."""
        if t.value is None or t.to_beat is None or self.best.value is None:
            return None
        sign = 1 if self.mode == "min" else -1
        whole = sign * (t.to_beat - self.best.value)
        return sign * (t.to_beat - t.value) / whole if whole > 0 else None

    def _decades(self, t: TrialResult) -> float:
        """Return how far a trial's rate is above the best one's, in decades; 0 if one of them has none."""
        own, best = t.params.get("lr_exponent"), self.best.params.get("lr_exponent")
        return float(own - best) if isinstance(own, int | float) and isinstance(best, int | float) else 0.0

    def _reached(self, t: TrialResult) -> str:
        times = f" at {10 ** -self._decades(t):.3g} times its rate" if self._decades(t) else ""
        return f"trial {self.best.number} reached {self.best.value:.4g}{times}"
