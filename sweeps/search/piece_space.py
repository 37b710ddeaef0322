"""A sweep's space as the model of freeze and thaw sees it, and back: points to parameters, shares to steps."""

import math
from collections.abc import Mapping, Sequence

from optuna.distributions import BaseDistribution

from espalier.core.training.history import fork_steps
from espalier.core.training.trial import Hyperparameters, Structure, Trial
from espalier.sweeps import cohorts as plan
from espalier.sweeps.samplers.codec import Codec
from espalier.sweeps.spec.space import DecayPoints
from espalier.sweeps.spec.space import Point as Params
from espalier.sweeps.spec.spec import SweepSpec
from espalier.sweeps.thaw.candidates import kept_shares
from espalier.sweeps.thaw.space import Point, Space

RATE = "lr_exponent"


class PieceSpace:
    """Translates between a spec and the model.

    rungs: the shares of a training at which trunks are scored and parked.
    """

    def __init__(self, spec: SweepSpec, domains: Mapping[str, BaseDistribution]):
        """domains: what is searched, as Optuna has it."""
        self.spec, self.steps = spec, spec.budget.steps
        self._kept_steps: dict[tuple[Structure, Hyperparameters], list[int]] = {}
        points = spec.space.decay_points
        self.decay = points if isinstance(points, DecayPoints) and _shares_trunks(spec, points) else None
        self.decay_names = self.decay.names if self.decay else []
        searched = {name: domain for name, domain in domains.items() if name not in self.decay_names}
        self.codec = Codec(searched, exponent=RATE, unordered=["seed"])
        self.space = Space(
            self.codec.space.numbers,
            self.codec.space.choices,
            (self.decay.low, self.decay.high) if self.decay else (1.0, 1.0),
            len(self.decay_names),
        )
        self.rung_steps = [step for step in plan.rungs(spec) if not self.decay or step < self.decay.high * self.steps]
        self.rungs = [step / self.steps for step in self.rung_steps]
        self.kept = [float(share) for share in kept_shares(self.space)]

    def params(self, point: Point) -> Params:
        """Return the parameters of a point, without decay points, as Optuna has them."""
        return dict(self.codec.params(point))

    def decay_params(self, decay: Sequence[float]) -> Params:
        """Return decay points as Optuna has them."""
        return dict(zip(self.decay_names, sorted(decay), strict=True))

    def undecided(self) -> Params:
        """Return a trunk's decay points: none that the search proposes comes as late."""
        if self.decay is None:
            return {}
        return {"decay_points": [self.decay.high + (1 - self.decay.high) / 2] * self.decay.count}

    def step(self, share: float, kept: Sequence[int]) -> int:
        """Return the step of a share at which a trunk has a state. kept: see `kept_steps`."""
        for shares, steps in ((self.rungs, self.rung_steps), (self.kept, kept)):
            for known, step in zip(shares, steps, strict=True):
                if math.isclose(known, share, abs_tol=1e-9):
                    return step
        return round(share * self.steps)

    def kept_steps(self, point: Params) -> list[int]:
        """Return for each kept share a step up to which a branch that decays there has its trunk's history.

        point: the whole configuration of the trunk.
        """
        if self.decay is None:
            return []
        at_one = point | self.undecided() | {RATE: 0.0}  # where rates differ, those of this one do
        key = plan.structure(self.spec, at_one), plan.hyperparameters(self.spec, at_one)
        if key not in self._kept_steps:
            branches = [point | {RATE: 0.0, "decay_points": [share] * self.decay.count} for share in self.kept]
            forks = fork_steps(key[0], _trial(self.spec, at_one), [_trial(self.spec, branch) for branch in branches])
            self._kept_steps[key] = [self.steps - 1 if fork is None else fork for fork in forks]
        return self._kept_steps[key]


def _trial(spec: SweepSpec, point: Params) -> Trial:
    return Trial("", 0, spec.budget.steps, plan.hyperparameters(spec, point))


def _shares_trunks(spec: SweepSpec, points: DecayPoints) -> bool:
    """Whether trials that decay at different points have a common history before: not where the peak lies there.

    Points in steps are numbers like others: the states of trunks are kept at shares of their own.
    """
    if points.step is not None or points.low == points.high:
        return False
    if not any(step < points.high * spec.budget.steps for step in plan.rungs(spec)):
        return False  # no trunk would be scored before it decays
    for kind in spec.schedule_kinds():
        low, high = (
            plan.first_point(spec) | {"schedule": kind, "decay_points": [p] * points.count}
            for p in (points.low, (points.low + 1) / 2)
        )
        forks = fork_steps(plan.structure(spec, low), _trial(spec, low), [_trial(spec, high)])
        if (forks[0] or 0) < points.low * spec.budget.steps - 1:
            return False
    return True
