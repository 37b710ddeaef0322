"""The replicates of a trial, one configuration under several seeds: their events merged into the trial's.

A step's report, score or end counts once the last replicate has delivered it.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

from espalier.core.measures.verdicts import VERDICTS
from espalier.core.training.events import Ended, Event, Reported, Scored, TrialId
from espalier.sweeps.search.trial_events import Outcome, Report, Score

T = TypeVar("T")


def averaged(many: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each value that all have, with its spread (standard deviation) where there are several.

    >>> averaged([{"a": 1.0}, {"a": 3.0}])
    {'a': 2.0, 'a_std': 1.4142135623730951}
    """
    names = [name for name in many[0] if all(name in values for values in many)] if many else []
    means = {name: statistics.fmean(values[name] for values in many) for name in names}
    if len(many) > 1:
        means |= {f"{name}_std": statistics.stdev(values[name] for values in many) for name in names}
    return means


def mean_score(scores: Sequence[float]) -> float:
    """Return the mean of the scores of all replicates; infinite, the worst, if one of them is.

    >>> mean_score([1.0, 2.0]), mean_score([1.0, math.inf])
    (1.5, inf)
    """
    return math.inf if math.inf in scores else statistics.fmean(scores)


def leader_of(event: Scored | Ended) -> int:
    """Return the first of the trials of one history, the trial itself where the event names none."""
    return TrialId.parse(event.leader or event.trial).number


def value_to_beat(replicates: Sequence[Ended], metric: str, mode: str) -> float | None:
    """Return what a constant guess, or the untrained model, has of a metric, whichever is better: the replicates' mean.

    None where that is not known of each of them.
    """
    better = min if mode == "min" else max
    known: list[float] = []
    for end in replicates:
        values = [values[metric] for values in end.baselines.values() if metric in values]
        known += [better(values)] if values else []
    return statistics.fmean(known) if known and len(known) == len(replicates) else None


def missing_counts(replicates: Sequence[Ended]) -> dict[str, tuple[int, int]]:
    """Return the metrics that were no number: in how many reports of a trial's replicates, and of how many.

    >>> reports = [(10, {}), (20, {}), (30, {})]
    >>> missing_counts([Ended("0/0", 30, "complete", missing={"valid_auc": [10, 30]}, reports=reports)])
    {'valid_auc': (2, 3)}
    """
    reports = sum(len(end.reports) for end in replicates)
    names = dict.fromkeys(name for end in replicates for name in end.missing)
    return {name: (sum(len(end.missing.get(name, ())) for end in replicates), reports) for name in names}


def missing_text(counts: Mapping[str, tuple[int, int]]) -> str:
    """Return it as a sentence; nothing where all were numbers.

    >>> missing_text({"valid_auc": (2, 3)})
    'valid_auc was no number in 2 of 3 reports'
    """
    return "; ".join(f"{name} was no number in {n} of {reports} reports" for name, (n, reports) in counts.items())


def _badness(end: Ended) -> tuple[int, int]:
    """Rank the ends of replicates: a trial is as well as the worst of them."""
    status = ("complete", "stopped", "diverged", "failed").index(end.status)
    return status, VERDICTS.index(end.verdict) if end.verdict in VERDICTS else -1


class Gathering(Generic[T]):
    """What the replicates of a trial deliver of one kind, by step, until the last of them has."""

    def __init__(self, replicates: int):
        self.replicates = replicates
        self.waiting: dict[int, dict[TrialId, T]] = {}  # step -> replicate -> what it has delivered

    def add(self, step: int, replicate: TrialId, delivery: T) -> list[T]:
        """Take what a replicate delivers after a step; return that of all once it is the last of them, else nothing."""
        delivered = self.waiting.setdefault(step, {})
        delivered[replicate] = delivery
        return list(self.waiting.pop(step).values()) if len(delivered) == self.replicates else []


class Replicates:
    """The replicates of one trial."""

    def __init__(self, trial: int, count: int):
        self.trial, self.count = trial, count
        self._reports, self._scores = Gathering[Reported](count), Gathering[Scored](count)
        self._ends: dict[TrialId, Ended] = {}

    def merge(self, event: Event) -> Report | Score | Outcome | None:
        """Take a replicate's event; return the trial's own if the last replicate has now delivered."""
        match event:
            case Reported():
                reports = self._reports.add(event.step, event.trial_id, event)
                return self._report(event.step, reports) if reports else None
            case Scored():
                scores = self._scores.add(event.step, event.trial_id, event)
                values = averaged([score.values for score in scores])
                return Score(self.trial, event.step, values, leader_of(event)) if scores else None
            case Ended():
                self._ends[event.trial_id] = event
                return self._outcome() if len(self._ends) == self.count else None
            case _:
                return None

    def _report(self, step: int, reports: Sequence[Reported]) -> Report:
        curves = [report.curve for report in reports]
        curve = [(points[0][0], statistics.fmean(loss for _, loss in points)) for points in zip(*curves, strict=True)]
        return Report(self.trial, step, averaged([report.values for report in reports]), curve)

    def _outcome(self) -> Outcome:
        ends = [end for _, end in sorted(self._ends.items())]
        worst = max(ends, key=_badness)
        values = averaged([{k: v for k, v in end.values.items() if math.isfinite(v)} for end in ends])
        evidence = "; ".join(text for text in (worst.evidence, missing_text(missing_counts(ends))) if text)
        return Outcome(self.trial, worst.status, worst.step, values, worst.verdict, evidence, ends)
