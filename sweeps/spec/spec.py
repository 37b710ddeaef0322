"""SweepSpec: the only schema, used by YAML, the command line, HTTP and Ray."""

import math
import shlex
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from espalier.core.errors import BadInput, shown
from espalier.core.loading.ready import READY
from espalier.sweeps.spec import paths, rules, yaml12
from espalier.sweeps.spec.classes import with_references
from espalier.sweeps.spec.first import check_first, first_points
from espalier.sweeps.spec.kinds import AnyOptimizer, AnySchedule, OptimizerSpec, ScheduleSpec, schedule_kinds
from espalier.sweeps.spec.meaning import misread_exponents
from espalier.sweeps.spec.messages import messages
from espalier.sweeps.spec.notify import Notify
from espalier.sweeps.spec.overrides import override
from espalier.sweeps.spec.parts import (
    AUTO,
    BY_PIECES,
    Auto,
    Budget,
    HealthSpec,
    Objective,
    RatiosSpec,
    Resources,
    Results,
    Search,
)
from espalier.sweeps.spec.space import Part, Point, Space, all_finite
from espalier.sweeps.spec.stopping import Stopping
from espalier.sweeps.spec.values import WHOLE, as_stored, check_values
from espalier.sweeps.spec.yaml12 import read as parse_yaml

TRIALS_MOST = 1_000_000
ROUNDS, ROUND_LEAST = 4, 8  # of a repeatable search: how many rounds, and trials in each
PIECES_RUNGS = (0.05, 0.15, 0.25, 0.5)  # where trunks are scored and parked; fitted on tables of whole trainings
TRAININGS_A_TRIAL = 0.4  # of a search by pieces: what successive halving leaves of the work of as many trials
TRAININGS_LEAST = 4  # if there are as many trials: with fewer no answer would be of any use


def _with_from(schema: dict[str, Any]) -> None:
    """Add `from` to the JSON schema, which pydantic could not have as the name of an attribute."""
    description = (
        "another sweep, whose knowledge the search begins with where the spaces overlap: its id, or a name, which "
        "means its latest. Its trials are hints, doubted where this sweep's results differ, and no trials of this one"
    )
    fields = schema["properties"]
    entry = {"default": "", "description": description, "maxLength": 4096, "title": "From", "type": "string"}
    order = [name for name in fields if name != "learn_from"]
    at = order.index("trials")
    names = [*order[:at], "from", "learn_from", *order[at:]]
    schema["properties"] = {name: entry if name == "from" else fields[name] for name in names}


