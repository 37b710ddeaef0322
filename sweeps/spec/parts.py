"""Parts of a spec: budget, search, objective, ratios, health and resources."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from espalier.core.errors import BadInput, brief, nearest, shown
from espalier.core.foreign.output import compiled
from espalier.core.loading.registry import is_reference
from espalier.core.measures.verdicts import Thresholds
from espalier.core.programs import PROGRAMS
from espalier.sweeps.samplers import SAMPLERS
from espalier.sweeps.spec.meaning import LOSS_PATTERN, NAME_MOST, is_loss, missing_mode
from espalier.sweeps.spec.space import AUTO, Part

BY_PIECES = "thaw"  # the sampler that asks for pieces of trainings
INDEPENDENT = ("random", "qmc", "grid")  # samplers whose points do not depend on results
STEPS_MOST = 10**10
BATCH_MOST = 10**9
GPUS_MOST = 10_000  # of a trial
Auto = Literal["auto"]
OwnKindName = Annotated[str, Field(pattern=r"^[^:]+:[^:]+$", max_length=4096, description="file.py:Class, of your own")]
if TYPE_CHECKING:
    ProgramName = str
    SamplerName = str
else:
    ProgramName = Literal[PROGRAMS.names]
    SamplerName = Literal[SAMPLERS.names]


def known_kind(value: object, names: Iterable[str]) -> object:
    """Return a value if it is one of the names, a reference, or not a text. Raises ValueError otherwise."""
    names = tuple(names)
    if isinstance(value, str) and value not in names and not is_reference(value):
        hint = nearest(value, names).removesuffix("?")
        raise ValueError(f"{shown(value)} is unknown; {hint}, or file.py:Class of your own")
    return value


UNITS = {"trials": "trials", "trainings": "trainings", "hours": "hours", "gpu_hours": "GPU-hours"}
"""What the budget of a search counts, by the names of its fields, in words."""


class Budget(Part):
    """How long each trial trains, and for how much training the search has to pay."""

    steps: int = Field(default=10_000, ge=1, le=STEPS_MOST)
    batch_size: int = Field(default=32, ge=1, le=BATCH_MOST)
    reports: int = Field(
        default=10,
        ge=1,
        le=10_000,
        description="validations of a trial, evenly spaced, the last at its end; no more than one a step",
    )
    trainings: float | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="of the sampler thaw: what the search may train, in full trainings, used to the end; "
        "without it two fifths of `trials`",
    )
    hours: float | None = Field(
        default=None,
        gt=0,
        le=100_000,
        description="in place of `trainings` or `trials`: how long the search may train. It begins what can end in "
        "time, by the speed measured so far; what trains when the time is up is stopped",
    )
    gpu_hours: float | None = Field(
        default=None, gt=0, le=1_000_000, description="the same in hours of GPUs: an hour on four of them is 4"
    )
    until: Literal["spent", "settled"] = Field(
        default="spent",
        description="of the sampler thaw: settled ends the search earlier, when nothing left is expected to be better "
        "by more than the noise",
    )

    @property
    def seconds(self) -> float | None:
        """What the search may train in seconds, of the clock or of GPUs; None where time does not limit it."""
        hours = self.gpu_hours if self.hours is None else self.hours
        return None if hours is None else hours * 3600

    @property
    def time_text(self) -> str:
        """The limit in time.

        >>> Budget(hours=1).time_text, Budget(gpu_hours=8).time_text, Budget().time_text
        ('1 hour', '8 GPU-hours', '')
        """
        if self.hours is not None:
            return f"{self.hours:g} hour{'' if self.hours == 1 else 's'}"
        return "" if self.gpu_hours is None else f"{self.gpu_hours:g} GPU-hour{'' if self.gpu_hours == 1 else 's'}"

    def why_not_on(self, gpus: float) -> str:
        """Return why a cohort with so many GPUs cannot have this budget; "" if it can."""
        return "" if gpus or self.gpu_hours is None else "budget.gpu_hours: this sweep trains on CPUs; write hours"


class Search(Part):
    """How trials are proposed."""

    sampler: SamplerName | OwnKindName | Auto = Field(
        default=AUTO,
        description="auto: thaw where rates are searched and a validation scores trials on their way, else "
        "tpe; gp learns from complete trials alone, and needs 4; tpe learns from those that stopping ends, too",
    )
    seed: int = Field(
        default=0,
        ge=0,
        lt=2**32,
        description="of what is proposed; tpe and gp go on from the trials that have ended, which depends on timing: "
        "the same seed proposes the same points only with repeatable: true",
    )
    repeatable: bool = Field(
        default=False,
        description="propose the same points each time, whatever the timing, the cores and the interrupts: trials are "
        "asked for in rounds of a quarter, each when the one before has ended",
    )

    @field_validator("sampler", mode="before")
    @classmethod
    def _is_known(cls, value: object) -> object:
        return known_kind(value, (*SAMPLERS, AUTO))

    @property
    def learns(self) -> bool:
        """Whether proposals depend on ended trials; a user-defined sampler counts as learning."""
        return self.sampler not in INDEPENDENT

    @property
    def asks_late(self) -> bool:
        """Whether each trunk is asked for when a lane falls free: then the sampler knows all that has ended by then."""
        return self.learns and not self.in_rounds

    @property
    def in_rounds(self) -> bool:
        """Whether trials are asked for in rounds, which makes a search that learns repeatable."""
        return self.repeatable and self.learns and not self.by_pieces

    @property
    def by_pieces(self) -> bool:
        """Whether pieces of trainings are asked for: trunks that are parked at rungs, and branches to the end."""
        return self.sampler == BY_PIECES


class Objective(Part):
    """The objective: a metric of the task's validation. A metric that is no loss needs its mode."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"properties": {"metric": {"not": {"pattern": LOSS_PATTERN}}}, "required": ["metric"]},
            "then": {"required": ["mode"]},
        }
    )

    metric: str = Field(default="valid_loss", min_length=1, max_length=NAME_MOST)
    mode: Literal["min", "max"] = Field(
        default="min", description="whether less or more is better; only a loss or an error may leave it out"
    )

    @model_validator(mode="before")
    @classmethod
    def _has_mode(cls, value: object) -> object:
        if not isinstance(value, Mapping) or "mode" in value:
            return value
        if isinstance(metric := value.get("metric"), str) and not is_loss(metric):
            raise ValueError(missing_mode(brief(metric)))
        return value

    @property
    def sign(self) -> float:
        """The factor that makes smaller values better: -1 for a metric to maximise."""
        return 1.0 if self.mode == "min" else -1.0


