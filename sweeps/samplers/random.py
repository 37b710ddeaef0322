"""Random search (Bergstra and Bengio 2012)."""

from collections.abc import Mapping

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler

from espalier.sweeps.samplers import Sampler


class Random(Sampler):
    """Draws each point independently."""

    def make(self, domains: Mapping[str, BaseDistribution], seed: int, draw_seed: int) -> BaseSampler:
        """Return the sampler."""
        return RandomSampler(seed=draw_seed)
