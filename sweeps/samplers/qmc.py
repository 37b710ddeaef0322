"""Quasi-Monte Carlo: a scrambled Sobol sequence, which covers a space more evenly than random points."""

from collections.abc import Mapping

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, QMCSampler
from optuna.trial import FrozenTrial

from espalier.sweeps.samplers import Sampler


class QMC(Sampler):
    """Draws the points of one sequence; the trial's number is the index in it."""

    def make(self, domains: Mapping[str, BaseDistribution], seed: int, draw_seed: int) -> BaseSampler:
        """Return the sampler. Its seed is the spec's in each process, so a resumed sweep continues the sequence."""
        return _Sequence(domains, seed)


class _Sequence(QMCSampler):
    """Optuna's QMCSampler, without its random draws for the first trial and while no trial is complete or running."""

    def __init__(self, domains: Mapping[str, BaseDistribution], seed: int):
        super().__init__(seed=seed, scramble=True, warn_independent_sampling=False)
        self.domains = domains

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the point of the sequence for a trial."""
        return dict(self.domains) if trial.number else {}