class SweepSpec(Part):
    """The spec of a sweep."""

    model_config = ConfigDict(json_schema_extra=_with_from)

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,39}$", description="letters, digits, - and _; at most 40")
    function: str = Field(
        default="",
        max_length=4096,
        description="in place of task, a function of your own loop, each trial in a process: path/file.py:train or "
        "package.module:train, as def train(config, report)",
        json_schema_extra={"pattern": "^([^:]+:[^:]+|)$"},
    )
    command: tuple[str, ...] = Field(
        default=(),
        max_length=1000,
        description='in place of task, a command: [python, train.py, "${args}"], or one text. ${args} becomes '
        "--name value for each hyperparameter named nowhere else, ${json} all as one JSON object, ${NAME} one value",
    )
    task: str = Field(
        default="",
        validate_default=True,
        max_length=4096,
        description=f"what trains, as lanes: package.module:Class, path/file.py:Class, or a ready task: "
        f"{', '.join(READY)}",
        json_schema_extra={"pattern": f"^([^:]+:[^:]+|{'|'.join(READY)}|)$"},  # loading it reports what is missing
    )
    results: Results = Results()
    share: Literal["nothing", "checkpoints"] = Field(
        default="nothing",
        description="of a function or a command: checkpoints lets trials with the same history so far share it, and "
        "trials be parked and continued; the code must save where report.due says so, go on from report.resume, and "
        "take its rate from config.lr_at or config.torch_scheduler",
    )
    acts_later: tuple[str, ...] = Field(
        default=(),
        max_length=1000,
        description="of a function or a command: hyperparameters that change nothing in the first steps; any other "
        "that changes nothing there is refused, since the code may not read it",
    )
    task_options: dict[str, Annotated[Any, AfterValidator(all_finite)]] = Field(default={})
    optimizer: AnyOptimizer = OptimizerSpec()
    schedule: AnySchedule = ScheduleSpec()
    budget: Budget = Budget()
    space: Space = Field(default_factory=lambda: Space.model_validate({}))
    first: list[dict[str, Annotated[Any, AfterValidator(all_finite)]]] = Field(
        default=[],
        max_length=1000,
        description="points that are trained first, in this order: {lr: 0.001, momentum: 0.9}, what is left out is the "
        "sampler's; {best: SWEEP} or {top: 3, of: SWEEP} takes those of another sweep",
    )
    learn_from: str = Field(
        default="",
        max_length=4096,
        description="the same as `from`, for Python, where that is a word of the language",
    )
    trials: int = Field(default=32, ge=1, le=TRIALS_MOST)
    replicates: int = Field(
        default=1, ge=1, le=1000, description="seeds per configuration; the objective is their mean"
    )
    confirm: int = Field(
        default=0,
        ge=0,
        le=1000,
        description="how many of the best trials are trained once more, each under another seed, when the search has "
        "ended: the results then know the noise, and which trials cannot be told from the best",
    )
    references: bool | Auto = Field(
        default="auto",
        description="train also what an untuned run would be, once each: AdamW at 0.001 with a cosine, and "
        "schedule-free SGD and AdamW at their defaults; the results then say what tuning gained. auto: those that "
        "take at most 3 % of the sweep's work",
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
    notify: Notify | None = Field(
        default=None, description="who is told of the first result, of a failure, and of the end"
    )
    tracking_uri: str | None = Field(
        default=None, max_length=4096, description="an MLflow server or store; default: in the home"
    )

    def __init__(self, **fields: Any):
        """Make a spec of fields, as `make_spec` does; the task and own kinds may be classes. Raises BadInput."""
        fields = with_references(fields, None)
        check_values(fields, "spec")
        with _one_sentence("spec"):
            super().__init__(**fields)
        _check_exponents(self, "spec")

    # or pydantic would call it while it validates a dictionary, whose errors make_spec words itself
    __init__.__pydantic_base_init__ = True  # pyright: ignore[reportFunctionMemberAccess]

    @model_validator(mode="before")
    @classmethod
    def _as_a_worker_has_it(cls, value: object) -> object:
        return rules.with_full_names(as_stored(value))

    @field_validator("stopping", mode="before")
    @classmethod
    def _fields(cls, value: object) -> object:
        if not isinstance(value, Mapping | Stopping | None):
            known = ", ".join(Stopping.model_fields)
            raise ValueError(f"{shown(value)}; write {{}} for the defaults, or some of its fields: {known}")
        return value

    @field_validator("task")
    @classmethod
    def _trains_something(cls, task: str, info: ValidationInfo) -> str:
        if not task and "function" in info.data and "command" in info.data:
            rules.check_ways(info.data | {"task": task})
        return task

    @field_validator("command", mode="before")
    @classmethod
    def _words(cls, value: object) -> object:
        return rules.command_words(value)

    @model_validator(mode="after")
    def _consistent(self) -> "SweepSpec":
        way = rules.check_ways(vars(self))
        if self.is_foreign:
            object.__setattr__(self, "space", rules.foreign_space(self.space))
            rules.check_acts_later(self.acts_later, self.space)
            rules.check_for_process(way, self, self.resources, self.space, self.stopping, self.search)
        else:
            rules.check_for_task(self, self.resources)
        if self.search.sampler == AUTO:
            sampler = rules.default_sampler(self.budget, self.objective, self.space, self.is_foreign)
            if self.is_foreign and self.share == "nothing" and sampler == BY_PIECES:
                sampler = "tpe"
            # frozen; and pydantic ignores what a validator returns where a spec is made by its class
            object.__setattr__(self, "search", self.search.model_copy(update={"sampler": sampler}))
        if not self.is_foreign:
            rules.check_optimizer(self.optimizer, self.space)
        rules.check_stopping(self.stopping, self.budget, self.objective, self.search, self.is_foreign)
        rules.check_space(self.space, self.is_foreign)
        rules.check_schedule(self.schedule, self.space)
        rules.check_grid(self.search, self.space)
        rules.check_from(self.learn_from, self.search)
        rules.check_time(self.search, self.budget, self.resources)
        rules.check_pieces(self.search, self.budget, self.objective, self.space, self.is_foreign)
        if self.first:
            trunks = -(-self.trials_wanted // self.branches) if self.counts_trials else math.inf
            check_first(self.first, self.space, trunks)
        return self

    @property
    def first_points(self) -> list[Point]:
        """The points that are trained first, by the names of sampled domains."""
        return first_points(self.first, self.space) if self.first else []

    @property
    def is_foreign(self) -> bool:
        """Whether a function or a command trains, each trial in a process of its own."""
        return not self.task

    @property
    def way(self) -> str:
        """Which of task, function and command trains."""
        return rules.check_ways(vars(self))

    @property
    def trained(self) -> str:
        """What trains, in messages and records: the task, the function, or the command."""
        return self.task or self.function or shlex.join(self.command)

    @property
    def trials_wanted(self) -> int:
        """The number of trials; a grid has at most its points, and a search by pieces at most about so many."""
        if self.search.sampler == "grid":
            return min(self.trials, self.space.grid_size())
        if self.search.by_pieces and self.budget.trainings is not None:
            return math.ceil(self.budget.trainings / TRAININGS_A_TRIAL)
        return self.trials

    def trials_until_over(self, asked: int) -> int:
        """Return how many trials an open-ended search is to have, as far as is known before it ends. asked: so far."""
        return self.trials if self.counts_trials else asked + 1

    @property
    def counts_trials(self) -> bool:
        """Whether the budget is a number of trials."""
        return self.budget.trainings is None and self.budget.seconds is None

    @property
    def trainings(self) -> float:
        """What a search by pieces may train, in full trainings."""
        if self.budget.trainings is not None:
            return self.budget.trainings
        return max(float(min(self.trials, TRAININGS_LEAST)), TRAININGS_A_TRIAL * self.trials)

    @property
    def open_ended(self) -> bool:
        """Whether the number of trials is not known beforehand."""
        return self.search.by_pieces or self.budget.seconds is not None

    @property
    def asks_late(self) -> bool:
        """Whether each trunk is asked for when a lane falls free: then the results are known by then, and the time."""
        return self.search.asks_late or self.budget.seconds is not None

    @property
    def scored(self) -> Stopping | None:
        """When trials are scored, and by what; None if they are not."""
        return self.stopping or (Stopping(rungs=PIECES_RUNGS) if self.search.by_pieces else None)

    @property
    def branches(self) -> int:
        """The number of trials proposed for each trunk; those of a grid and of pieces are proposed one by one."""
        return 1 if self.search.sampler in ("grid", BY_PIECES) else self.space.branches

    @property
    def round_trials(self) -> int:
        """The number of trials in a round of a repeatable search; 0: new trials are asked for whenever some end.

        It depends on the spec alone, not on the machine.
        """
        if not self.search.in_rounds:
            return 0
        trials = max(ROUND_LEAST, -(-self.trials_wanted // ROUNDS))
        return -(-trials // self.branches) * self.branches

    def notes(self) -> list[str]:
        """Return notes on valid fields that may not do what the author expects."""
        search, notes = self.search, self.notify.notes() if self.notify else []
        if "seed" in search.model_fields_set and search.learns and not search.repeatable:
            notes.append(
                f"search.seed: {search.sampler} goes on from the trials that have ended, so another run proposes other "
                "points; search.repeatable: true proposes the same"
            )
        if self.budget.time_text and "trials" in self.model_fields_set:
            notes.append(
                f"trials: the search ends when {self.budget.time_text} are over, however many there are by then"
            )
        if self.search.sampler == "gp" and self.stopping is not None:
            notes.append(
                "search.sampler: gp learns from complete trials alone, and draws at random until there are 4; "
                "those that stopping ends teach it nothing, and tpe learns from them too"
            )
        return notes + (self._notes_on_pieces() if search.by_pieces else [])

    def _notes_on_pieces(self) -> list[str]:
        """Return notes on fields that are of the samplers of whole trials."""
        notes: list[str] = []
        if self.stopping is not None and self.stopping.model_fields_set & {"reduction", "least"}:
            notes.append(
                "stopping: thaw takes its rungs and its score, and ends nothing by rank: what does not pay is not "
                "continued; search.sampler: tpe ends the worse by reduction and least"
            )
        if self.space.branches > 1:
            notes.append(
                "space.decay_points.branches: thaw branches a trunk where and as often as it pays; "
                "search.sampler: tpe has so many branches a trunk"
            )
        if any("decay_point" in name for point in self.first_points for name in point):
            notes.append("first: where trials share trunks, thaw itself decides where they decay, also of first points")
        if self.budget.trainings is not None and "trials" in self.model_fields_set:
            notes.append(f"trials: budget.trainings says how much is trained, so {self.trials} is not used")
        return notes

    def as_yaml(self) -> str:
        """Return the whole spec, defaults included, as YAML."""
        return yaml12.write(self.model_dump(mode="json"))

    def schedule_kinds(self) -> list[str]:
        """Return every schedule that a trial may have."""
        return schedule_kinds(self.schedule, self.space)


def make_spec(fields: object, source: str = "spec", stored: bool = False) -> SweepSpec:
    """Check a spec given as a dictionary. Raises BadInput naming each wrong field, what arrived and what would work.

    stored: the spec was accepted before and stored: exponents that look like rates are then correct.
    """
    check_values(fields, source)
    if not isinstance(fields, Mapping):
        raise BadInput(f"{source}: a spec is a mapping with name, task, space ...; {type(fields).__name__} arrived")
    with _one_sentence(source):
        spec = SweepSpec.model_validate(dict(fields))
    if not stored:
        _check_exponents(spec, source)
    return spec


def whole_fields(spec: SweepSpec, **options: Any) -> dict[str, Any]:
    """Return the fields of a spec with its secrets: for whoever makes a spec of them again, and for nobody else."""
    return spec.model_dump(mode="json", context=WHOLE, **options)


@contextmanager
def _one_sentence(source: str) -> Generator[None]:
    """Turn pydantic's error on the fields of a spec into BadInput of one line."""
    try:
        yield
    except ValidationError as error:
        raise BadInput(f"{source}: {messages(error, SweepSpec)}") from error


def _check_exponents(spec: SweepSpec, source: str) -> None:
    """Raise BadInput for exponents that look like rates."""
    exponents: Any = spec.space.lr_exponent  # None where a function or a command trains, and no rate is searched
    if spec.space.lr is None and exponents is not None and (misread := misread_exponents(exponents)):
        raise BadInput(f"{source}: space.lr_exponent: {misread}")


def load_spec(path: str, assignments: Sequence[str] = ()) -> SweepSpec:
    """Read a spec - a file, `-` for standard input, or the name of a ready sweep - and apply overrides.

    Raises BadInput for a missing file, invalid YAML or a wrong field. Paths of tasks, data and watchers are made
    absolute, so that workers find them.
    """
    fields, source, folder = read_fields(path, assignments)
    return make_spec(paths.found_files(fields, folder) if isinstance(fields, dict) else fields, source)


def read_fields(path: str, assignments: Sequence[str] = ()) -> tuple[Any, str, Path]:
    """Return a spec's fields as written, with overrides; its name in messages; and its folder."""
    text, source, folder = paths.spec_text(path)
    fields = parse_yaml(text, source)
    if fields is None:
        raise BadInput(f"{source}: the file is empty; a spec needs name and task at least")
    if isinstance(fields, dict):
        fields = override(fields, assignments)
        check_values(fields, source)
    return fields, source, folder
