"""Look up what a new sweep takes from another."""

from collections.abc import Iterator, Sequence

import numpy as np

from espalier.core.errors import BadInput
from espalier.sweeps.identity import KINDS, Facts, periods
from espalier.sweeps.search.study import SweepRecord
from espalier.sweeps.search.taken import Taken
from espalier.sweeps.spec.first import overlap
from espalier.sweeps.spec.space import Point
from espalier.sweeps.spec.spec import SweepSpec

MOST = 300
"""Trials that are taken: the best half of these places, the rest an even part of the others."""
FIELD = "from"


def taken_from(other: SweepRecord, spec: SweepSpec, facts: Facts) -> Taken:
    """Return what a new sweep takes from another. facts: of the new one.

    Raises BadInput where they have another objective, nothing in common, or no complete trial there.
    """
    goals = [(each.objective.mode, each.objective.metric) for each in (other.spec, spec)]
    if goals[0] != goals[1]:
        there, here = (" ".join(goal) for goal in goals)
        raise BadInput(f"{FIELD}: {other.id} has the objective {there}, this sweep {here}; take one with the same")
    complete = [t for t in other.results() if t.confirms is None and t.state == "complete" and t.value is not None]
    if not complete:
        raise BadInput(f"{FIELD}: {other.id} has no complete trial; name another sweep, or wait for one")
    points = [(overlap(spec.space, t.params), float(t.value or 0.0)) for t in complete]
    sampled = [name for name, _ in spec.space.domains()]
    names = [name for name in sampled if sum(name in point for point, _ in points) * 2 > len(points)]
    whole = [(point, value) for point, value in points if _has(spec, point, names)]
    if not names or not whole:
        raise BadInput(f"{FIELD}: of what {other.id} searched, this space has nothing, or other ranges; leave it out")
    whole = [({name: point[name] for name in names if name in point}, value) for point, value in whole]
    ranked = sorted(whole, key=lambda each: spec.objective.sign * each[1])
    missing = [name for name in sampled if name not in names]
    return Taken(other.id, names, missing, list(_differences(other, spec, facts)), _some(ranked))


def _has(spec: SweepSpec, point: Point, names: Sequence[str]) -> bool:
    """Whether a point has all of these names that exist there."""
    return all(name in point or not spec.space.exists(name, point) for name in names)


def _some(ranked: Sequence[tuple[Point, float]]) -> list[tuple[Point, float]]:
    if len(ranked) <= MOST:
        return list(ranked)
    rest = ranked[MOST // 2 :]
    return [*ranked[: MOST // 2], *(rest[int(k)] for k in np.linspace(0, len(rest) - 1, MOST - MOST // 2))]


def _differences(other: SweepRecord, spec: SweepSpec, facts: Facts) -> Iterator[str]:
    if other.spec.budget.steps != spec.budget.steps or other.spec.budget.batch_size != spec.budget.batch_size:
        yield "budget"
    if other.spec.trained != spec.trained:
        yield "task"
    there = periods(other.facts)[-1]
    words = {"code": "code", "data": "data", "data.others": "data of other choices"}
    yield from (words[kind] for kind in KINDS if kind in facts and kind in there and facts[kind] != there[kind])
