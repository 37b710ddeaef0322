"""What a hyperparameter may be: a constant, a range or a choice, each perhaps only where a condition holds."""

import math
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from espalier.sweeps.spec.values import Fields

T = TypeVar("T")


def all_finite(value: T) -> T:
    """Return a value unchanged. Raises ValueError for NaN and infinity at any depth, since JSON has none."""
    waiting: list[object] = [value]
    seen: set[int] = set()
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, float) and not math.isfinite(inner):
            raise ValueError(f"{inner!r} is no finite number")
        if isinstance(inner, Mapping | list | tuple) and id(inner) not in seen:
            seen.add(id(inner))  # YAML's aliases may repeat, or be recursive
            waiting += inner.values() if isinstance(inner, Mapping) else inner
    return value


WHOLE_MOST = 2**53  # the ends of a range are floats, exact for whole numbers up to this
STEPS_MOST = 1e20  # points in a range; Optuna counts them with 28 digits
Scalar = Annotated[bool | int | float | str | None, AfterValidator(all_finite)]
Point = dict[str, Any]
"""Values by hyperparameter."""


def union_members(annotation: Any) -> Iterator[Any]:
    """Yield the types of a field: the members of a union, but not the items of a list.

    >>> list(union_members(int | Annotated[float, "of a kind"] | list[str]))
    [<class 'int'>, <class 'float'>, list[str]]
    """
    if get_origin(annotation) is Annotated:
        yield from union_members(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for kind in get_args(annotation):
            yield from union_members(kind)
    else:
        yield annotation


class Part(BaseModel):
    """The base of the parts of a spec: refuses unknown keys, NaN, infinity, and true or false for a number."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: object, field: ValidationInfo) -> object:
        if isinstance(value, bool) and field.field_name:
            kinds = set(union_members(cls.model_fields[field.field_name].annotation))
            if kinds & {int, float} and bool not in kinds:
                raise ValueError(f"{value} is no number")
        return value


def _as_lists(when: object) -> object:
    """Return conditions with a list of values for each name."""
    if not isinstance(when, Mapping):
        return when
    return {name: value if isinstance(value, list | tuple) else [value] for name, value in when.items()}


When = Annotated[
    dict[str, Annotated[list[Scalar | list[float]], Field(min_length=1)]],
    Field(min_length=1),
    BeforeValidator(_as_lists, json_schema_input_type=dict[str, Scalar | list[Scalar | list[float]]]),
]
"""By hyperparameter, the values of which each has to have one."""
WHEN = "where it exists: {optimizer: sgd}, a value or a list of values for each name; all must hold"


class Conditional(Part):
    """The base of domains that may have a condition."""

    @model_serializer(mode="wrap")
    def _without_no_condition(self, serialize: SerializerFunctionWrapHandler) -> Fields:
        fields = serialize(self)
        if fields.get("when") is None:
            fields.pop("when", None)  # a spec without conditions is stored as it always was
        return fields


class Range(Conditional):
    """Numbers from low to high: on a linear or logarithmic scale, stepped, or whole."""

    low: float
    high: float
    log: bool = False
    step: float | None = Field(default=None, gt=0)
    integer: bool = Field(default=False, description="whole numbers, up to 2**53")
    when: When | None = Field(default=None, description=WHEN)

    @model_validator(mode="after")
    def _ordered(self) -> "Range":
        if self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}; low must not exceed high")
        if self.log and self.low <= 0:
            raise ValueError(f"low {self.low:g} with log; a logarithmic range must lie above 0")
        if self.log and self.step is not None:
            raise ValueError("log and step exclude each other; leave one out")
        if not math.isfinite(self.high - self.low):
            raise ValueError(f"from {self.low:g} to {self.high:g} is farther than any number; give a shorter range")
        if self.step is not None and (self.high - self.low) / self.step > STEPS_MOST:
            raise ValueError(f"step {self.step:g} is too small for {self.low:g} ... {self.high:g}: above 1e20 points")
        if self.integer and max(abs(self.low), abs(self.high)) > WHOLE_MOST:
            raise ValueError(f"{self.low:g} ... {self.high:g} with integer; whole numbers go up to 2**53")
        if self.integer and (self.low != int(self.low) or self.high != int(self.high)):
            raise ValueError(f"{self.low:g} ... {self.high:g} with integer; both ends must be whole numbers")
        if self.integer and self.step is not None and self.step != int(self.step):
            raise ValueError(f"step {self.step:g} with integer; whole numbers lie a whole number apart")
        return self

    @property
    def grid_size(self) -> int:
        """The number of its points on a grid: `step` apart, or 1 for whole numbers."""
        return int(min((self.high - self.low) / (self.step or 1) + 1e-9, 1e18)) + 1


class Choice(Conditional):
    """One of the values listed. A plain list means the same."""

    choices: list[Scalar | list[float]] = Field(min_length=1)
    when: When | None = Field(default=None, description=WHEN)


class Constant(Part):
    """A single value, where a condition holds. Without one the value stands alone."""

    value: Scalar
    when: When = Field(description=WHEN)


def _kind(value: object) -> str:
    if isinstance(value, Range | Choice | Constant):
        return type(value).__name__.lower()
    if isinstance(value, Mapping):
        return "choice" if "choices" in value else "constant" if "value" in value else "range"
    return "list" if isinstance(value, list) else "plain"


Domain = Annotated[
    Annotated[Range, Tag("range")]
    | Annotated[Choice, Tag("choice")]
    | Annotated[Constant, Tag("constant")]
    | Annotated[list[Scalar], Field(min_length=1), Tag("list")]
    | Annotated[Scalar, Tag("plain")],
    Discriminator(_kind),
]
"""A constant (0.1), a range ({low: -3, high: 0}) or a choice ([a, b] or {choices: [a, b]}).

With `when` each exists only where a condition holds; a constant is then {value: 0.1, when: ...}.
"""


def extremes(domain: Domain) -> list[Any]:
    """Return the values of a choice, both ends of a range, or the value of a constant.

    >>> extremes(Range(low=1, high=4, integer=True)), extremes([5, 7]), extremes(0.1)
    ([1, 4], [5, 7], [0.1])
    """
    if isinstance(domain, Range):
        return [int(end) if domain.integer else end for end in (domain.low, domain.high)]
    if isinstance(domain, Constant):
        return [domain.value]
    return list(domain.choices) if isinstance(domain, Choice) else domain if isinstance(domain, list) else [domain]


def constant(domain: Domain) -> Any:
    """Return the value of a constant; any other domain unchanged."""
    return domain.value if isinstance(domain, Constant) else domain


def points_of(domain: Domain) -> Iterator[Any]:
    """Yield every value of a domain; those of a range lie `step` apart, or 1 for whole numbers.

    >>> list(points_of(Range(low=0.1, high=0.5, step=0.25))), list(points_of([5, 7]))
    ([0.1, 0.35], [5, 7])
    """
    if not isinstance(domain, Range):
        yield from extremes(domain)
        return
    for k in range(domain.grid_size):
        value = min(domain.low + k * (domain.step or 1), domain.high)
        yield int(value) if domain.integer else value


def same(one: object, other: object) -> bool:
    """Whether two values are one, whatever their spelling: 1 and 1.0 are, 1 and true are not.

    >>> same(1, 1.0), same(1, True), same([0.5], [0.5]), same("a", "b")
    (True, False, True, False)
    """
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
    return one == other


def size(domain: Range | Choice) -> int:
    """Return how many values a domain has; those of a range lie `step` apart, or 1 for whole numbers."""
    return len(domain.choices) if isinstance(domain, Choice) else domain.grid_size


def whole_name(name: str) -> str:
    """Return the hyperparameter that a sampled name belongs to: each decay point to `decay_points`.

    >>> whole_name("decay_point_2"), whole_name("momentum")
    ('decay_points', 'momentum')
    """
    return "decay_points" if name.startswith("decay_point") else name
