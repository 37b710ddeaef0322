"""Freeze and thaw: a search by pieces of trainings, which sweeps.thaw proposes."""

from collections.abc import Mapping

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler

from espalier.sweeps.samplers import Sampler


class Pieces(Sampler):
    """Has pieces of trainings asked for, not whole trials; see `sweeps.search.pieces`."""

    def make(self, domains: Mapping[str, BaseDistribution], seed: int, draw_seed: int) -> BaseSampler:
        """Return a sampler that draws nothing that the model decides."""
        return RandomSampler(seed=draw_seed)
