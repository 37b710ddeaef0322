"""The search space: its domains, which parts are structural, and how to complete a sampled point.

A domain is a constant, a range or a choice. A point is a dictionary from hyperparameter names to values.
"""

import math
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    ValidationInfo,
    create_model,
    field_validator,
    model_serializer,
    model_validator,
)

from espalier.core.errors import shown
from espalier.core.loading.registry import Registry
from espalier.core.numbers import Number, by_name
from espalier.core.optimizers import OPTIMIZERS
from espalier.core.schedules.registry import SCHEDULES
from espalier.core.schedules.step import DECAY_FACTOR
from espalier.core.schedules.warmup import WARMUP
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
RATES = (1e-40, 1e40)
Scalar = Annotated[bool | int | float | str | None, AfterValidator(all_finite)]
Point = dict[str, Any]


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


class Range(Part):
    """Numbers from low to high: on a linear or logarithmic scale, stepped, or whole."""

    low: float
    high: float
    log: bool = False
    step: float | None = Field(default=None, gt=0)
    integer: bool = Field(default=False, description="whole numbers, up to 2**53")

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


class Choice(Part):
    """One of the values listed. A plain list means the same."""

    choices: list[Scalar | list[float]] = Field(min_length=1)


def _kind(value: object) -> str:
    if isinstance(value, Range | Choice):
        return "range" if isinstance(value, Range) else "choice"
    if isinstance(value, Mapping):
        return "choice" if "choices" in value else "range"
    return "list" if isinstance(value, list) else "constant"


Domain = Annotated[
    Annotated[Range, Tag("range")]
    | Annotated[Choice, Tag("choice")]
    | Annotated[list[Scalar], Field(min_length=1), Tag("list")]
    | Annotated[Scalar, Tag("constant")],
    Discriminator(_kind),
]
"""A constant (0.1), a range ({low: -3, high: 0}) or a choice ([a, b] or {choices: [a, b]})."""


def extremes(domain: Domain) -> list[Any]:
    """Return the values of a choice, both ends of a range, or the value of a constant.

    >>> extremes(Range(low=1, high=4, integer=True)), extremes([5, 7]), extremes(0.1)
    ([1, 4], [5, 7], [0.1])
    """
    if isinstance(domain, Range):
        return [int(end) if domain.integer else end for end in (domain.low, domain.high)]
    return list(domain.choices) if isinstance(domain, Choice) else domain if isinstance(domain, list) else [domain]


AUTO = "auto"  # an exponent range to be set by a range test
_EXPONENTS = Range(low=-3.0, high=0.0)


def exponents_of(rates: Domain) -> Domain:
    """Return a domain of rates as one of exponents, by log10. The rates are above 0.

    >>> exponents_of([0.1, 0.01]), exponents_of(Range(low=1e-4, high=0.1, log=True)).low, exponents_of("auto")
    ([-1.0, -2.0], -4.0, 'auto')
    """
    if isinstance(rates, Range):
        return Range(low=math.log10(rates.low), high=math.log10(rates.high))
    if isinstance(rates, Choice):
        return Choice(choices=[_exponent(rate) for rate in rates.choices])
    if isinstance(rates, list):
        return [_exponent(rate) for rate in rates]
    return rates if rates == AUTO else _exponent(rates)


def _exponent(rate: object) -> float:
    assert isinstance(rate, int | float)  # checked by _check_rates
    return math.log10(rate)


def _check_rates(rates: Domain) -> None:
    for rate in extremes(rates):
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not RATES[0] <= rate <= RATES[1]:
            raise ValueError(f"{shown(rate)} is no rate; give numbers above 0, or auto")
    if isinstance(rates, Range) and (rates.integer or rates.step is not None):
        raise ValueError("a range of rates has neither step nor integer; list the rates, as [0.1, 0.03, 0.01]")
    if isinstance(rates, Range) and not rates.log:
        raise ValueError(
            f"from {rates.low:g} to {rates.high:g} on a linear scale, which would hardly try the small ones; "
            "write log: true, or list the rates"
        )