class RatiosSpec(Part):
    """When the update-to-data ratios of a trial are sampled."""

    samples: int = Field(default=50, ge=0, le=1_000_000, description="how often; 0 for never")
    spacing: Literal["linear", "log"] = Field(default="linear", description="evenly, or each a factor after the last")


class HealthSpec(Part):
    """The thresholds between verdicts: docs/health.md says what each verdict means and where it comes from."""

    hot: float = Field(default=Thresholds.hot, description="median log10 update ratio above which a run is hot")
    frozen: float = Field(default=Thresholds.frozen, description="... below which it is frozen")
    diverged: float = Field(default=Thresholds.diverged, gt=1, description="times its best, and rising")
    catapult: float = Field(default=Thresholds.catapult, gt=1, description="times its start, before it fell below")
    collapsed: float = Field(
        default=Thresholds.collapsed, ge=0, description="share of a constant guess's loss to be gained"
    )
    stuck: float = Field(default=Thresholds.stuck, gt=1, description="times the loss that a neighbour reached")
    flat: float = Field(default=Thresholds.flat, gt=0, lt=1, description="fall over the last quarter of a stuck run")
    gain: float = Field(default=Thresholds.gain, ge=0, lt=1, description="share of the best's gain that counts as any")


def one_gpu(value: object) -> str:
    """Return why a cohort of lanes has no more than one GPU."""
    return (
        f"{shown(value)}; a cohort trains on one GPU and would leave the others idle: write 1 or less, and cohorts for "
        "how many train at once"
    )


