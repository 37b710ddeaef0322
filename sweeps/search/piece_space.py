"""A sweep's space as the model of freeze and thaw sees it, and back: points to parameters, shares to steps."""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from optuna.distributions import BaseDistribution

from espalier.core.training.history import fork_steps
from espalier.core.training.trial import Hyperparameters, Structure
from espalier.sweeps import cohorts as plan
from espalier.sweeps.samplers.codec import Codec
from espalier.sweeps.search.branching import NAME as DECAY
from espalier.sweeps.search.branching import branching_of, trial_of
from espalier.sweeps.search.trial_record import storable
from espalier.sweeps.spec.space import Point as Params
from espalier.sweeps.spec.spec import SweepSpec
from espalier.sweeps.thaw.beginning import point_with
from espalier.sweeps.thaw.candidates import kept_shares
from espalier.sweeps.thaw.hints import Hint
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
        self.branching = branching = branching_of(spec, domains)
        self.decay_names = branching.names if branching else []
        searched = {name: domain for name, domain in domains.items() if name not in self.decay_names}
        conditions = {
            name: {on: [storable(value) for value in values] for on, values in among.items()}
            for name, among in spec.space.sampled_conditions().items()
        }
        self.codec = Codec(searched, exponent=RATE, unordered=["seed"], conditions=conditions)
        self.space = self.codec.space
        if branching:
            numbers, choices, lists = self.space.numbers, self.space.choices, list(branching.lists)
            conditions, steps = self.space.conditions, branching.steps
            self.space = Space(numbers, choices, branching.decay, branching.decays, steps, lists, conditions)
        latest = branching.latest if branching else 1.0
        self.rung_steps = [step for step in plan.rungs(spec) if step < latest * self.steps]
        self.rungs = [step / self.steps for step in self.rung_steps]
        self.kept = [float(share) for share in kept_shares(self.space)]

    def params(self, point: Point) -> Params:
        """Return the parameters of a point, without decay points, as Optuna has them."""
        return dict(self.codec.params(point))

    def places(self, params: Params) -> dict[int, float]:
        """Return where some parameters lie, by their places in a point. Decay points are the model's to decide."""
        return self.codec.places({name: value for name, value in params.items() if name not in self.decay_names})

    def hints(self, ends: Iterable[tuple[Params, float]]) -> list[Hint]:
        """Return ends of another sweep, by sampled names. What that had not is drawn at random: it tells nothing."""
        dice, sign = np.random.default_rng([self.spec.search.seed, 1]), self.spec.objective.sign
        hints: list[Hint] = []
        for params, value in ends:
            places = self.places({name: storable(each) for name, each in params.items()})
            drawn = self.space.point(dice.random(self.space.dimensions))
            hints.append(Hint(point_with(self.space, places, drawn), sign * value))
        return hints

    def decay_params(self, decay: Sequence[float]) -> Params:
        """Return decay points as Optuna has them."""
        return self.branching.params(decay) if self.branching else {}

    def undecided(self) -> Params:
        """Return a trunk's decay points."""
        return self.branching.undecided if self.branching else {}

    def step(self, share: float, kept_steps: Sequence[int]) -> int:
        """Return the step of a share at which a trunk has a state. kept_steps: see `kept_steps`."""
        for shares, steps in ((self.rungs, self.rung_steps), (self.kept, kept_steps)):
            for known, step in zip(shares, steps, strict=True):
                if math.isclose(known, share, abs_tol=1e-9):
                    return step
        return round(share * self.steps)

    def kept_steps(self, point: Params) -> list[int]:
        """Return for each kept share a step up to which a branch that decays there has its trunk's history.

        point: the whole configuration of the trunk.
        """
        if self.branching is None:
            return []
        at_one = point | self.undecided() | {RATE: 0.0}  # where rates differ, those of this one do
        key = plan.structure(self.spec, at_one), plan.hyperparameters(self.spec, at_one)
        if key not in self._kept_steps:
            branches = [(share, decay) for share in self.kept for decay in self.branching.beyond(share)]
            trials = [trial_of(self.spec, at_one | {DECAY: decay}) for _, decay in branches]
            forks = fork_steps(key[0], trial_of(self.spec, at_one), trials)
            ends = [self.steps - 1 if fork is None else fork for fork in forks]
            self._kept_steps[key] = [
                min(end for (other, _), end in zip(branches, ends, strict=True) if other == share)
                for share in self.kept
            ]
        return self._kept_steps[key]
