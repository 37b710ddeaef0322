"""What happens to trials while they train, as types, and their JSON form: the one place that reads and writes it.

Knows no torch, so that whoever only reads events imports little.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any, Literal

Status = Literal["complete", "diverged", "stopped", "failed"]
EventJson = dict[str, Any]
"""An event as JSON has it: plain values by name."""


@dataclass(frozen=True, order=True)
class TrialId:
    """One replicate of a sweep's trial. Its text is the key of a trial in its cohort.

    >>> TrialId.parse("7/1"), str(TrialId(7, 1))
    (TrialId(number=7, replicate=1), '7/1')
    """

    number: int
    replicate: int = 0

    def __str__(self) -> str:
        return f"{self.number}/{self.replicate}"

    @staticmethod
    @lru_cache(maxsize=4096)
    def parse(text: str) -> "TrialId":
        """Read the id of a trial. Raises ValueError for a key that no sweep gives."""
        number, replicate = text.split("/")
        return TrialId(int(number), int(replicate))


@dataclass(frozen=True)
class Event:
    """Something that happened to `trial` (its key) after `step` of its steps."""

    trial: str
    step: int

    @property
    def kind(self) -> str:
        """Its name in JSON: start, fork, report, score, finish or stop."""
        return next(kind for kind, type_ in _TYPES.items() if isinstance(self, type_))

    @property
    def trial_id(self) -> TrialId:
        """The trial's id in its sweep. Raises ValueError for a trial of no sweep."""
        return TrialId.parse(self.trial)

    def to_json(self) -> EventJson:
        """Return the event as checkpoints, workers and records write it: every kind has all keys of _ABSENT."""
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        return {"kind": self.kind} | _ABSENT | {name: value for name, value in own.items() if value or name in _ABSENT}

    @staticmethod
    def from_json(written: Mapping[str, Any]) -> "Event":
        """Return an event that `to_json` wrote, also that of an earlier version, which may lack some keys."""
        type_ = _TYPES[written["kind"]]
        return type_(**{f.name: written[f.name] for f in fields(type_) if f.name in written})


@dataclass(frozen=True)
class Started(Event):
    """A trial begins."""


@dataclass(frozen=True)
class Forked(Event):
    """A branch leaves the lane that it shared with the trial `trunk`."""

    trunk: str

    @property
    def trunk_id(self) -> TrialId:
        """The id of the trial that it leaves."""
        return TrialId.parse(self.trunk)


@dataclass(frozen=True)
class Reported(Event):
    """A trial was validated.

    curve: (step, mean training loss) since the last report. ratios: (step, update ratio of each tensor, gradient ratio
    of each tensor). verdict, evidence: what its health says so far. missing: metrics that were no number, each with
    the steps of its reports without it.
    """

    values: Mapping[str, float]
    curve: Sequence[tuple[int, float]] = ()
    ratios: Sequence[Sequence[float]] = ()
    verdict: str = ""
    evidence: str = ""
    missing: Mapping[str, Sequence[int]] = field(default_factory=dict[str, Sequence[int]])


@dataclass(frozen=True)
class Scored(Event):
    """A trial was scored at the rung `step`.

    values: none if the copy that trained on for it diverged. score: by which of core.scores.registry.SCORES, or of a
    person's own. trunk: the first of the trials whose histories were one with this trial's up to there.
    """

    values: Mapping[str, float]
    score: str
    trunk: str = ""

    @property
    def leader(self) -> str:
        """The first trial of the same history."""
        return self.trunk or self.trial


@dataclass(frozen=True)
class Ended(Event):
    """A trial has trained to its end, or diverged, or was stopped, or its task raised.

    values: the last finite ones. curve, ratios, reports, missing: of the whole trial, as in Reported. tensors: the
    names of those that have ratios. baselines: of a complete trial, what a constant "guess" has, and what its model had
    "before" training. trace: where its task raised. leader: the first of the trials whose histories were one with this
    trial's to its end; "" of one that was stopped.
    """

    status: Status
    values: Mapping[str, float] = field(default_factory=dict[str, float])
    verdict: str = ""
    evidence: str = ""
    curve: Sequence[tuple[int, float]] = ()
    ratios: Sequence[Sequence[float]] = ()
    tensors: Sequence[str] = ()
    reports: Sequence[tuple[int, Mapping[str, float]]] = ()
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])
    missing: Mapping[str, Sequence[int]] = field(default_factory=dict[str, Sequence[int]])
    trace: str = ""
    leader: str = field(default="", compare=False)  # says nothing of the trial itself

    @property
    def kind(self) -> str:
        """Its name in JSON."""
        return "stop" if self.status == "stopped" else "finish"


_TYPES: Mapping[str, type[Event]] = {
    "start": Started,
    "fork": Forked,
    "report": Reported,
    "score": Scored,
    "finish": Ended,
    "stop": Ended,
}
# the keys of an event that has nothing to say under them, in the order of records
_ABSENT: EventJson = {
    "trial": "",
    "step": 0,
    "values": {},
    "curve": [],
    "ratios": [],
    "tensors": [],
    "reports": [],
    "trunk": "",
    "score": "",
    "status": "",
    "verdict": "",
    "evidence": "",
    "baselines": {},
    "missing": {},
    "trace": "",
}
