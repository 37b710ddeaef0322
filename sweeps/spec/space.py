"""The search space: its domains, which parts are structural, and how to complete a sampled point.

A domain is a constant, a range or a choice. A point is a dictionary from hyperparameter names to values.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any

from pydantic import (
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

from espalier.core.loading.registry import Registry
from espalier.core.numbers import Number, by_name
from espalier.core.optimizers import OPTIMIZERS
from espalier.core.schedules.registry import SCHEDULES
from espalier.core.schedules.step import DECAY_FACTOR
from espalier.core.schedules.warmup import WARMUP
from espalier.sweeps.spec.domains import (
    WHEN,
    Choice,
    Conditional,
    Constant,
    Domain,
    Part,
    Point,
    Range,
    Scalar,
    When,
    all_finite,
    constant,
    extremes,
    points_of,
    same,
    size,
    union_members,
    whole_name,
)
from espalier.sweeps.spec.rates import AUTO, check_rates, exponent, exponents_of
from espalier.sweeps.spec.values import Fields

__all__ = [
    "AUTO",
    "ENGINE",
    "Choice",
    "Constant",
    "DecayPoints",
    "Domain",
    "Part",
    "Point",
    "Range",
    "Scalar",
    "Space",
    "all_finite",
    "extremes",
    "union_members",
]
GRID_MOST = 1_000_000  # points: a sampler enumerates all of them before the first trial
_EXPONENTS = Range(low=-3.0, high=0.0)


class DecayPoints(Conditional):
    """Where the rate decays, as shares of the budget: `count` points in [low, high], `branches` for each trunk."""

    count: int = Field(default=1, ge=1, le=16)
    low: float = Field(default=0.3, ge=0, le=1)
    high: float = Field(default=0.9, ge=0, le=1)
    step: float | None = Field(default=None, ge=1e-9, le=1)
    branches: int = Field(default=1, ge=1, le=1024)
    when: When | None = Field(default=None, description=WHEN)

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
            check_rates(rates)
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
        if isinstance(value, Mapping) and "choices" in value and set(value) - {"choices", "when"}:
            others = ", ".join(str(name) for name in value if name not in ("choices", "when"))
            raise ValueError(f"{others} with choices; a list of choices stands alone, and a range takes {others}")
        listed = value.get("choices") if isinstance(value, Mapping) else [p for p in value or [] if isinstance(p, bool)]
        for points in listed if isinstance(listed, list | tuple) else []:
            for point in points if isinstance(points, list | tuple) else [points]:
                if not isinstance(point, int | float) or isinstance(point, bool) or not 0 <= point <= 1:
                    raise ValueError(f"a decay point of {point!r}; decay points are shares of the budget in [0, 1]")
        return value

    def __copy__(self) -> "Space":
        """Return a copy without what was computed of this one: `model_copy` may change the fields of it."""
        copied = super().__copy__()
        fields = {name: value for name, value in vars(self).items() if name in type(self).model_fields}
        object.__setattr__(copied, "__dict__", fields)
        return copied

    def own(self) -> dict[str, Domain]:
        """Return the domains of the task's own hyperparameters, and of the numbers of user-defined kinds."""
        return dict(self.__pydantic_extra__ or {})

    def engine_fields(self) -> list[str]:
        """Return the hyperparameters of every task that are a single number: all except the decay points."""
        return [name for name in ENGINE if name != "decay_points"]

    def domains(self) -> Iterator[tuple[str, Range | Choice]]:
        """Yield the domains to sample, by name, without constants. What others depend on comes before them."""
        yield from self._in_order

    @cached_property
    def _in_order(self) -> Sequence[tuple[str, Range | Choice]]:
        return sorted(self._domains(), key=lambda named: self._depths.get(whole_name(named[0]), 0))

    def _domains(self) -> Iterator[tuple[str, Range | Choice]]:
        points = self.decay_points
        if isinstance(points, DecayPoints):
            for name in points.names:
                yield name, Range(low=points.low, high=points.high, step=points.step)
        elif isinstance(points, Choice):
            yield "decay_points", points
        for name, domain in self.single.items():
            if isinstance(domain, list):
                yield name, Choice(choices=list(domain))
            elif isinstance(domain, Range | Choice):
                yield name, domain

    @cached_property
    def single(self) -> Mapping[str, Domain]:
        """The domains of all hyperparameters that are a single value, by name; rates as exponents."""
        fields = {name: getattr(self, name) for name in self.engine_fields()}
        return {name: domain for name, domain in fields.items() if domain is not None} | self.own()

    @cached_property
    def sampled(self) -> frozenset[str]:
        """The names of the domains to sample."""
        return frozenset(name for name, _ in self.domains())

    def searched(self) -> set[str]:
        """Return the names of the searched hyperparameters."""
        return {whole_name(name) for name, _ in self.domains()}

    # --- conditions --------------------------------------------------------------------------------------------------

    @cached_property
    def conditions(self) -> Mapping[str, Mapping[str, Sequence[Any]]]:
        """By hyperparameter with a condition, the values of others of which each has to have one: there it exists.

        Rates stand there as exponents.
        """
        named = {**self.single, **({} if self.decay_points is None else {"decay_points": self.decay_points})}
        written = {name: when for name, domain in named.items() if (when := getattr(domain, "when", None))}
        return {name: dict(_in_exponents(*each) for each in when.items()) for name, when in written.items()}

    def exists(self, name: str, values: Point) -> bool:
        """Whether a hyperparameter exists at a point. values: sampled ones; constants may be left out."""
        return not self.conditions or self._exists(whole_name(name), values, {})

    def _exists(self, name: str, values: Point, known: dict[str, bool]) -> bool:
        if name not in known:
            above = self.conditions.get(name, {}).items()
            known[name] = all(self._exists(p, values, known) and self._has(p, among, values) for p, among in above)
        return known[name]

    def _has(self, name: str, among: Sequence[Any], values: Point) -> bool:
        value = values[name] if name in values else constant(self.single[name])
        return any(same(value, each) for each in among)

    @cached_property
    def _depths(self) -> Mapping[str, int]:
        """How long the chain of conditions above each hyperparameter that has one is."""
        depths: dict[str, int] = {}

        def depth(name: str) -> int:
            if name in self.conditions and name not in depths:
                depths[name] = 1 + max(map(depth, self.conditions[name]))
            return depths.get(name, 0)

        return {name: depth(name) for name in self.conditions}

    def missing(self, sampled: Point) -> list[str]:
        """Return what is still to be sampled at a point: what exists there without a value."""
        return [name for name, _ in self.domains() if name not in sampled and self.exists(name, sampled)]

    def sampled_conditions(self) -> dict[str, dict[str, Sequence[Any]]]:
        """Return the conditions by the names of domains that are sampled, on such names alone.

        A condition on a constant is the condition that the constant itself has.
        """
        names = [name for name, _ in self.domains()]
        known: dict[str, dict[str, Sequence[Any]]] = {}
        for name in sorted(self.conditions, key=lambda name: self._depths[name]):  # those above come first
            known[name] = joined = {}
            for parent, values in self.conditions[name].items():
                for other, among in ({parent: values} if parent in names else known.get(parent, {})).items():
                    joined[other] = [v for v in among if any(same(v, w) for w in joined.get(other, among))]
        return {name: among for name in names if (among := known.get(whole_name(name)))}

    # --- points ------------------------------------------------------------------------------------------------------

    def resolve(self, sampled: Point) -> Point:
        """Return the complete point: sampled values and constants, with the decay points as one sorted list.

        What does not exist there is left out.
        """
        point = {name: sampled.get(name, domain) for name, domain in self.single.items()}
        points = self.decay_points
        if isinstance(points, DecayPoints):
            if all(name in sampled for name in points.names):  # else a trunk, of which no branch has been decided
                point["decay_points"] = sorted(float(sampled[name]) for name in points.names)
        elif isinstance(points, Choice):
            if (value := sampled.get("decay_points")) is not None:  # as above
                point["decay_points"] = sorted(map(float, value if isinstance(value, list) else [value]))
        elif points is not None:
            point["decay_points"] = sorted(points)
        if not self.conditions:  # only under one is a constant more than its value
            return point
        point = {name: constant(value) for name, value in point.items()}
        return {name: value for name, value in point.items() if self.exists(name, point)}

    def grid_size(self) -> int:
        """Return the number of points of a grid on this space, without enumerating them.

        Points that differ in nothing that exists there are one. Above GRID_MOST it may be too low.
        """
        domains, points = dict(self.domains()), 0
        for _, others in self.grid_parts():
            points += math.prod(map(size, (domains[name] for name in others)))
            if points > GRID_MOST:
                break
        return points

    def grid_parts(self) -> Iterator[tuple[Point, list[str]]]:
        """Yield the parts of a grid: the values on which conditions depend, and the names of all else that exists.

        Without conditions there is one part, of all names.
        """
        conditions = self.sampled_conditions()
        parents = {parent for among in conditions.values() for parent in among}
        domains = dict(self.domains())
        yield from self._parts({}, [name for name in domains if name in parents], domains)

    def _parts(
        self, values: Point, parents: Sequence[str], domains: Mapping[str, Range | Choice]
    ) -> Iterator[tuple[Point, list[str]]]:
        left = next((k for k, name in enumerate(parents) if self.exists(name, values)), None)
        if left is None:
            yield values, [name for name in domains if name not in values and self.exists(name, values)]
            return
        name = parents[left]
        for value in points_of(domains[name]):
            yield from self._parts({**values, name: value}, parents[left + 1 :], domains)

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


def _in_exponents(name: str, values: Sequence[Any]) -> tuple[str, Sequence[Any]]:
    """Return a condition on rates as one on exponents, any other unchanged."""
    return ("lr_exponent", [exponent(value) for value in values]) if name == "lr" else (name, values)


ENGINE = tuple(name for name in Space.model_fields if name != "lr")
"""The hyperparameters of every sweep, in the order in which a search draws them."""
