"""What became of a trial: the events of its replicates made into one story.

Values are means over the replicates (each also with its spread, `<name>_std`, where there is more than one).
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from espalier.core.measures.verdicts import VERDICTS


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
    """How a trial ended. `members` are its replicates' finish events, in order."""

    trial: int
    status: str  # complete, diverged, stopped, failed
    step: int
    values: Mapping[str, float]
    verdict: str
    evidence: str
    members: Sequence[Mapping[str, Any]]


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


def leader_of(event: Mapping[str, Any]) -> int:
    """Return the first of the trials of one history, as a score or an end tells it; without a word the trial itself."""
    return int(event.get("leader", event["trial"]).split("/")[0])


def to_beat(members: Sequence[Mapping[str, Any]], metric: str, mode: str) -> float | None:
    """Return what a constant guess, or the untrained model, has of a metric, whichever is better: the members' mean.

    None where that is not known of each of them.
    """
    better = min if mode == "min" else max
    known = []
    for member in members:
        values = [values[metric] for values in member.get("baselines", {}).values() if metric in values]
        known += [better(values)] if values else []
    return statistics.fmean(known) if known and len(known) == len(members) else None


def missing(members: Sequence[Mapping[str, Any]]) -> dict[str, tuple[int, int]]:
    """Return the metrics that were no number: in how many reports of a trial's members, and of how many.

    >>> missing([{"missing": {"valid_auc": [10, 30]}, "reports": [[10, {}], [20, {}], [30, {}]]}])
    {'valid_auc': (2, 3)}
    """
    reports = sum(len(member["reports"]) for member in members)
    names = dict.fromkeys(name for member in members for name in member.get("missing", {}))
    return {name: (sum(len(m.get("missing", {}).get(name, ())) for m in members), reports) for name in names}


def missing_text(counts: Mapping[str, tuple[int, int]]) -> str:
    """Return it as a sentence; nothing where all were numbers.

    >>> missing_text({"valid_auc": (2, 3)})
    'valid_auc was no number in 2 of 3 reports'
    """
    return "; ".join(f"{name} was no number in {n} of {reports} reports" for name, (n, reports) in counts.items())


def _badness(end: Mapping[str, Any]) -> tuple[int, int]:
    """Rank the ends of replicates: a trial is as well as the worst of them."""
    verdict = end["verdict"]
    return ("complete", "stopped", "diverged", "failed").index(end["status"]), VERDICTS.index(
        verdict
    ) if verdict in VERDICTS else -1


@dataclass
class Story:
    """Follows one trial through the events of its replicates."""

    trial: int
    replicates: int
    reports: dict[int, dict[str, Mapping[str, Any]]] = field(default_factory=dict)
    scores: dict[int, dict[str, Mapping[str, Any]]] = field(default_factory=dict)
    ends: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def hear(self, event: Mapping[str, Any]) -> Report | Score | Outcome | None:
        """Take one event; return the trial's report or end when its last replicate has delivered."""
        if event["kind"] == "report":
            heard = self.reports.setdefault(event["step"], {})
            heard[event["trial"]] = event
            return self._report(event["step"]) if len(heard) == self.replicates else None
        if event["kind"] == "score":
            heard = self.scores.setdefault(event["step"], {})
            heard[event["trial"]] = event["values"]
            if len(heard) < self.replicates:
                return None
            return Score(self.trial, event["step"], averaged(list(heard.values())), leader_of(event))
        if event["kind"] in ("finish", "stop"):
            self.ends[event["trial"]] = event
            return self._outcome() if len(self.ends) == self.replicates else None
        return None

    def _report(self, step: int) -> Report:
        heard = list(self.reports.pop(step).values())
        curves = [event["curve"] for event in heard]
        curve = [(points[0][0], statistics.fmean(loss for _, loss in points)) for points in zip(*curves, strict=True)]
        return Report(self.trial, step, averaged([event["values"] for event in heard]), curve)

    def _outcome(self) -> Outcome:
        ends = [self.ends[key] for key in sorted(self.ends, key=lambda key: int(key.split("/")[1]))]
        worst = max(ends, key=_badness)
        values = averaged([{k: v for k, v in e["values"].items() if math.isfinite(v)} for e in ends])
        evidence = "; ".join(text for text in (worst["evidence"], missing_text(missing(ends))) if text)
        return Outcome(self.trial, worst["status"], worst["step"], values, worst["verdict"], evidence, ends)
