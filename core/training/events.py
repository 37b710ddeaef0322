"""Events of trials while they train, as types, and their JSON form, which only this file reads and writes.

It does not import torch, so reading events is cheap.
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
    """The id of one replicate of a sweep's trial. Its text, "number/replicate", is the trial's key in its cohort.

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
        """Parse the id of a trial. Raises ValueError for a key that is not of a sweep."""
        number, replicate = text.split("/")
        return TrialId(int(number), int(replicate))


@dataclass(frozen=True)
class Event:
    """An event of `trial` (its key) after `step` of its steps."""

    trial: str
    step: int

    @property
    def kind(self) -> str:
        """Its name in JSON: start, fork, report, score, park, repeat, compare, finish or stop."""
        return next(kind for kind, type_ in _TYPES.items() if isinstance(self, type_))

    @property
    def trial_id(self) -> TrialId:
        """The trial's id in its sweep. Raises ValueError for a trial of no sweep."""
        return TrialId.parse(self.trial)

    def to_json(self) -> EventJson:
        """Return the event as in checkpoints, workers' messages and records: every kind has all keys of _ABSENT."""
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        if isinstance(self, Parked):
            own["so_far"] = self.so_far and self.so_far.to_json()
        return {"kind": self.kind} | _ABSENT | {name: value for name, value in own.items() if value or name in _ABSENT}

    @staticmethod
    def from_json(written: Mapping[str, Any]) -> "Event":
        """Return an event from the result of `to_json`, also of an earlier version, which may lack some keys."""
        type_ = _TYPES[written["kind"]]
        own = {f.name: written[f.name] for f in fields(type_) if f.name in written}
        if own.get("so_far"):
            own["so_far"] = Event.from_json(own["so_far"])
        return type_(**own)


@dataclass(frozen=True)
class Started(Event):
    """A trial begins."""


@dataclass(frozen=True)
class Forked(Event):
    """A trial, now a branch, leaves the lane that it shared with the trial `trunk`."""

    trunk: str

    @property
    def trunk_id(self) -> TrialId:
        """The id of the trunk."""
        return TrialId.parse(self.trunk)


@dataclass(frozen=True)
class Reported(Event):
    """A trial was validated.

    curve: (step, mean training loss) since the last report.
    ratios: (step, update ratio of each tensor, gradient ratio of each tensor).
    verdict, evidence: on its health so far.
    missing: by metric that was not finite, the steps of the reports that lack it.
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

    values: empty if the copy that trained for the score diverged.
    score: a name of core.scores.registry.SCORES, or a reference to a user's own.
    trunk: the first of the trials that share this trial's history up to the rung.
    """

    values: Mapping[str, float]
    score: str
    trunk: str = ""

    @property
    def leader(self) -> str:
        """The first trial with the same history."""
        return self.trunk or self.trial


@dataclass(frozen=True)
class Ended(Event):
    """A trial was completed, diverged, was stopped, or failed because its task raised.

    values: the last finite ones. curve, ratios, reports, missing: of the whole trial, as in Reported.
    tensors: the names of the tensors with ratios.
    baselines: for a complete trial, the values of a constant "guess", and of its model "before" training.
    trace: the traceback of the task's error. memory: that its process took, as main, gpu and gpu_total of Memory.
    leader: the first of the trials that share this trial's history to its end; "" for one that was stopped.
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
    memory: Mapping[str, int] = field(default_factory=dict[str, int], compare=False)  # no run is like another
    leader: str = field(default="", compare=False)  # not a property of the trial itself

    @property
    def kind(self) -> str:
        """Its name in JSON."""
        return "stop" if self.status == "stopped" else "finish"


@dataclass(frozen=True)
class Parked(Event):
    """A trial has left its cohort before its end. It may be continued from its state.

    so_far: what its end would be if it is not. It is not in checkpoints. lost: whether nothing of it was kept, so that
    what continues it begins anew.
    """

    so_far: Ended | None = field(default=None, compare=False)
    lost: bool = False


@dataclass(frozen=True)
class Repeated(Event):
    """A trial that was to go on from the step `wanted` goes on from `step`, since nothing later is left of it."""

    wanted: int


@dataclass(frozen=True)
class Compared(Event):
    """Before a trial goes on from `step`, it was tried whether it may: see foreign.sharing. That took `steps` steps."""

    steps: int


_TYPES: Mapping[str, type[Event]] = {
    "start": Started,
    "fork": Forked,
    "report": Reported,
    "score": Scored,
    "park": Parked,
    "repeat": Repeated,
    "compare": Compared,
    "finish": Ended,
    "stop": Ended,
}
# defaults of all keys, in the order of records
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