class DecayPoints(Part):
    """Where the rate decays, as shares of the budget: `count` points in [low, high], `branches` for each trunk."""

    count: int = Field(default=1, ge=1, le=16)
    low: float = Field(default=0.3, ge=0, le=1)
    high: float = Field(default=0.9, ge=0, le=1)
    step: float | None = Field(default=None, ge=1e-9, le=1)
    branches: int = Field(default=1, ge=1, le=1024)

    @model_validator(mode="after")
    def _ordered(self) -> "DecayPoints":
        if self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}; low must not exceed high")
        return self

    @property
    def names(self) -> list[str]:
        """The names of the sampled points."""
        return ["decay_point"] if self.count == 1 else [f"decay_point_{i}" for i in range(1, self.count + 1)]


Share = Annotated[float, Field(ge=0, le=1)]


def _points_kind(value: object) -> str:
    if isinstance(value, Choice) or (isinstance(value, Mapping) and "choices" in value):
        return "choice"
    return "points" if isinstance(value, list) else "sampled"


_Domain: Any = Domain | None  # pyright: ignore[reportOperatorIssue]


def _searched(registry: Registry[Any]) -> dict[str, Any]:
    """Return the searchable numbers of a registry's kinds as fields of a pydantic model, with default None."""
    taken = by_name(*(registry[kind].numbers for kind in registry))
    return {
        name: (
            _Domain,
            Field(default=None, description=f"{number.doc[:1].upper()}{number.doc[1:]}."),
        )
        for name, number in taken.items()
        if isinstance(number, Number) and number.home == "both"
    }


