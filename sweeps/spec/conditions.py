"""Rules on conditions: what a hyperparameter of a space may depend on.

A condition names values that can be listed: of a choice, of a constant, of a range with steps or of whole numbers.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from espalier.core.errors import brief, nearest, shown
from espalier.sweeps.spec.domains import Choice, Domain, Range, When, constant, extremes, same
from espalier.sweeps.spec.space import AUTO, DecayPoints, Space

ALWAYS = ("lr", "lr_exponent", "seed")  # of every trial
SHOWN = 8  # values of a domain in a message
LEVELS_MOST = 40  # of conditions on what is conditional itself


def conditional_domains(space: Space) -> Iterator[tuple[str, When]]:
    """Yield each hyperparameter that has a condition, with the condition as it is written."""
    for name, domain in _domains(space).items():
        if when := getattr(domain, "when", None):
            yield name, when


def check_conditions(space: Space) -> None:
    """Raise ValueError for a condition that cannot hold, or that nobody could decide."""
    domains = _domains(space)
    conditions = dict(conditional_domains(space))
    for name, when in conditions.items():
        if name in ALWAYS:
            raise ValueError(f"space.{name}.when: every trial has one; leave when out")
        for parent, values in when.items():
            if why := _why_not(parent, values, domains):
                raise ValueError(f"space.{name}.when: {why}")
    _check_circles({name: list(when) for name, when in conditions.items()})
    points = space.decay_points
    if isinstance(points, DecayPoints) and points.when and points.branches > 1:
        raise ValueError("space.decay_points: branches of a trunk always have decay points; leave when or branches out")


def _domains(space: Space) -> dict[str, Any]:
    """Return the domains of a space by name, rates as they are written."""
    rates = "lr_exponent" if space.lr is None else "lr"
    names = [rates, *(name for name in space.engine_fields() if name != "lr_exponent"), "decay_points"]
    fields = {name: getattr(space, name) for name in names}
    return {name: domain for name, domain in fields.items() if domain is not None} | space.own()


def _why_not(parent: str, values: Sequence[object], domains: Mapping[str, Any]) -> str:
    """Return why a hyperparameter cannot depend on these values of another; "" if it can."""
    if parent == "decay_points":
        return "decay_points are decided last; name another hyperparameter"
    if parent not in domains:
        if {parent} | domains.keys() >= {"lr", "lr_exponent"}:
            return f"{parent}: this space has {'lr' if parent == 'lr_exponent' else 'lr_exponent'}; name that"
        return f"{brief(parent)} is not in the space; {nearest(parent, domains)}"
    domain: Domain = domains[parent]
    if constant(domain) == AUTO and parent in ALWAYS:
        return f"{parent} is found by a range test; name a hyperparameter with listed values"
    if isinstance(domain, Range) and not (domain.integer or domain.step):
        return f"{parent} is a continuous range, of which no value ever comes twice; list its values, or give it a step"
    for value in values:
        if not _takes(domain, value):
            return f"{parent} is never {shown(value)}; it is {_text(domain)}"
    return ""


def _takes(domain: Domain, value: object) -> bool:
    """Whether a domain has a value."""
    if not isinstance(domain, Range):
        return any(same(value, each) for each in extremes(domain))
    if isinstance(value, bool) or not isinstance(value, int | float) or not domain.low <= value <= domain.high:
        return False
    steps = (value - domain.low) / (domain.step or 1)
    return math.isclose(steps, round(steps), abs_tol=1e-6)


def _text(domain: Domain) -> str:
    """Return a domain in words."""
    if isinstance(domain, Range):
        return f"{domain.low:g} to {domain.high:g} in steps of {domain.step or 1:g}"
    values = extremes(domain)
    more = ", ..." if len(values) > SHOWN else ""
    always = isinstance(domain, Choice | list)
    return ("one of " if always and len(values) > 1 else "") + ", ".join(brief(str(v)) for v in values[:SHOWN]) + more


def _check_circles(parents: Mapping[str, Sequence[str]]) -> None:
    """Raise ValueError if a hyperparameter depends on itself, or too many stand one above the other."""
    levels: dict[str, int] = {}

    def level(name: str, path: Sequence[str]) -> int:
        if name in path:
            circle = " -> ".join([*path[path.index(name) :], name])
            raise ValueError(f"space.{name}.when: it depends on itself: {brief(circle, 200)}")
        if len(path) > LEVELS_MOST:
            raise ValueError(f"space.{path[0]}.when: more than {LEVELS_MOST} conditions one above the other")
        if name not in levels:
            above = [level(parent, [*path, name]) for parent in parents.get(name, ())]
            levels[name] = 1 + max(above, default=-1)
        if levels[name] > LEVELS_MOST:
            raise ValueError(f"space.{name}.when: more than {LEVELS_MOST} conditions one above the other")
        return levels[name]

    for name in parents:
        level(name, [])
