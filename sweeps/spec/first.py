"""First points: what a search trains before it proposes anything itself.

An entry is a point, of which some values may be left to the sampler, or names a sweep whose best points are meant:
{best: SWEEP} or {top: 3, of: SWEEP}. These are looked up when the sweep is made, and then stand under `resolved`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from espalier.core.errors import brief, counted, nearest, shown
from espalier.sweeps.spec.domains import Choice, Domain, Point, Range, extremes, same
from espalier.sweeps.spec.rates import AUTO
from espalier.sweeps.spec.space import DecayPoints, Space

Entry = Mapping[str, Any]
RESOLVED = "resolved"  # in an entry that names a sweep: the points, each with its trial
REFERENCE = ({"best"}, {"top", "of"})
TOP_MOST = 1000


def is_reference(entry: Entry, space: Space) -> bool:
    """Whether an entry names a sweep. Hyperparameters of these names are meant where the space has them."""
    names = set(entry) - {RESOLVED}
    return names in REFERENCE and not names & {*space.own()}


def reference(entry: Entry) -> tuple[str, int]:
    """Return the sweep that an entry names, and how many of its points are meant."""
    return (entry["best"], 1) if "best" in entry else (entry["of"], entry["top"])


def first_points(first: Sequence[Entry], space: Space) -> list[Point]:
    """Return the points in order, by the names of sampled domains. Entries that are not looked up yet have none."""
    points: list[Point] = []
    for k, entry in enumerate(first):
        if not is_reference(entry, space):
            points.append(as_sampled(space, entry, f"first.{k}"))
        else:
            points += [as_sampled(space, each["point"], f"first.{k}") for each in entry.get(RESOLVED, ())]
    return points


def check_first(first: Sequence[Entry], space: Space, most: float) -> None:
    """Raise ValueError for an entry that is no point of a space, or for more points than trunks are to be trained."""
    for k, entry in enumerate(first):
        if is_reference(entry, space):
            _check_reference(entry, f"first.{k}")
    count = len(first_points(first, space))
    if count > most:
        raise ValueError(f"first: {count:,} points, and {most:,g} are trained at most; raise trials, or leave some out")


def _check_reference(entry: Entry, field: str) -> None:
    sweep, count = reference(entry)
    if not isinstance(sweep, str) or not sweep:
        raise ValueError(f"{field}: {shown(sweep)} is no sweep; write the id of one, as {{best: names-20260101-abcd}}")
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= TOP_MOST:
        raise ValueError(f"{field}.top: {shown(count)} arrived; write how many points, 1 to {TOP_MOST:,}")
    resolved = entry.get(RESOLVED, [])
    if not isinstance(resolved, list) or not all(isinstance(each, Mapping) and "point" in each for each in resolved):  # pyright: ignore[reportUnknownVariableType]
        raise ValueError(f"{field}.{RESOLVED}: it is written by the sweep; leave it out")


def as_sampled(space: Space, entry: Entry, field: str) -> Point:
    """Return a point by the names of sampled domains, in their values. Raises ValueError that begins with the field."""
    if not isinstance(entry, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(f"{field}: {shown(entry)} is no point; write values by name, as {{lr: 0.001}}")
    if {"lr", "lr_exponent"} <= entry.keys():
        raise ValueError(f"{field}: lr and lr_exponent both stand there; keep one of them")
    sampled: Point = {}
    for name, value in entry.items():
        sampled |= dict(_sampled(space, str(name), value, f"{field}.{name}"))
    for name in sampled:
        if not space.exists(name, sampled):
            raise ValueError(f"{field}: {name} exists only where {_condition(space, name)}; say that beside it")
    return sampled


def overlap(space: Space, params: Point) -> Point:
    """Return what of another sweep's point a space has, by the names of sampled domains."""
    sampled: Point = {}
    for name, value in params.items():
        try:
            sampled |= dict(_sampled(space, name, value, name))
        except ValueError:
            continue
    while gone := [name for name in sampled if not space.exists(name, sampled)]:
        for name in gone:
            del sampled[name]
    return sampled


def as_written(space: Space, sampled: Point) -> Point:
    """Return a sampled point as one may write it: decay points as one list."""
    points = space.decay_points
    names = points.names if isinstance(points, DecayPoints) else []
    shares = [sampled[name] for name in names if name in sampled]
    rest = {name: value for name, value in sampled.items() if name not in names}
    return rest | ({"decay_points": shares} if shares else {})


