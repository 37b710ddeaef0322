"""SweepSpec: the only schema. YAML, the command line, HTTP and Ray all carry it."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from espalier.core.errors import BadInput, brief, nearest, shown
from espalier.core.loading.registry import is_reference
from espalier.core.measures.verdicts import Thresholds
from espalier.core.programs import PROGRAMS
from espalier.core.schedules.falling import FLOOR
from espalier.core.schedules.onecycle_fastai import DIV
from espalier.core.schedules.phases import check_phases
from espalier.core.schedules.polynomial import POWER
from espalier.core.schedules.registry import SCHEDULES, why_not_so_many_points
from espalier.core.schedules.step import DECAY_FACTOR
from espalier.core.schedules.warmup import WARMUP
from espalier.core.tasks import READY
from espalier.sweeps.search.halving import Stopping
from espalier.sweeps.spec import paths, yaml12
from espalier.sweeps.spec.meaning import LOSS_PATTERN, MEANT, NAME_MOST, is_loss, misread_exponents, missing_mode
from espalier.sweeps.spec.space import AUTO, Part, Range, Space, all_finite, extremes
from espalier.sweeps.spec.values import as_stored, check_values, place
from espalier.sweeps.spec.yaml12 import read as parse_yaml

GRID_MOST = 1_000_000  # points: a sampler writes all of them down before the first trial
TRIALS_MOST = 1_000_000
STEPS_MOST = 10**10
BATCH_MOST = 10**9
LEARNING = ("tpe", "gp")  # samplers that go on from the trials that have ended
ROUNDS, ROUND_LEAST = 4, 8  # of a search that repeats: how many, and trials of one
NAMED_MOST = 10  # wrong fields that a message names
Auto = Literal["auto"]
OptimizerKind = Literal["sgd", "adam", "adamw"]
ScheduleKind = Literal[
    "constant",
    "step",
    "linear",
    "cosine",
    "exponential",
    "polynomial",
    "wsd",
    "wsd-sqrt",
    "onecycle",
    "onecycle-fastai",
    "phases",
]


class OptimizerSpec(Part):
    """Which optimizer, and the numbers that its kind takes."""

    kind: OptimizerKind = "sgd"
    momentum: float | None = Field(default=None, ge=0, lt=1, description="sgd only; may stand in the space instead")
    nesterov: bool = False
    weight_decay: float | None = Field(default=None, ge=0, le=1e9, description="may stand in the space instead")
    beta1: float | None = Field(default=None, ge=0, lt=1, description="adam and adamw, default 0.9")
    beta2: float | None = Field(default=None, ge=0, lt=1, description="adam and adamw, default 0.999")
    eps: float | None = Field(default=None, gt=0, le=1e9, description="adam and adamw, default 1e-8")

    @model_validator(mode="after")
    def _fitting(self) -> "OptimizerSpec":
        foreign = ("beta1", "beta2", "eps") if self.kind == "sgd" else ("momentum", "nesterov")
        for name in foreign:
            if getattr(self, name):
                raise ValueError(f"{self.kind} has no {name}; it takes {_takes(self.kind)}")
        return self


def _takes(kind: str) -> str:
    return "momentum, nesterov, weight_decay" if kind == "sgd" else "beta1, beta2, eps, weight_decay"


class ScheduleSpec(Part):
    """The shape of the rate over the budget; a linear warm-up (space.warmup) may precede each."""

    kind: ScheduleKind = "step"
    floor: float | None = Field(default=None, ge=0, le=1, description="the rate at the end, as a share of the peak")
    power: float | None = Field(default=None, ge=1e-3, le=1e3, description="polynomial only, default 1")
    div: float | None = Field(default=None, ge=1, description="one-cycles: the first rate is peak / div, default 25")
    phases: tuple[tuple[float, str, float, float], ...] = Field(
        default=(),
        max_length=100,
        description="phases only: [share of the budget, shape, from, to], rates as multiples of the peak",
    )

    @field_validator("phases")
    @classmethod
    def _right(cls, phases: Any) -> Any:
        try:
            return tuple(check_phases(phases)) if phases else phases
        except BadInput as error:
            raise ValueError(str(error).partition(": ")[2]) from error


class Budget(Part):
    """How long each trial trains."""

    steps: int = Field(default=10_000, ge=1, le=STEPS_MOST)
    batch_size: int = Field(default=32, ge=1, le=BATCH_MOST)
    reports: int = Field(
        default=10,
        ge=1,
        le=10_000,
        description="validations of a trial, evenly spaced, the last at its end; no more than one a step",
    )


class Search(Part):
    """Who proposes the trials."""

    sampler: Literal["tpe", "random", "qmc", "grid", "gp"] = Field(
        default="tpe",
        description="gp learns from complete trials alone, and needs 10; tpe learns from those that stopping ends, too",
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


class Objective(Part):
    """What is sought: a metric of the task's validation. One that is no loss needs its mode."""

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
    def _has_mode(cls, value: Any) -> Any:
        metric = value.get("metric") if isinstance(value, Mapping) else None
        if isinstance(metric, str) and "mode" not in value and not is_loss(metric):
            raise ValueError(missing_mode(brief(metric)))
        return value

    @property
    def sign(self) -> float:
        """What the metric is multiplied by for the smaller to be the better."""
        return 1.0 if self.mode == "min" else -1.0


