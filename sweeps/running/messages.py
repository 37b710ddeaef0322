"""Messages between driver and worker: an assignment when a cohort begins, and a turn about every second."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from espalier.core.loading.folders import RecordedCopy
from espalier.core.training.events import Event, TrialId
from espalier.sweeps.search.cohort_plan import CohortPlan, Provenance
from espalier.sweeps.spec.values import Fields

CONFIG = "cohort"  # the only key of the Tune configuration of a worker
REPORT = "turn"  # the key of a worker's turn in a result of Tune


@dataclass(frozen=True)
class WorkerSettings:
    """The settings of all workers of one driver.

    spec: its fields. cohort_trials: the most that a cohort gets. lanes: the most that train at once. folder: for
    imports of the task's modules. code, code_root: the recorded copy of the code (RecordedCopy), "" without one. notes:
    the folder of workers' notes. states: the folder of trials' states. trial_folders: that of the folders of trials
    that are processes. stop_file: once it is there no cohort begins any more. time_file: once it is there the time of
    the budget is up. patience_s: how long a call of the task may take, None if the watchdog decides. device: "cpu" or
    "cuda". cpus, gpus: of a cohort. tracking_uri: of MLflow for trials that log there, "" if it has a secret.
    experiment: that of the sweep's earlier runs there. birth: of the sweep, "" if it has none.
    """

    sweep: str
    spec: Fields
    cohort_trials: int
    lanes: int
    folder: str
    notes: str
    states: str
    stop_file: str
    time_file: str
    patience_s: float | None
    threads: int
    device: str
    cpus: float = 1.0
    gpus: float = 0.0
    trial_folders: str = ""
    code: str = ""
    code_root: str = ""
    tracking_uri: str = ""
    experiment: str | None = None
    birth: str = ""

    @property
    def copy(self) -> RecordedCopy | None:
        """The recorded copy of the code."""
        return RecordedCopy(self.code, self.code_root) if self.code else None


@dataclass(frozen=True)
class Assignment:
    """A cohort for a worker. provenance: how the cohort has trained so far, None if it has not begun."""

    settings: WorkerSettings
    plan: CohortPlan
    provenance: Provenance | None = None

    def to_config(self) -> dict[str, str]:
        """Return it as the configuration of a Tune trial."""
        provenance = self.provenance and self.provenance.to_json()
        return {CONFIG: json.dumps({**vars(self.settings), **self.plan.to_json(), "made": provenance})}

    @classmethod
    def from_config(cls, config: Mapping[str, str]) -> "Assignment":
        """Invert `to_config`."""
        fields = json.loads(config[CONFIG])
        provenance, names = fields["made"], WorkerSettings.__dataclass_fields__
        settings = WorkerSettings(**{name: fields[name] for name in names})
        return cls(settings, CohortPlan.from_json(fields), provenance and Provenance(**provenance))


@dataclass(frozen=True)
class TaskError:
    """An error of the task's code: as one line, and its traceback."""

    reason: str
    trace: str


@dataclass(frozen=True)
class Glimpse:
    """The mean training loss of a trial after a step, before the first report."""

    trial: TrialId
    step: int
    loss: float


@dataclass(frozen=True)
class Turn:
    """A worker's report.

    node: of the cluster. done: whether nothing is left to train. events: since the last turn.
    provenance, lane_steps, steps_shared: of the cohort so far; provenance is None if it could not begin.
    trained_s: how long this turn has taken.
    error: of the task's code, which would be raised again. halt: why the sweep must stop until the user has fixed
    something. notes: sentences for the user.
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
    trained_s: float = 0.0
    notes: Sequence[str] = ()

    def to_text(self) -> str:
        """Return it as JSON."""
        fields = vars(self) | {
            "events": [event.to_json() for event in self.events],
            "provenance": self.provenance and self.provenance.to_json(),
            "glimpse": self.glimpse and [str(self.glimpse.trial), self.glimpse.step, self.glimpse.loss],
            "error": self.error and vars(self.error),
            "notes": list(self.notes),
        }
        return json.dumps(fields)

    @classmethod
    def from_text(cls, text: str) -> "Turn":
        """Invert `to_text`."""
        fields = json.loads(text)
        fields["events"] = [Event.from_json(event) for event in fields["events"]]
        if provenance := fields["provenance"]:
            fields["provenance"] = Provenance(**provenance)
        if glimpse := fields["glimpse"]:
            trial, step, loss = glimpse
            fields["glimpse"] = Glimpse(TrialId.parse(trial), step, loss)
        if error := fields["error"]:
            fields["error"] = TaskError(**error)
        fields["notes"] = tuple(fields["notes"])
        return cls(**fields)

    def to_result(self, should_checkpoint: bool = False) -> dict[str, object]:
        """Return it as a result that Tune passes to the driver."""
        return {REPORT: self.to_text(), "done": self.done, "should_checkpoint": should_checkpoint}

    @classmethod
    def from_result(cls, result: Mapping[str, object]) -> "Turn":
        """Invert `to_result`."""
        return cls.from_text(str(result[REPORT]))