class _Rates(BaseModel):
    """The fields of a space, in the order in which a search draws them."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, Domain]

    lr: Domain | None = Field(
        default=None,
        description="Peak rates, another way to write lr_exponent: {low: 1e-4, high: 0.1, log: true}, [0.1, 0.01], "
        "0.1, or auto.",
    )
    lr_exponent: Domain = Field(
        default=_EXPONENTS,
        validate_default=True,
        description="The peak rate is 10 ** lr_exponent; auto: a range test finds it.",
    )
    decay_points: (
        Annotated[
            Annotated[DecayPoints, Tag("sampled")]
            | Annotated[list[Share], Tag("points")]
            | Annotated[Choice, Tag("choice")],
            Discriminator(_points_kind),
        ]
        | None
    ) = Field(default=None, description="Shares of the budget at which the rate is multiplied by decay_factor.")
    decay_factor: Domain = DECAY_FACTOR.default


_WithOptimizers = create_model("_WithOptimizers", __base__=_Rates, **_searched(OPTIMIZERS))


class _WithWarmup(_WithOptimizers):
    warmup: Domain = Field(default=WARMUP.default, description="Share of the budget over which the rate rises from 0.")


_WithSchedules = create_model("_WithSchedules", __base__=_WithWarmup, **_searched(SCHEDULES))


class Space(_WithSchedules):
    """Hyperparameters by name. Other names are the task's own, and structural,

    or numbers of a user-defined schedule or optimizer.
    """

    schedule: Domain | None = Field(default=None, description="Kinds to choose from; structural.")
    seed: Domain = 0
    batch_size: Domain | None = Field(default=None, description="Overrides budget.batch_size; structural.")

    @field_validator("lr")
    @classmethod
    def _are_rates(cls, rates: Domain | None) -> Domain | None:
        if rates is not None and rates != AUTO:
            _check_rates(rates)
        return rates

    @field_validator("lr_exponent", mode="before")
    @classmethod
    def _from_rates(cls, value: object, info: ValidationInfo) -> object:
        low = value.get("low") if isinstance(value, Mapping) and value.get("log") is True else None
        if isinstance(low, int | float) and low <= 0:
            raise ValueError(
                f"low {low:g} with log; a logarithmic range must lie above 0, and exponents are logarithms already: "
                "leave log out"
            )
        rates = info.data.get("lr")
        if rates is not None and value is not _EXPONENTS:
            raise ValueError("lr stands in the space too; keep one of them")
        return value if rates is None else exponents_of(rates)

    @model_serializer(mode="wrap")
    def _as_written(self, serialize: SerializerFunctionWrapHandler) -> Fields:
        """Serialize the one of lr and lr_exponent that was given."""
        fields = serialize(self)
        fields.pop("lr_exponent" if self.lr is not None else "lr", None)
        return fields

    @field_validator("decay_points", mode="before")
    @classmethod
    def _choices_are_shares(cls, value: object) -> object:
        if not isinstance(value, Mapping | list | tuple | DecayPoints | Choice | None):
            raise ValueError(f"{value!r}; write shares, as [0.5], or a range, as {{low: 0.3, high: 0.9}}")
        if isinstance(value, Mapping) and "choices" in value and len(value) > 1:
            others = ", ".join(str(name) for name in value if name != "choices")
            raise ValueError(f"{others} with choices; a list of choices stands alone, and a range takes {others}")
        listed = value.get("choices") if isinstance(value, Mapping) else [p for p in value or [] if isinstance(p, bool)]
        for points in listed if isinstance(listed, list | tuple) else []:
            for point in points if isinstance(points, list | tuple) else [points]:
                if not isinstance(point, int | float) or isinstance(point, bool) or not 0 <= point <= 1:
                    raise ValueError(f"a decay point of {point!r}; decay points are shares of the budget in [0, 1]")
        return value

    def own(self) -> dict[str, Domain]:
        """Return the domains of the task's own hyperparameters, and of the numbers of user-defined kinds."""
        return dict(self.__pydantic_extra__ or {})

    def engine_fields(self) -> list[str]:
        """Return the hyperparameters of every task that are a single number: all except the decay points."""
        return [name for name in ENGINE if name != "decay_points"]

    def domains(self) -> Iterator[tuple[str, Range | Choice]]:
        """Yield the domains to sample, by name, without constants."""
        points = self.decay_points
        if isinstance(points, DecayPoints):
            for name in points.names:
                yield name, Range(low=points.low, high=points.high, step=points.step)
        elif isinstance(points, Choice):
            yield "decay_points", points
        named = {name: getattr(self, name) for name in self.engine_fields()}
        for name, domain in (named | self.own()).items():
            if isinstance(domain, list):
                yield name, Choice(choices=list(domain))
            elif isinstance(domain, Range | Choice):
                yield name, domain

    def searched(self) -> set[str]:
        """Return the names of the searched hyperparameters."""
        return {"decay_points" if name.startswith("decay_point") else name for name, _ in self.domains()}

    def resolve(self, sampled: Point) -> Point:
        """Return the complete point: sampled values and constants, with the decay points as one sorted list."""
        fields = {name: getattr(self, name) for name in self.engine_fields()}
        named = {name: domain for name, domain in fields.items() if domain is not None} | self.own()
        point = {name: sampled.get(name, domain) for name, domain in named.items()}
        points = self.decay_points
        if isinstance(points, DecayPoints):
            if all(name in sampled for name in points.names):  # else a trunk, of which no branch has been decided
                point["decay_points"] = sorted(float(sampled[name]) for name in points.names)
        elif isinstance(points, Choice):
            if (value := sampled.get("decay_points")) is not None:  # as above
                point["decay_points"] = sorted(map(float, value if isinstance(value, list) else [value]))
        elif points is not None:
            point["decay_points"] = sorted(points)
        return point

    def grid_size(self) -> int:
        """Return the number of points of a grid on this space, without enumerating them."""
        return math.prod(len(d.choices) if isinstance(d, Choice) else d.grid_size for _, d in self.domains())

    def most_points(self) -> int:
        """Return how many decay points a trial has at most."""
        points = self.decay_points
        if isinstance(points, DecayPoints):
            return points.count
        if isinstance(points, Choice):
            return max(len(choice) if isinstance(choice, list) else 1 for choice in points.choices)
        return len(points or [])

    @property
    def branches(self) -> int:
        """The number of trials proposed for each trunk."""
        return self.decay_points.branches if isinstance(self.decay_points, DecayPoints) else 1


ENGINE = tuple(name for name in Space.model_fields if name != "lr")
"""The hyperparameters of every sweep, in the order in which a search draws them."""
