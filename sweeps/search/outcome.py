"""What became of a trial: the events of its replicates made into one story.

Values are means over the replicates (each also with its spread, `<name>_std`, where there is more than one).
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from espalier.core.measures.verdicts import VERDICTS
from espalier.core.training.events import Ended, Event, Reported, Scored, TrialId


@dataclass(frozen=True)
class Start:
    """A trial trains. trunk: the trial whose trunk it was proposed to share, if it was."""

    trial: int
    params: Mapping[str, Any]
    trunk: int | None


@dataclass(frozen=True)
class Fork:
    """A trial trains by itself from `step` on, parted from another. trunk: as of a start, or as it turned out."""

    trial: int
    step: int
    parted_from: int
    trunk: int | None


@dataclass(frozen=True)
class Report:
    """Values of a trial after a step, with the pieces of its training curve since the last report."""

    trial: int
    step: int
    values: Mapping[str, float]
    curve: Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Score:
    """What a trial is worth at a rung, by the probe, or whatever its sweep scores by.

    leader: the first trial that has the same history up to there.
    """

    trial: int
    step: int
    values: Mapping[str, float]
    leader: int


@dataclass(frozen=True)
class Outcome:
    """How a trial ended. `members` are the ends of its replicates, in order."""

    trial: int
    status: str  # complete, diverged, stopped, failed
    step: int
    values: Mapping[str, float]
    verdict: str
    evidence: str
    members: Sequence[Ended]


News = Start | Fork | Report | Score | Outcome
"""What is heard of a trial."""


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


def leader_of(event: Scored | Ended) -> int:
    """Return the first of the trials of one history, the trial itself where the event names none."""
    return TrialId.parse(event.leader or event.trial).number


def to_beat(members: Sequence[Ended], metric: str, mode: str) -> float | None:
    """Return what a constant guess, or the untrained model, has of a metric, whichever is better: the members' mean.

    None where that is not known of each of them.
    """
    better = min if mode == "min" else max
    known = []
    for member in members:
        values = [values[metric] for values in member.baselines.values() if metric in values]
        known += [better(values)] if values else []
    return statistics.fmean(known) if known and len(known) == len(members) else None


def missing(members: Sequence[Ended]) -> dict[str, tuple[int, int]]:
    """Return the metrics that were no number: in how many reports of a trial's members, and of how many.

    >>> reports = [(10, {}), (20, {}), (30, {})]
    >>> missing([Ended("0/0", 30, "complete", missing={"valid_auc": [10, 30]}, reports=reports)])
    {'valid_auc': (2, 3)}
    """
    reports = sum(len(member.reports) for member in members)
    names = dict.fromkeys(name for member in members for name in member.missing)
    return {name: (sum(len(m.missing.get(name, ())) for m in members), reports) for name in names}


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


@dataclass
class Story:
    """Follows one trial through the events of its replicates."""

    trial: int
    replicates: int
    reports: dict[int, dict[TrialId, Reported]] = field(default_factory=dict)
    scores: dict[int, dict[TrialId, Scored]] = field(default_factory=dict)
    ends: dict[TrialId, Ended] = field(default_factory=dict)

    def hear(self, event: Event) -> Report | Score | Outcome | None:
        """Take one event; return the trial's report or end when its last replicate has delivered."""
        if isinstance(event, Reported):
            reports = self.reports.setdefault(event.step, {})
            reports[event.trial_id] = event
            return self._report(event.step) if len(reports) == self.replicates else None
        if isinstance(event, Scored):
            scores = self.scores.setdefault(event.step, {})
            scores[event.trial_id] = event
            if len(scores) < self.replicates:
                return None
            values = averaged([score.values for score in scores.values()])
            return Score(self.trial, event.step, values, leader_of(event))
        if isinstance(event, Ended):
            self.ends[event.trial_id] = event
            return self._outcome() if len(self.ends) == self.replicates else None
        return None

    def _report(self, step: int) -> Report:
        reports = list(self.reports.pop(step).values())
        curves = [report.curve for report in reports]
        curve = [(points[0][0], statistics.fmean(loss for _, loss in points)) for points in zip(*curves, strict=True)]
        return Report(self.trial, step, averaged([report.values for report in reports]), curve)

    def _outcome(self) -> Outcome:
        ends = [end for _, end in sorted(self.ends.items())]
        worst = max(ends, key=_badness)
        values = averaged([{k: v for k, v in end.values.items() if math.isfinite(v)} for end in ends])
        evidence = "; ".join(text for text in (worst.evidence, missing_text(missing(ends))) if text)
        return Outcome(self.trial, worst.status, worst.step, values, worst.verdict, evidence, ends)
