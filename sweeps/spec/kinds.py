"""The optimizer and the schedule of a spec: built-in or user-defined. Their fields come from the registries."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    create_model,
    field_validator,
    model_validator,
)

from espalier.core.errors import BadInput
from espalier.core.loading.registry import Registry, is_reference
from espalier.core.numbers import Flag, Number, by_name
from espalier.core.optimizers import OPTIMIZERS
from espalier.core.schedules.phases import check_phases
from espalier.core.schedules.registry import SCHEDULES
from espalier.core.schedules.schedule import Phase
from espalier.sweeps.spec.space import Part, Space, all_finite, extremes

NAMED, OWN = "a named kind", "a kind of one's own"
REFERENCE = r"^[^:]+:[^:]+$"
Reference = Annotated[str, Field(pattern=REFERENCE, max_length=4096, description="file.py:Class, of your own")]
if TYPE_CHECKING:
    from espalier.core.optimizers.optimizer import Optimizer  # which imports torch
    from espalier.core.schedules.schedule import Schedule

    NumberedRegistry = Registry[Optimizer] | Registry[Schedule]
    OptimizerKind = str
    ScheduleKind = str
else:
    OptimizerKind = Literal[OPTIMIZERS.names]
    ScheduleKind = Literal[SCHEDULES.names]


def takers(registry: "NumberedRegistry", name: str) -> list[str]:
    """Return the kinds of a registry that take a number or a flag.

    >>> takers(SCHEDULES, "power"), takers(OPTIMIZERS, "momentum")
    (['polynomial'], ['sgd'])
    """
    return [kind for kind in registry if any(entry.name == name for entry in registry[kind].numbers)]


def taken(registry: "NumberedRegistry") -> dict[str, Number | Flag]:
    """Return the numbers and flags of all kinds of a registry, by name."""
    return by_name(*(registry[kind].numbers for kind in registry))


def _fields(registry: "NumberedRegistry") -> dict[str, Any]:
    """Return the possible fields beside a kind, as fields of a pydantic model."""
    fields: dict[str, Any] = {}
    for name, entry in taken(registry).items():
        if isinstance(entry, Flag):
            fields[name] = (bool, Field(default=entry.default, description=_described(registry, entry)))
        elif entry.home != "space":
            ends: dict[str, Any] = {
                "gt" if entry.above else "ge": entry.low,
                "lt" if entry.below else "le": entry.high if entry.fixed_high is None else entry.fixed_high,
            }
            fields[name] = (float | None, Field(default=None, description=_described(registry, entry), **ends))
    return fields


def _described(registry: "NumberedRegistry", entry: Number | Flag) -> str:
    kinds = takers(registry, entry.name)
    defaults = dict.fromkeys(n.default for k in kinds for n in registry[k].numbers if n.name == entry.name)
    default = f"; default {next(iter(defaults)):g}" if len(defaults) == 1 and isinstance(entry, Number) else ""
    either = "; may stand in the space instead" if isinstance(entry, Number) and entry.home == "both" else ""
    return f"{entry.doc}; of {', '.join(kinds)}{default}{either}"


class _OptimizerKind(Part):
    kind: OptimizerKind = "sgd"


class _ScheduleKind(Part):
    kind: ScheduleKind = "step"


_OptimizerNumbers = create_model("_OptimizerNumbers", __base__=_OptimizerKind, **_fields(OPTIMIZERS))
_ScheduleNumbers = create_model("_ScheduleNumbers", __base__=_ScheduleKind, **_fields(SCHEDULES))


class OptimizerSpec(_OptimizerNumbers):
    """The optimizer, and the numbers of its kind."""

    @model_validator(mode="after")
    def _takes_what_is_given(self) -> "OptimizerSpec":
        own = [entry.name for entry in OPTIMIZERS[self.kind].numbers]
        for name in taken(OPTIMIZERS):
            if name not in own and getattr(self, name):
                raise ValueError(f"{self.kind} has no {name}; it takes {', '.join(own)}")
        return self


class ScheduleSpec(_ScheduleNumbers):
    """The shape of the rate over the budget; a linear warm-up (space.warmup) can precede each kind."""

    phases: tuple[Phase, ...] = Field(
        default=(),
        max_length=100,
        description="phases only: [share of the budget, shape, from, to], rates as multiples of the peak",
    )

    @field_validator("phases")
    @classmethod
    def _right(cls, phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
        try:
            return tuple(check_phases(phases)) if phases else phases
        except BadInput as error:
            raise ValueError(str(error).partition(": ")[2]) from error


class OwnKind(BaseModel):
    """A user-defined class and its numbers, which are checked when it is loaded."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, Annotated[bool | int | float | None, AfterValidator(all_finite)]]

    kind: Reference

    @property
    def phases(self) -> tuple[Phase, ...]:
        """None: phases belong to the kind of that name."""
        return ()


def numbers_of(part: OptimizerSpec | ScheduleSpec | OwnKind) -> dict[str, bool | float]:
    """Return the numbers and flags beside a kind."""
    fields = dict(part)
    return {n: value for n, value in fields.items() if n not in ("kind", "phases") and value is not None}


def schedule_kinds(schedule: ScheduleSpec | OwnKind, space: Space) -> list[str]:
    """Return every schedule that a trial may have: those of the space; where it names none, the spec's own."""
    listed = [] if space.schedule is None else list(map(str, extremes(space.schedule)))
    return [*listed, schedule.kind] if not listed or "schedule" in space.conditions else listed


def as_kind(value: object) -> object:
    """Return a kind given by name alone as a mapping."""
    return {"kind": value} if isinstance(value, str) else value


def whose_kind(value: object) -> str:
    """Return the tag of a kind: built-in or user-defined."""
    kind = value.get("kind") if isinstance(value, Mapping) else getattr(value, "kind", None)
    return OWN if is_reference(kind) else NAMED


AnyOptimizer = Annotated[
    Annotated[OptimizerSpec, Tag(NAMED)] | Annotated[OwnKind, Tag(OWN)],
    Discriminator(whose_kind),
    BeforeValidator(as_kind, json_schema_input_type=OptimizerSpec | OwnKind | OptimizerKind | Reference),
]
AnySchedule = Annotated[
    Annotated[ScheduleSpec, Tag(NAMED)] | Annotated[OwnKind, Tag(OWN)],
    Discriminator(whose_kind),
    BeforeValidator(as_kind, json_schema_input_type=ScheduleSpec | OwnKind | ScheduleKind | Reference),
]
