"""What the driver and a worker exchange: an assignment when a cohort begins, and a turn about every second."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from espalier.core.training.events import Event, TrialId
from espalier.sweeps.search.cohort_plan import CohortPlan, Provenance
from espalier.sweeps.spec.values import Fields

CONFIG = "cohort"  # the one key of the configuration that Tune hands to a worker
REPORT = "turn"  # the key of a result of Tune's with what a worker reports


@dataclass(frozen=True)
class WorkerSettings:
    """What all workers of one driver are given.

    spec: its fields. lanes: the most that train at once. folder: from which the task's modules are imported.
    notes: the folder in which workers leave notes. stop_file: once it is there no cohort begins any more.
    patience_s: how long a call of the task may take, None if the watchdog decides. device: "cpu" or "cuda".
    """

    sweep: str
    spec: Fields
    lanes: int
    folder: str
    notes: str
    stop_file: str
    patience_s: float | None
    threads: int
    device: str


@dataclass(frozen=True)
class Assignment:
    """A cohort for a worker. provenance: how the cohort has trained so far, None if it has not begun."""

    settings: WorkerSettings
    plan: CohortPlan
    provenance: Provenance | None = None

    def to_config(self) -> dict[str, str]:
        """Return the configuration of a trial of Tune's."""
        made = self.provenance and self.provenance.to_json()
        return {CONFIG: json.dumps({**vars(self.settings), **self.plan.to_json(), "made": made})}

    @classmethod
    def from_config(cls, config: Mapping[str, str]) -> "Assignment":
        """Return what `to_config` gave."""
        fields = json.loads(config[CONFIG])
        made, names = fields["made"], WorkerSettings.__dataclass_fields__
        settings = WorkerSettings(**{name: fields[name] for name in names})
        return cls(settings, CohortPlan.from_json(fields), made and Provenance(**made))


@dataclass(frozen=True)
class TaskError:
    """What a task's code raised: in a line, and whole."""

    reason: str
    trace: str


@dataclass(frozen=True)
class Glimpse:
    """The mean training loss of a trial after a step, before there is a report."""

    trial: TrialId
    step: int
    loss: float


@dataclass(frozen=True)
class Turn:
    """What a worker reports.

    node: where it is. done: whether nothing is left to train. events: what has happened since the last turn.
    provenance, lane_steps, steps_shared: of the cohort so far; no provenance if it could not even begin.
    error: a task's, again would raise it again. halt: why nobody can go on before a person has seen to it.
    """

    node: str
    done: bool
    events: Sequence[Event] = ()
    provenance: Provenance | None = None
    lane_steps: int = 0
    steps_shared: int = 0
    glimpse: Glimpse | None = None
    error: TaskError | None = None
    halt: str | None = None

    def to_result(self, should_checkpoint: bool = False) -> dict[str, object]:
        """Return the result that Tune takes, and gives to the driver."""
        fields = vars(self) | {
            "events": [event.to_json() for event in self.events],
            "provenance": self.provenance and self.provenance.to_json(),
            "glimpse": self.glimpse and [str(self.glimpse.trial), self.glimpse.step, self.glimpse.loss],
            "error": self.error and vars(self.error),
        }
        return {REPORT: json.dumps(fields), "done": self.done, "should_checkpoint": should_checkpoint}

    @classmethod
    def from_result(cls, result: Mapping[str, object]) -> "Turn":
        """Return what `to_result` gave."""
        fields = json.loads(str(result[REPORT]))
        fields["events"] = [Event.from_json(event) for event in fields["events"]]
        if made := fields["provenance"]:
            fields["provenance"] = Provenance(**made)
        if glimpse := fields["glimpse"]:
            trial, step, loss = glimpse
            fields["glimpse"] = Glimpse(TrialId.parse(trial), step, loss)
        if error := fields["error"]:
            fields["error"] = TaskError(**error)
        return cls(**fields)
