"""Where the branches of a trunk may decay: in a range, at steps of it, or as lists; and how Optuna has it.

To the model every branch has the same number of decay points, and a list that has fewer ends with points at 1.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from espalier.core.training.history import fork_steps
from espalier.core.training.trial import Trial
from espalier.sweeps import cohorts as plan
from espalier.sweeps.search.trial_record import sampled_params
from espalier.sweeps.spec.space import Choice, DecayPoints
from espalier.sweeps.spec.space import Point as Params
from espalier.sweeps.spec.spec import SweepSpec
from espalier.sweeps.thaw.candidates import KEPT

NAME = "decay_points"  # of the only parameter where they are a choice


@dataclass(frozen=True)
class Branching:
    """Decay points as the model has them. names: of Optuna's parameters. decay: the lowest and the highest share.

    decays: of each branch. steps: those of a range, as many as rows of trunks are kept. lists: by the decay points that
    the model knows, the value in Optuna and the decay points of its trial; empty where a range is searched.
    """

    names: Sequence[str]
    decay: tuple[float, float]
    decays: int
    steps: Sequence[float]
    lists: Mapping[tuple[float, ...], tuple[object, Sequence[float]]]

    @cached_property
    def latest(self) -> float:
        """The latest first decay point."""
        return max(points[0] for points in self.lists) if self.lists else self.decay[1]

    @property
    def undecided(self) -> Params:
        """The decay points of a trunk: none that the search proposes comes as late."""
        return {NAME: [self.latest + (1 - self.latest) / 2] * self.decays}

    def params(self, decay: Sequence[float]) -> Params:
        """Return the decay points of a branch as Optuna has them."""
        if self.lists:
            return {NAME: self.lists[tuple(decay)][0]}
        return dict(zip(self.names, sorted(decay), strict=True))

    def beyond(self, share: float) -> list[Sequence[float]]:
        """Return the decay points of all branches that may begin at a kept share."""
        if self.lists:
            return [points for decay, (_, points) in self.lists.items() if decay[0] >= share - 1e-9]
        return [[share] * self.decays]


def branching_of(spec: SweepSpec, domains: Mapping[str, BaseDistribution]) -> Branching | None:
    """Return where branches may decay; None where trials with different decay points share no trunk.

    They do not where the peak lies at the decay point, or where no trunk would be scored before it decays. Nor where
    decay points have a condition: to the model they are then numbers like others.
    """
    points = spec.space.decay_points
    if NAME in spec.space.conditions:
        return None
    if isinstance(points, DecayPoints):
        branching = _sampled(points, domains)
    elif isinstance(points, Choice):
        branching = _listed(spec, domains[NAME])
    else:
        return None
    if len(branching.lists) == 1 or branching.decay[0] == branching.decay[1]:
        return None  # there is a single one
    if not any(step < branching.latest * spec.budget.steps for step in plan.rungs(spec)):
        return None
    return branching if all(_shares(spec, branching, kind) for kind in spec.schedule_kinds()) else None


def _sampled(points: DecayPoints, domains: Mapping[str, BaseDistribution]) -> Branching:
    domain = domains[points.names[0]]
    assert isinstance(domain, FloatDistribution)
    if domain.step is None:
        return Branching(points.names, (points.low, points.high), points.count, (), {})
    last = round((domain.high - domain.low) / domain.step)
    numbers = np.round(np.linspace(0, last, min(last + 1, KEPT)))
    steps = [min(float(k) * domain.step + domain.low, domain.high) for k in numbers]  # as Optuna's samplers compute it
    return Branching(points.names, (steps[0], steps[-1]), points.count, steps, {})


def _listed(spec: SweepSpec, domain: BaseDistribution) -> Branching:
    assert isinstance(domain, CategoricalDistribution)
    listed = [(stored, _points(spec, stored)) for stored in domain.choices]
    most = max(1, *(len(points) for _, points in listed))
    late = {kind: _fork(spec, kind, [], [1.0] * most) / spec.budget.steps for kind in spec.schedule_kinds()}
    lists: dict[tuple[float, ...], tuple[object, Sequence[float]]] = {}
    for stored, points in listed:
        first = points or [min(late.values())]  # without a point, a rate may fall from a place of its schedule's own
        lists.setdefault((*first, *[1.0] * (most - len(first))), (stored, points))
    every = [point for decay in lists for point in decay]
    return Branching([NAME], (min(every), max(every)), most, (), lists)


def _points(spec: SweepSpec, stored: object) -> list[float]:
    resolved: Sequence[float] = spec.space.resolve(sampled_params({NAME: stored}))[NAME]
    return list(resolved)


def _shares(spec: SweepSpec, branching: Branching, kind: str) -> bool:
    """Whether branches have their trunk's history up to their first decay point."""
    trunk: Sequence[float] = branching.undecided[NAME]
    return all(_fork(spec, kind, points, trunk) >= first * spec.budget.steps - 1 for first, points in _ends(branching))


def _ends(branching: Branching) -> Iterator[tuple[float, Sequence[float]]]:
    """Yield branches, each with its first decay point: all of lists, and the earliest of a range."""
    if branching.lists:
        yield from ((decay[0], points) for decay, (_, points) in branching.lists.items())
    else:
        yield branching.decay[0], [branching.decay[0]] * branching.decays


def _fork(spec: SweepSpec, kind: str, points: Sequence[float], others: Sequence[float]) -> int:
    """Return the first step at which two trials differ that have these decay points; all steps if they never do."""
    one, other = (plan.first_point(spec) | {"schedule": kind, NAME: list(decay)} for decay in (points, others))
    (fork,) = fork_steps(plan.structure(spec, one), trial_of(spec, one), [trial_of(spec, other)])
    return spec.budget.steps if fork is None else fork


def trial_of(spec: SweepSpec, point: Params) -> Trial:
    """Return a trial with the history of a point."""
    return Trial("", 0, spec.budget.steps, plan.hyperparameters(spec, point))
