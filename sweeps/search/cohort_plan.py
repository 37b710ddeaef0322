"""The plan of a cohort, from the search to a worker; and its provenance: how the cohort trains."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TypedDict

from espalier.sweeps.spec.space import Point


@dataclass(frozen=True)
class PlannedTrial:
    """A trial's number in the study and its complete configuration. confirms: the trial that it repeats, if any."""

    number: int
    point: Point
    confirms: int | None = None


class TrialJson(TypedDict):
    """A planned trial as JSON."""

    number: int
    point: Point
    confirms: int | None


class PlanJson(TypedDict):
    """A cohort's plan as JSON."""

    id: str
    trials: Sequence[TrialJson]
    resume_from: str | None
    without: Sequence[int]
    suspects: Mapping[str, int]
    attempt: int
    reference: str


@dataclass(frozen=True)
class CohortPlan:
    """A cohort to train.

    resume_from: the folder of its last checkpoint. without: trials of that checkpoint that have ended. suspects:
    trial -> the step at which it may have killed the worker; see Cohort.isolate. attempt: how often this driver has
    scheduled the cohort before. reference: the name of the reference that it trains in place of trials; else "".
    """

    id: str
    trials: Sequence[PlannedTrial]
    resume_from: str | None = None
    without: Sequence[int] = ()
    suspects: Mapping[str, int] = field(default_factory=dict[str, int])
    attempt: int = 0
    reference: str = ""

    @property
    def numbers(self) -> list[int]:
        """The numbers of its trials."""
        return [trial.number for trial in self.trials]

    def to_json(self) -> PlanJson:
        """Return the plan as JSON values.

        >>> plan = CohortPlan("cohort-3", (PlannedTrial(3, {"lr_exponent": -2.0}),), suspects={"3/0": 64})
        >>> CohortPlan.from_json(plan.to_json()) == plan
        True
        """
        return {
            "id": self.id,
            "trials": [
                {"number": trial.number, "point": trial.point, "confirms": trial.confirms} for trial in self.trials
            ],
            "resume_from": self.resume_from,
            "without": list(self.without),
            "suspects": dict(self.suspects),
            "attempt": self.attempt,
            "reference": self.reference,
        }

    @classmethod
    def from_json(cls, fields: PlanJson) -> "CohortPlan":
        """Invert `to_json`."""
        trials = tuple(PlannedTrial(**trial) for trial in fields["trials"])
        return cls(
            fields["id"],
            trials,
            fields["resume_from"],
            tuple(fields["without"]),
            dict(fields["suspects"]),
            fields["attempt"],
            fields["reference"],
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