class RatiosSpec(Part):
    """When the update-to-data ratios of a trial are taken."""

    samples: int = Field(default=50, ge=0, le=1_000_000, description="how often; 0 for never")
    spacing: Literal["linear", "log"] = Field(default="linear", description="evenly, or each a factor after the last")


class HealthSpec(Part):
    """Where one verdict ends and another begins; core.measures.verdicts.Thresholds names the sources."""

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


OwnProgram = Annotated[str, Field(pattern=r"^[^:]+:[^:]+$", max_length=4096, description="file.py:Class, of your own")]
if TYPE_CHECKING:
    ProgramName = str
else:
    ProgramName = Literal[PROGRAMS.names]


class Resources(Part):
    """What a cohort gets, how many train at once, and how wide they are. `auto` looks at the machine."""

    cpus: Annotated[float, Field(gt=0, le=10_000)] | Auto = "auto"
    gpus: Annotated[float, Field(ge=0, le=1)] | Auto = Field(
        default="auto", description="of each cohort, which trains on one; a part of one: several cohorts share it"
    )
    cohorts: Annotated[int, Field(ge=1, le=10_000)] | Auto = "auto"
    lanes: Annotated[int, Field(ge=1, le=100_000)] | Auto = "auto"
    program: ProgramName | Auto | OwnProgram = "auto"
    precision: Literal["float32", "float64"] = "float32"
    patience: Annotated[float, Field(ge=1, le=1e6)] | Auto = Field(
        default="auto",
        description="seconds that one call of the task's code may take, a step or a validation batch, before its "
        "worker is ended; auto: a hundred times what calls took, at least one minute, at first ten",
    )

    @field_validator("program", mode="before")
    @classmethod
    def _is_known(cls, value: Any) -> Any:
        if isinstance(value, str) and value not in (*PROGRAMS, AUTO) and not is_reference(value):
            hint = nearest(value, (*PROGRAMS, AUTO)).removesuffix("?")
            raise ValueError(f"{shown(value)} is unknown; {hint}, or file.py:Class of your own")
        return value

    @field_validator("gpus", mode="before")
    @classmethod
    def _one_gpu(cls, value: Any) -> Any:
        if isinstance(value, int | float) and value > 1:
            raise ValueError(
                f"{shown(value)}; a cohort trains on one GPU and would leave the others idle: write 1 or less, and "
                "cohorts for how many train at once"
            )
        return value


