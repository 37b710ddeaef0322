"""Replicates: one configuration under several seeds. Their events are merged into events of the trial.

A report, score or end counts when the last replicate has delivered it.
"""

import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Generic, TypeVar

from espalier.core.measures.verdicts import VERDICTS
from espalier.core.training.events import Ended, Event, Parked, Reported, Scored, TrialId
from espalier.core.training.memory import Memory
from espalier.sweeps.search.trial_events import Outcome, Park, Report, Score

T = TypeVar("T")


def averaged(many: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each value that all replicates have, with its standard deviation if there are several.

    >>> averaged([{"a": 1.0}, {"a": 3.0}])
    {'a': 2.0, 'a_std': 1.4142135623730951}
    """
    names = [name for name in many[0] if all(name in values for values in many)] if many else []
    means = {name: mean([values[name] for values in many]) for name in names}
    if len(many) > 1:
        means |= {f"{name}_std": _spread([values[name] for values in many]) for name in names}
    return means


def mean(values: Sequence[float]) -> float:
    """Return the mean of finite values, also where their sum is too large for a float.

    >>> mean([1.0, 2.0]), mean([1.5e308, 1.5e308])
    (1.5, 1.5e+308)
    """
    try:
        return statistics.fmean(values)
    except OverflowError:
        return math.fsum(value / len(values) for value in values)


def _spread(values: Sequence[float]) -> float:
    try:
        return statistics.stdev(values)
    except OverflowError:  # of values at both ends of what a float holds
        return sys.float_info.max


def mean_score(scores: Sequence[float]) -> float:
    """Return the mean of the replicates' scores; infinity, the worst, if one of them is infinite.

    >>> mean_score([1.0, 2.0]), mean_score([1.0, math.inf])
    (1.5, inf)
    """
    return math.inf if math.inf in scores else mean(scores)


def leader_of(event: Scored | Ended) -> int:
    """Return the first trial with the same history; the trial itself if the event names none."""
    return TrialId.parse(event.leader or event.trial).number


def value_to_beat(replicates: Sequence[Ended], metric: str, mode: str) -> float | None:
    """Return a metric's baseline: the better of a constant guess and the untrained model, averaged over replicates.

    None if it is unknown for one of them.
    """
    better = min if mode == "min" else max
    known: list[float] = []
    for end in replicates:
        values = [values[metric] for values in end.baselines.values() if metric in values]
        known += [better(values)] if values else []
    return mean(known) if known and len(known) == len(replicates) else None


def missing_counts(replicates: Sequence[Ended]) -> dict[str, tuple[int, int]]:
    """Return the metrics that were NaN or infinite: in how many reports of the replicates, out of how many.

    >>> reports = [(10, {}), (20, {}), (30, {})]
    >>> missing_counts([Ended("0/0", 30, "complete", missing={"valid_auc": [10, 30]}, reports=reports)])
    {'valid_auc': (2, 3)}
    """
    reports = sum(len(end.reports) for end in replicates)
    names = dict.fromkeys(name for end in replicates for name in end.missing)
    return {name: (sum(len(end.missing.get(name, ())) for end in replicates), reports) for name in names}


def memory_of(replicates: Sequence[Ended]) -> dict[str, int]:
    """Return the most memory that a replicate took, as far as it is known.

    >>> memory_of([Ended("0/0", 30, "complete", memory={"main": 5}), Ended("0/1", 30, "complete", memory={"main": 7})])
    {'main': 7}
    """
    known = [Memory(**end.memory) for end in replicates if end.memory]
    return {name: size for name, size in vars(reduce(Memory.most, known)).items() if size} if known else {}


def missing_text(counts: Mapping[str, tuple[int, int]]) -> str:
    """Return it as a sentence; "" if all were finite.

    >>> missing_text({"valid_auc": (2, 3)})
    'valid_auc was no number in 2 of 3 reports'
    """
    return "; ".join(f"{name} was no number in {n} of {reports} reports" for name, (n, reports) in counts.items())


def _badness(end: Ended) -> tuple[int, int]:
    """Rank the ends of replicates: a trial takes the worst of them."""
    status = ("complete", "stopped", "diverged", "failed").index(end.status)
    return status, VERDICTS.index(end.verdict) if end.verdict in VERDICTS else -1


class Gathering(Generic[T]):
    """The replicates' deliveries of one kind, by step, until the last replicate has delivered."""

    def __init__(self, replicates: int):
        self.replicates = replicates
        self.waiting: dict[int, dict[TrialId, T]] = {}  # step -> replicate -> delivery

    def add(self, step: int, replicate: TrialId, delivery: T) -> list[T]:
        """Add a replicate's delivery at a step; return those of all replicates if it is the last, else empty."""
        delivered = self.waiting.setdefault(step, {})
        delivered[replicate] = delivery
        return list(self.waiting.pop(step).values()) if len(delivered) == self.replicates else []


class Replicates:
    """The replicates of one trial."""

    def __init__(self, trial: int, count: int):
        self.trial, self.count = trial, count
        self._reports, self._scores = Gathering[Reported](count), Gathering[Scored](count)
        self._parked: dict[TrialId, Parked] = {}
        self._ends: dict[TrialId, Ended] = {}

    def merge(self, event: Event) -> Report | Score | Park | Outcome | None:
        """Add a replicate's event; return the trial's event if this was the last replicate."""
        match event:
            case Reported():
                reports = self._reports.add(event.step, event.trial_id, event)
                return self._report(event.step, reports) if reports else None
            case Scored():
                scores = self._scores.add(event.step, event.trial_id, event)
                values = averaged([score.values for score in scores])
                return Score(self.trial, event.step, values, leader_of(event)) if scores else None
            case Parked():
                self._parked[event.trial_id] = event
                return self._ended_or_parked(event.step)
            case Ended():
                self._ends[event.trial_id] = event
                return self._ended_or_parked(event.step)
            case _:
                return None

    def _ended_or_parked(self, step: int) -> Park | Outcome | None:
        """Return that the trial is parked, or has ended, where each replicate is or has.

        Where one has ended and others are parked, these are not continued: the trial has ended.
        """
        if len(self._ends | self._parked) < self.count:
            return None
        so_far = {replicate: parked.so_far for replicate, parked in self._parked.items() if parked.so_far}
        lost = any(parked.lost for parked in self._parked.values())
        self._parked.clear()
        ends = [end for _, end in sorted((so_far | self._ends).items())]
        return outcome_of(self.trial, ends) if self._ends else Park(self.trial, step, ends, lost)

    def _report(self, step: int, reports: Sequence[Reported]) -> Report:
        first, *others = [dict(report.curve) for report in reports]
        shared = [step for step in first if all(step in losses for losses in others)]  # code may report it in some only
        curve = [(step, mean([losses[step] for losses in (first, *others)])) for step in shared]
        return Report(self.trial, step, averaged([report.values for report in reports]), curve)


def outcome_of(trial: int, ends: Sequence[Ended]) -> Outcome:
    """Return how a trial ended, of the ends of its replicates."""
    worst = max(ends, key=_badness)
    values = averaged([{k: v for k, v in end.values.items() if math.isfinite(v)} for end in ends])
    evidence = "; ".join(text for text in (worst.evidence, missing_text(missing_counts(ends))) if text)
    return Outcome(trial, worst.status, worst.step, values, worst.verdict, evidence, ends)