def _sampled(space: Space, name: str, value: Any, field: str) -> Iterator[tuple[str, Any]]:
    """Yield the sampled values that a value stands for: none for a constant, several for decay points."""
    if name == "decay_points" and space.decay_points is not None:
        yield from _sampled_points(space, value, field)
        return
    domains = space.single
    if name in ("lr", "lr_exponent") and "lr_exponent" in domains:
        yield from _sampled_rate(space, name, value, field)
    elif name not in domains:
        others = {"lr": space.lr, "decay_points": space.decay_points}
        known = [*domains, *(name for name, domain in others.items() if domain is not None)]
        raise ValueError(f"{field}: the space has no {brief(name)}; {nearest(name, known)}")
    else:
        chosen = _within(domains[name], value, field)
        if name in space.sampled:
            yield name, chosen


def _sampled_rate(space: Space, name: str, value: Any, field: str) -> Iterator[tuple[str, Any]]:
    if name == "lr":
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise ValueError(f"{field}: {shown(value)} is no rate; give a number above 0")
        value = math.log10(value)
    domain = space.lr_exponent
    if domain == AUTO:
        domain = Range(low=-40.0, high=40.0)
    try:
        chosen = _within(domain, value, field)
    except ValueError as error:
        if name == "lr" and isinstance(domain, Range):
            low, high = (f"{10.0**end:.4g}" for end in (domain.low, domain.high))
            raise ValueError(f"{field}: {10.0**value:.4g} lies outside {low} ... {high}") from error
        raise
    if "lr_exponent" in space.sampled or space.lr_exponent == AUTO:
        yield "lr_exponent", chosen


def _sampled_points(space: Space, value: Any, field: str) -> Iterator[tuple[str, Any]]:
    points, shares = space.decay_points, _shares(value)
    if isinstance(points, DecayPoints):
        if len(shares) != points.count:
            raise ValueError(f"{field}: {counted(len(shares), 'point')} arrived; a trial has {points.count}")
        domain = Range(low=points.low, high=points.high, step=points.step)
        yield from ((name, _within(domain, share, field)) for name, share in zip(points.names, shares, strict=True))
        return
    choices: list[Any] = list(points.choices) if isinstance(points, Choice) else [points]
    for choice in choices:
        if same(_shares(choice), shares):
            if isinstance(points, Choice):
                yield "decay_points", choice
            return
    raise ValueError(f"{field}: {shown(value)} is none of {brief(', '.join(map(str, choices)), 80)}")


def _shares(value: Any) -> list[Any]:
    """Return decay points as a list, in order if they are numbers."""
    listed: list[Any] = list(value) if isinstance(value, list | tuple) else [value]  # pyright: ignore[reportUnknownArgumentType]
    return sorted(listed) if all(isinstance(share, int | float) for share in listed) else listed


def _within(domain: Domain, value: Any, field: str) -> Any:
    """Return the value of a domain that is meant. Raises ValueError for a value that it does not have."""
    if not isinstance(domain, Range):
        values = extremes(domain)
        for each in values:
            if same(each, value):
                return each
        what = brief(", ".join(map(str, values[:8])) + (", ..." if len(values) > 8 else ""), 80)
        raise ValueError(f"{field}: {shown(value)} is {'not' if len(values) == 1 else 'none of'} {what}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{field}: {shown(value)} is no number")
    nearest_end = min(max(value, domain.low), domain.high)
    if not same(value, nearest_end):
        raise ValueError(f"{field}: {value:g} lies outside {domain.low:g} ... {domain.high:g}")
    if not domain.integer and domain.step is None:
        return float(nearest_end)
    step = domain.step or 1
    place = min(round((nearest_end - domain.low) / step), domain.grid_size - 1)
    chosen = min(domain.low + place * step, domain.high)
    if not same(chosen, value):
        raise ValueError(f"{field}: {value:g} lies between two steps of {step:g} from {domain.low:g}")
    return int(chosen) if domain.integer else chosen


def _condition(space: Space, name: str) -> str:
    """Return the condition of a hyperparameter in words."""
    among = space.sampled_conditions().get(name, {})
    return " and ".join(f"{on} is {' or '.join(map(str, values))}" for on, values in among.items())