def _named(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


class SweepSpec(Part):
    """One search, as a person describes it."""

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,39}$", description="letters, digits, - and _; at most 40")
    task: str = Field(
        max_length=4096,
        description=f"package.module:Class, path/file.py:Class, or a ready task: {', '.join(READY)}",
        json_schema_extra={"pattern": f"^([^:]+:[^:]+|{'|'.join(READY)})$"},  # whoever loads it says what is missing
    )
    task_options: dict[str, Annotated[Any, AfterValidator(all_finite)]] = Field(default={})
    optimizer: Annotated[
        OptimizerSpec, BeforeValidator(_named, json_schema_input_type=OptimizerSpec | OptimizerKind)
    ] = OptimizerSpec()
    schedule: Annotated[ScheduleSpec, BeforeValidator(_named, json_schema_input_type=ScheduleSpec | ScheduleKind)] = (
        ScheduleSpec()
    )
    budget: Budget = Budget()
    space: Space = Field(default_factory=lambda: Space.model_validate({}))
    trials: int = Field(default=32, ge=1, le=TRIALS_MOST)
    replicates: int = Field(
        default=1, ge=1, le=1000, description="seeds per configuration; the objective is their mean"
    )
    search: Search = Search()
    objective: Objective = Objective()
    stopping: Stopping | None = Field(default=None, description="successive halving; {} takes its defaults")
    ratios: RatiosSpec = RatiosSpec()
    health: HealthSpec = HealthSpec()
    watchers: tuple[str, ...] = Field(
        default=(), max_length=100, description="classes that look on: package.module:Class or file.py:Class"
    )
    resources: Resources = Resources()
    tracking_uri: str | None = Field(
        default=None, max_length=4096, description="an MLflow server or store; default: in the home"
    )

    @model_validator(mode="before")
    @classmethod
    def _as_a_worker_has_it(cls, value: Any) -> Any:
        return as_stored(value)

    @field_validator("stopping", mode="before")
    @classmethod
    def _fields(cls, value: Any) -> Any:
        if not isinstance(value, Mapping | Stopping | None):
            known = ", ".join(Stopping.model_fields)
            raise ValueError(f"{shown(value)}; write {{}} for the defaults, or some of its fields: {known}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> "SweepSpec":
        space, kind = self.space, self.optimizer.kind
        for name in ("momentum", "weight_decay"):
            if getattr(space, name) is not None and getattr(self.optimizer, name) is not None:
                raise ValueError(f"space.{name}: it stands under optimizer too; keep one of them")
        if kind != "sgd" and space.momentum is not None:
            raise ValueError(f"space.momentum: {kind} has no momentum; it takes {_takes(kind)}")
        if self.stopping is not None and self.budget.steps < 2:
            raise ValueError("stopping: a trial of one step has no rungs; leave stopping out")
        if self.stopping is not None and not self.objective.metric.startswith("valid_"):
            raise ValueError(
                "stopping: trials are scored by what a validation measures, which "
                f"{brief(self.objective.metric)} is not; "
                "seek a valid_ metric, or leave stopping out"
            )
        for name, low, high in _BOUNDS:
            if getattr(space, name) != AUTO or name != "lr_exponent":
                _check_numbers(name, getattr(space, name), low, high)
        for name in ("seed", "batch_size"):
            _check_whole(name, getattr(space, name), *((1, BATCH_MOST) if name == "batch_size" else (0, 2**63 - 1)))
        for name in ("lr_exponent", "decay_factor", "warmup", "seed"):
            if any(value is None for value in extremes(getattr(space, name))):
                raise ValueError(f"space.{name}: null; every trial needs one: give a number, a range or a list")
        if self.stopping is not None and self.round_trials:
            raise ValueError(
                f"search.repeatable: stopping ranks trials as they arrive, and {self.search.sampler} learns from those "
                "that it stops; leave one of them out, or search at random"
            )
        self._check_schedule()
        for name, domain in self.space.domains() if self.search.sampler == "gp" else ():
            if isinstance(domain, Range) and (domain.integer or domain.step) and domain.grid_size > GRID_MOST:
                raise ValueError(
                    f"space.{name}: {domain.grid_size:,} points; gp writes down those of a stepped or whole range, "
                    f"{GRID_MOST:,} at most: give a wider step, or another sampler"
                )
        if self.search.sampler == "grid":
            for name, domain in space.domains():
                if isinstance(domain, Range) and not (domain.integer or domain.step):
                    raise ValueError(f"space.{name}: a grid needs its points; give 'step', or a list")
            if (points := space.grid_size()) > GRID_MOST:
                raise ValueError(
                    f"space: a grid of {points:,} points; {GRID_MOST:,} at most: give wider steps or shorter lists, "
                    "or another sampler, which need not write them all down"
                )
        return self

    @property
    def trials_wanted(self) -> int:
        """How many trials are asked for; a grid has no more than its points."""
        return min(self.trials, self.space.grid_size()) if self.search.sampler == "grid" else self.trials

    @property
    def branches(self) -> int:
        """How many trials are proposed for one trunk; the points of a grid are proposed one by one."""
        return 1 if self.search.sampler == "grid" else self.space.branches

    @property
    def round_trials(self) -> int:
        """How many trials are asked for at once where a search must repeat; 0: as many as train, whenever some end.

        It depends on the spec alone, not on the machine.
        """
        if not self.search.repeatable or self.search.sampler not in LEARNING:
            return 0
        trials = max(ROUND_LEAST, -(-self.trials_wanted // ROUNDS))
        return -(-trials // self.branches) * self.branches

    def notes(self) -> list[str]:
        """Return what is taken as it stands, and may not do what its writer hopes."""
        search, said = self.search, []
        if "seed" in search.model_fields_set and search.sampler in LEARNING and not search.repeatable:
            said.append(
                f"search.seed: {search.sampler} goes on from the trials that have ended, so another run proposes other "
                "points; search.repeatable: true proposes the same"
            )
        if self.search.sampler == "gp" and self.stopping is not None:
            said.append(
                "search.sampler: gp learns from complete trials alone, and draws at random until there are 10; "
                "those that stopping ends teach it nothing, and tpe learns from them too"
            )
        return said

    def as_yaml(self) -> str:
        """Return the whole spec, defaults included, as YAML."""
        return yaml12.write(self.model_dump(mode="json"))

    def schedule_kinds(self) -> list[str]:
        """Return every schedule that a trial may have."""
        return [self.schedule.kind] if self.space.schedule is None else list(map(str, extremes(self.space.schedule)))

    def _check_schedule(self) -> None:
        space, kinds = self.space, self.schedule_kinds()
        for kind in kinds:
            if kind not in SCHEDULES:
                raise ValueError(f"space.schedule: unknown kind '{brief(kind)}'; {nearest(kind, SCHEDULES)}")
            if why := why_not_so_many_points(kind, space.most_points()):
                raise ValueError(f"space.decay_points: {why}")
        for name in ("floor", "power", "div"):
            for field, value in (
                (f"space.{name}", getattr(space, name)),
                (f"schedule.{name}", getattr(self.schedule, name)),
            ):
                if value is not None and not any(_takes_number(kind, name) for kind in kinds):
                    raise ValueError(f"{field}: schedule '{kinds[0]}' has none; {_taking(name)}")
            if getattr(space, name) is not None and getattr(self.schedule, name) is not None:
                raise ValueError(f"space.{name}: it stands under schedule too; keep one of them")
        floor = self.schedule.floor if space.floor is None else min(map(float, extremes(space.floor)))
        if "exponential" in kinds and floor == 0:
            raise ValueError("schedule.floor: an exponential never reaches 0; give a floor above it")
        if ("phases" in kinds) != bool(self.schedule.phases):
            raise ValueError("schedule.phases: they belong to kind 'phases', which needs them")


def _takes_number(kind: str, name: str) -> bool:
    return any(number.name == name for number in SCHEDULES[kind].numbers)


def _taking(name: str) -> str:
    kinds = [f"'{kind}'" for kind in SCHEDULES if _takes_number(kind, name)]
    return f"it is a number of {', '.join(kinds)}"


_BOUNDS = (
    ("lr_exponent", -40.0, 40.0),
    ("momentum", 0.0, 1.0),
    ("weight_decay", 0.0, 1e9),
    *((n.name, n.low, n.high) for n in (DECAY_FACTOR, WARMUP, FLOOR, POWER, DIV)),
)


def _check_numbers(name: str, domain: Any, low: float, high: float) -> None:
    below = name == "momentum"  # at 1 nothing is ever forgotten
    for value in extremes(domain) if domain is not None else []:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not low <= value <= high or (below and value == high):
            within = f"[{low:g}, {high:g}{')' if below else ']'}"
            instead = ", nor auto" if name == "lr_exponent" else ""
            raise ValueError(f"space.{name}: {shown(value)} is no number in {within}{instead}")


def _check_whole(name: str, domain: Any, least: int, most: int) -> None:
    for value in extremes(domain) if domain is not None else []:
        whole = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not whole or value != int(value) or not least <= value <= most:
            end = "2**63 - 1" if most == 2**63 - 1 else f"{most:,}"
            raise ValueError(f"space.{name}: {shown(value)} is no whole number from {least} to {end}")
    if isinstance(domain, Range) and not domain.integer:
        raise ValueError(f"space.{name}: a range of whole numbers needs 'integer: true'")


def _known_keys(path: Sequence[Any]) -> list[str]:
    model: Any = SweepSpec
    for part in path:
        field = getattr(model, "model_fields", {}).get(part)
        annotation = getattr(field, "annotation", None)
        annotation = next((kind for kind in get_args(annotation) if hasattr(kind, "model_fields")), annotation)
        if not hasattr(annotation, "model_fields"):
            return {"decay_points": ["count", "low", "high", "step", "branches"]}.get(
                str(path[-1]), list(Range.model_fields)
            )
        model = annotation
    return list(model.model_fields)


_TAGS = {"range", "choice", "list", "constant", "sampled", "points", "auto"}


_ALTERNATIVE = re.compile(r"(bool|int|float|str|none|constrained-.*|list\[.*\]|literal\[.*\])$")


def _path(error: Mapping[str, Any]) -> list[Any]:
    """Return the fields that lead to a mistake, up to where one of several types was tried."""
    path = [part for part in error["loc"] if part not in _TAGS and not str(part).startswith("function-")]
    end = next((i for i, part in enumerate(path) if _ALTERNATIVE.match(str(part))), len(path))
    return path[:end]


def _message(errors: Sequence[Mapping[str, Any]]) -> str:
    """Say in one sentence what is wrong with a field; of several types that it may have, each says its own."""
    error, path = errors[0], _path(errors[0])
    field = place(tuple(path)) if path else ""
    if error["type"] == "extra_forbidden":
        name = str(path[-1])
        return f"{field}: unknown field; {MEANT.get(name.lower()) or nearest(name, _known_keys(path[:-1]))}"
    if error["type"] == "missing":
        return f"{field}: missing; it is required"
    said = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{field}: {said}" if field else said
    others = dict.fromkeys(str(other["msg"]).removeprefix("Input should be ") for other in errors[1:])
    arrived = error.get("input")
    space = yaml12.missing_space(arrived) if isinstance(arrived, str) else ""
    wanted = ", or ".join([said[0].lower() + said[1:], *others])
    return f"{field or 'spec'}: {wanted}; {shown(arrived)} arrived{f', with {space}' if space else ''}"


def make_spec(fields: Any, source: str = "spec", stored: bool = False) -> SweepSpec:
    """Check a spec given as a dictionary. Raises BadInput naming each wrong field, what arrived and what would work.

    stored: this program wrote it down, as it took it before: exponents that look like rates are no slip there.
    """
    check_values(fields, source)
    if not isinstance(fields, Mapping):
        raise BadInput(f"{source}: a spec is a mapping with name, task, space ...; {type(fields).__name__} arrived")
    try:
        spec = SweepSpec.model_validate(dict(fields))
    except ValidationError as error:
        fields_: dict[str, list[Any]] = {}
        for item in error.errors(include_url=False):
            fields_.setdefault(".".join(map(str, _path(item))), []).append(item)
        named = list(map(_message, list(fields_.values())[:NAMED_MOST]))
        more = [f"and {len(fields_) - NAMED_MOST:,} more"] if len(fields_) > NAMED_MOST else []
        raise BadInput(f"{source}: {'; '.join(named + more)}") from error
    if not stored and spec.space.lr is None and (misread := misread_exponents(spec.space.lr_exponent)):
        raise BadInput(f"{source}: space.lr_exponent: {misread}")
    return spec


def merged(fields: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Return a spec's fields with others; a mapping changes what it names alone.

    >>> merged({"budget": {"steps": 10, "batch_size": 8}, "trials": 4}, {"budget": {"steps": 500}, "trials": 8})
    {'budget': {'steps': 500, 'batch_size': 8}, 'trials': 8}
    """
    out = dict(fields)
    for name, value in more.items():
        below = out.get(name)
        if isinstance(value, Mapping) and name != "task_options" and isinstance(below, Mapping | str):
            below = {"kind": below} if isinstance(below, str) else below
            twins = {_TWINS[key] for key in value if name == "space" and key in _TWINS}
            out[name] = {key: inner for key, inner in below.items() if key not in twins} | dict(value)
        else:
            out[name] = value
    return out


_TWINS = {"lr": "lr_exponent", "lr_exponent": "lr"}  # two ways to write one thing: the later one stands


def override(fields: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Apply `a.b=value` assignments (values are YAML) to a spec's fields.

    >>> override({"budget": {"steps": 10}}, ["budget.steps=500", "trials=8"])
    {'budget': {'steps': 500}, 'trials': 8}
    """
    paths = [assignment.partition("=")[0].strip() for assignment in assignments]
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path.strip():
            raise BadInput(f"--set {brief(assignment)}: write FIELD=VALUE, for example --set budget.steps=500")
        *parents, last = path.strip().split(".")
        here = fields
        for parent in parents:
            below = here.get(parent)
            if isinstance(below, str) and parent in ("optimizer", "schedule"):
                below = {"kind": below}
            here[parent] = dict(below) if isinstance(below, Mapping) else {}
            here = here[parent]
        here[last] = parse_yaml(text, f"--set {brief(path)}")
        if parents[:1] == ["space"] and (twin := _TWINS.get([*parents, last][1])):
            fields["space"].pop(twin, None)
        if (parents, last) == (["objective"], "metric") and "objective.mode" not in paths:
            here.pop("mode", None)  # which belonged to the other metric
    return fields


def load_spec(path: str, assignments: Sequence[str] = ()) -> SweepSpec:
    """Read a spec - a file, `-` for standard input, or the name of a ready sweep - and apply overrides.

    Raises BadInput for a missing file, invalid YAML or a wrong field. Files of a task, of data and of watchers are made
    absolute, so that workers find them.
    """
    fields, source, folder = read_fields(path, assignments)
    return make_spec(paths.found_files(fields, folder) if isinstance(fields, dict) else fields, source)


def read_fields(path: str, assignments: Sequence[str] = ()) -> tuple[Any, str, Path]:
    """Return a spec's fields as they are written, with overrides; how messages name it; and its folder."""
    text, source, folder = paths.spec_text(path)
    fields = parse_yaml(text, source)
    if fields is None:
        raise BadInput(f"{source}: the file is empty; a spec needs name and task at least")
    if isinstance(fields, dict):
        fields = override(fields, assignments)
        check_values(fields, source)
    return fields, source, folder
