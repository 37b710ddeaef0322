"""The plan of a cohort, from the search to a worker; and its provenance: how the cohort trains."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TypedDict

from espalier.sweeps.spec.space import Point

PROCESS = "process"  # how a trial of a function or a command trains, in place of a program's name


class PieceJson(TypedDict):
    """A piece of a trial as JSON."""

    source: int
    begin: int
    until: int | None
    keep_at: Sequence[int]


@dataclass(frozen=True)
class Piece:
    """The part of a trial's training that is planned.

    begin: the step from which it goes on, 0 for the beginning. source: the trial whose state at that step it takes.
    until: the step at which it is parked, None for its end. keep_at: the steps at which its state is kept.
    """

    source: int
    begin: int = 0
    until: int | None = None
    keep_at: Sequence[int] = ()

    def to_json(self) -> PieceJson:
        """Return it as JSON values."""
        return {"source": self.source, "begin": self.begin, "until": self.until, "keep_at": list(self.keep_at)}

    @classmethod
    def from_json(cls, fields: PieceJson) -> "Piece":
        """Invert `to_json`."""
        return cls(fields["source"], fields["begin"], fields["until"], tuple(fields["keep_at"]))


class TrialJson(TypedDict):
    """A planned trial as JSON."""

    number: int
    point: Point
    confirms: int | None
    piece: PieceJson | None


@dataclass(frozen=True)
class PlannedTrial:
    """A trial's number in the study and its complete configuration.

    confirms: the trial that it repeats, if any. piece: the part that is to be trained, None for all of it.
    """

    number: int
    point: Point
    confirms: int | None = None
    piece: Piece | None = None

    def to_json(self) -> TrialJson:
        """Return it as JSON values."""
        piece = self.piece and self.piece.to_json()
        return {"number": self.number, "point": self.point, "confirms": self.confirms, "piece": piece}

    @classmethod
    def from_json(cls, fields: TrialJson) -> "PlannedTrial":
        """Invert `to_json`.

        >>> trial = PlannedTrial(4, {"lr_exponent": -1.0}, piece=Piece(2, 50, until=100, keep_at=(70, 80)))
        >>> PlannedTrial.from_json(trial.to_json()) == trial
        True
        """
        piece = fields["piece"] and Piece.from_json(fields["piece"])
        return cls(fields["number"], fields["point"], fields["confirms"], piece or None)


class PlanJson(TypedDict):
    """A cohort's plan as JSON."""

    id: str
    trials: Sequence[TrialJson]
    resume_from: str | None
    without: Sequence[int]
    suspects: Mapping[str, int]
    attempt: int
    reference: str
    like: str


@dataclass(frozen=True)
class CohortPlan:
    """A cohort to train.

    resume_from: the folder of its last checkpoint. without: trials of that checkpoint that have ended. suspects:
    trial -> the step at which it may have killed the worker; see Cohort.isolate. attempt: how often this driver has
    scheduled the cohort before. reference: the name of the reference that it trains in place of trials; else "".
    like: the cohort whose program it has to train by; "" if it may choose.
    """

    id: str
    trials: Sequence[PlannedTrial]
    resume_from: str | None = None
    without: Sequence[int] = ()
    suspects: Mapping[str, int] = field(default_factory=dict[str, int])
    attempt: int = 0
    reference: str = ""
    like: str = ""

    @property
    def numbers(self) -> list[int]:
        """The numbers of its trials."""
        return [trial.number for trial in self.trials]

    def joined_by(self, trials: Sequence[PlannedTrial]) -> "CohortPlan":
        """Return it with more trials, or with other pieces of its own."""
        by_number = {trial.number: trial for trial in (*self.trials, *trials)}
        return replace(self, trials=tuple(by_number.values()))

    def to_json(self) -> PlanJson:
        """Return the plan as JSON values.

        >>> plan = CohortPlan("cohort-3", (PlannedTrial(3, {"lr_exponent": -2.0}),), suspects={"3/0": 64})
        >>> CohortPlan.from_json(plan.to_json()) == plan
        True
        """
        return {
            "id": self.id,
            "trials": [trial.to_json() for trial in self.trials],
            "resume_from": self.resume_from,
            "without": list(self.without),
            "suspects": dict(self.suspects),
            "attempt": self.attempt,
            "reference": self.reference,
            "like": self.like,
        }

    @classmethod
    def from_json(cls, fields: PlanJson) -> "CohortPlan":
        """Invert `to_json`."""
        trials = tuple(PlannedTrial.from_json(trial) for trial in fields["trials"])
        return cls(
            fields["id"],
            trials,
            fields["resume_from"],
            tuple(fields["without"]),
            dict(fields["suspects"]),
            fields["attempt"],
            fields["reference"],
            fields["like"],
        )


@dataclass(frozen=True)
class Provenance:
    """How a cohort trains: its program with a reason, how many lanes at once, on "cpu" or "cuda".

    It never changes for a trial after its first step: another program would differ in the last bits.
    """

    program: str
    why: str
    lanes: int
    device: str

    def to_json(self) -> dict[str, str | int]:
        """Return it as JSON values."""
        return asdict(self)
