"""A Gaussian process with expected improvement."""

from collections.abc import Mapping

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler

from espalier.sweeps.samplers import Sampler


class GP(Sampler):
    """Learns from complete trials only, and draws at random until there are ten."""

    def make(self, domains: Mapping[str, BaseDistribution], seed: int, draw_seed: int) -> BaseSampler:
        """Return the sampler, for a noisy objective: another seed gives another value."""
        return GPSampler(seed=draw_seed, deterministic_objective=False)
