"""The tree-structured Parzen estimator (Bergstra et al. 2011), in Optuna's multivariate form."""

import warnings
from collections.abc import Mapping

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler

from espalier.sweeps.samplers import Sampler


class TPE(Sampler):
    """Learns from complete trials, and from those that early stopping ends."""

    def make(self, domains: Mapping[str, BaseDistribution], seed: int, draw_seed: int) -> BaseSampler:
        """Return the sampler."""
        return TPESampler(seed=draw_seed)

    def make_conditional(self, domains: Mapping[str, BaseDistribution], seed: int, draw_seed: int) -> BaseSampler:
        """Return the sampler, with an estimate for each group of hyperparameters that exist together.

        Without groups Optuna's joint estimate has only what all trials have; the rest it takes one by one.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna calls groups experimental
            return TPESampler(seed=draw_seed, group=True)