class Resources(Part):
    """The resources of a cohort, how many cohorts train at once, and their lanes. `auto` depends on the machine."""

    cpus: Annotated[float, Field(gt=0, le=10_000)] | Auto = "auto"
    gpus: Annotated[float, Field(ge=0, le=GPUS_MOST)] | Auto = Field(
        default="auto",
        description="of each cohort, which trains on one; a part of one: several cohorts share it. A function or a "
        "command may have several a trial",
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=10_000,
        description="processes that train a trial of a function together, under Ray Train, on one node or more; its "
        "cpus and gpus are divided among them",
    )
    cohorts: Annotated[int, Field(ge=1, le=10_000)] | Auto = "auto"
    lanes: Annotated[int, Field(ge=1, le=100_000)] | Auto = "auto"
    program: ProgramName | Auto | OwnKindName = "auto"
    precision: Literal["float32", "float64"] = "float32"
    patience: Annotated[float, Field(ge=1, le=1e6)] | Auto = Field(
        default="auto",
        description="seconds that one call of the task's code may take, a step or a validation batch, before its "
        "worker is ended; auto: a hundred times what calls took, at least one minute, at first ten",
    )
    timeout: float | None = Field(
        default=None, gt=0, le=1e8, description="seconds that a trial of a function or a command may take"
    )
    grace: float = Field(
        default=10.0,
        gt=0,
        le=86_400,
        description="seconds that the process of a trial has to end, from SIGTERM until it is killed",
    )
    checkpoints_gib: Annotated[float, Field(gt=0, le=1e6)] | Auto = Field(
        default="auto",
        description="GiB of the disk that the checkpoints of a function or a command may take, those of all trials; "
        "beyond it the ones that are needed least are removed. auto: half of what is free",
    )
    code_mib: Annotated[float, Field(ge=0, le=1024)] = Field(
        default=32.0,
        description="MiB of the code that is recorded with the sweep, in the folder of the task's file; 0: none, and "
        "every worker reads the files as they are then",
    )

    @field_validator("gpus", mode="before")
    @classmethod
    def _not_so_many(cls, value: object) -> object:
        if isinstance(value, int | float) and value > GPUS_MOST:
            raise ValueError(one_gpu(value))
        return value

    @model_validator(mode="after")
    def _divides(self) -> Self:
        for name, value in (("cpus", self.cpus), ("gpus", self.gpus)):
            each = 1.0 if isinstance(value, str) else value / self.workers
            if self.workers > 1 and each > 1 and each % 1:
                raise ValueError(
                    f"{name}: {value:g} for {self.workers} workers is {each:g} each, and beyond one they come whole; "
                    f"give a multiple of {self.workers}"
                )
        return self

    def shares(self, gpus: float) -> tuple[float, float]:
        """Return the cores and GPUs of a cohort, or of a trial with several workers, where there are so many GPUs.

        Raises BadInput where workers would have to share a GPU, and the spec does not say so.
        """
        cpus = float(self.workers) if self.cpus == "auto" else self.cpus
        if self.gpus != "auto":
            return cpus, self.gpus
        if 1 <= gpus < self.workers:
            raise BadInput(
                f"resources.workers: {self.workers} workers take a GPU each, and there are {gpus:g}; write "
                "resources.gpus too: 0, or what they share"
            )
        return cpus, float(self.workers) if gpus >= self.workers else 0.0

    @field_validator("program", mode="before")
    @classmethod
    def _is_known(cls, value: object) -> object:
        return known_kind(value, (*PROGRAMS, AUTO))


class Results(Part):
    """How the results of a command are found, beside `from espalier import report` and lines of JSON that it prints."""

    pattern: str | tuple[str, ...] = Field(
        default=(),
        description="regular expressions for lines of its output, with named groups: "
        r"'step (?P<step>\d+): val loss (?P<valid_loss>\S+)'",
    )

    mlflow: bool = Field(
        default=False,
        description="the results are what it logs to MLflow, into the run of its trial that MLFLOW_RUN_ID names; also "
        "for a function",
    )

    @property
    def patterns(self) -> tuple[str, ...]:
        """The patterns, however many were given."""
        return (self.pattern,) if isinstance(self.pattern, str) else self.pattern

    @field_validator("pattern")
    @classmethod
    def _are_patterns(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for pattern in (value,) if isinstance(value, str) else value:
            try:
                compiled(pattern)
            except BadInput as error:
                raise ValueError(str(error).partition(": ")[2]) from error
        return value
