"""Quasi-Monte Carlo: a scrambled Sobol sequence, which covers a space more evenly than random points."""

from collections.abc import Mapping

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, QMCSampler

from espalier.sweeps.search.samplers import Sampler


class QMC(Sampler):
    """Draws the points of one sequence; the trial's number says where in it."""

    learns = False

    def make(self, domains: Mapping[str, BaseDistribution], seed: int, draw_seed: int) -> BaseSampler:
        """Return the sampler. Its seed is the spec's in each process: the sequence goes on."""
        return QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False)
