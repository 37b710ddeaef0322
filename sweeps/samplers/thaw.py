"""The model of freeze and thaw as a sampler of Optuna, for studies of your own. A study has whole trials, no pieces.

A trial's intermediate values are scores on the way to its end, if you say at which step a trial is complete:

>>> import optuna
>>> sampler = ThawSampler(seed=0, learning_rate="lr", steps=10)
>>> study = optuna.create_study(sampler=sampler)
>>> def objective(trial):
...     lr = trial.suggest_float("lr", 1e-4, 1.0, log=True)
...     for step in range(1, 11):
...         trial.report((math.log10(lr) + 2) ** 2 + 1 / step, step)
...     return (math.log10(lr) + 2) ** 2
>>> study.optimize(objective, n_trials=10)
>>> study.best_value < 0.1
True

Source of the idea: K. Swersky, J. Snoek, R. Adams, Freeze-Thaw Bayesian Optimization, 2014, arXiv:1406.3896.
"""

import math

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from espalier.sweeps.samplers.codec import Codec, Value
from espalier.sweeps.thaw.learning import Learner
from espalier.sweeps.thaw.pieces import Score
from espalier.sweeps.thaw.space import Space
from espalier.sweeps.thaw.whole import STARTS, first_points, next_point

RUNGS = (0.05, 0.15, 0.25, 0.5)
"""Shares of a training at which intermediate values are taken: more of them would tell little more."""


class ThawSampler(BaseSampler):
    """Proposes trials by a Gaussian process over ends and intermediate values, aware of trials that are running.

    seed: None for another one each time. learning_rate: the name of the parameter that is the learning rate, whose
    length scale and whose shift between early and final optimum are known from measurements. steps: the step of
    `trial.report` at which a trial is complete; without it intermediate values are not used.

    A trial that failed, or whose value is not finite, counts as diverged. The study has one objective; parameters that
    not every trial has are drawn at random.
    """

    def __init__(self, seed: int | None = None, learning_rate: str | None = None, steps: int | None = None):
        self.seed = int(np.random.SeedSequence(seed).generate_state(1)[0])
        self.learning_rate, self.steps = learning_rate, steps
        self._independent = RandomSampler(seed)
        self._shared = IntersectionSearchSpace()
        self._learner: tuple[Space, Learner] | None = None

    def reseed_rng(self) -> None:
        """Draw other numbers than a copy of this sampler in another process."""
        self.seed = int(np.random.SeedSequence().generate_state(1)[0])
        self._independent.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the parameters that all trials have in common."""
        return {name: domain for name, domain in self._shared.calculate(study).items() if not domain.single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Value]:
        """Return the parameters of a trial. Raises ValueError for a study of several objectives."""
        if len(study.directions) > 1:
            raise ValueError(f"this study has {len(study.directions)} objectives; ThawSampler takes one")
        if not search_space:
            return {}
        codec = Codec(search_space, self.learning_rate)
        trials = [other for other in study.get_trials(deepcopy=False) if search_space.keys() <= other.params.keys()]
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        scores = [score for other in trials for score in self._scores(codec, other, sign)]
        rng = np.random.default_rng([self.seed, trial.number])
        if sum(other.state.is_finished() for other in trials) < STARTS or not scores:
            starts = first_points(codec.space, STARTS, np.random.default_rng([self.seed]))
            further = codec.space.point(rng.random(codec.space.dimensions))  # of more workers than starts
            return codec.params(starts[trial.number] if trial.number < len(starts) else further)
        training = [
            codec.point(other.params)
            for other in trials
            if other.state == TrialState.RUNNING and other.number != trial.number
        ]
        return codec.params(next_point(codec.space, self._learner_of(codec.space), scores, training, rng))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Value:
        """Return a parameter that is drawn at random."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def _learner_of(self, space: Space) -> Learner:
        if self._learner is None or self._learner[0] != space:
            self._learner = space, Learner(space)
        return self._learner[1]

    def _scores(self, codec: Codec, trial: FrozenTrial, sign: float) -> list[Score]:
        """Return the scores of a trial on its way, and its end."""
        point = codec.point(trial.params)
        scores = [Score(point, share, (), sign * value, trial.number) for share, value in self._on_the_way(trial)]
        if trial.state == TrialState.COMPLETE and trial.value is not None and math.isfinite(trial.value):
            scores.append(Score(point, 1.0, (), sign * trial.value, trial.number))
        elif trial.state == TrialState.FAIL or trial.state == TrialState.COMPLETE:
            scores.append(Score(point, 1.0, (), None, trial.number))
        return scores

    def _on_the_way(self, trial: FrozenTrial) -> list[tuple[float, float]]:
        """Return shares of a training, and values at the first report at or after each rung."""
        steps = self.steps or 0
        values = {step / steps: value for step, value in sorted(trial.intermediate_values.items()) if 0 < step < steps}
        at = {next((share for share in values if share >= rung - 1e-9), None) for rung in RUNGS}
        return [(share, values[share]) for share in sorted(s for s in at if s) if math.isfinite(values[share])]
