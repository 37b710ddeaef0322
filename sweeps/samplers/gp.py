"""A Gaussian process with expected improvement."""

from collections.abc import Mapping

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, TPESampler

from espalier.sweeps.samplers import Sampler

STARTS = 4  # trials at random: with ten, as Optuna has it, small sweeps were worse than random ones


class GP(Sampler):
    """Learns from complete trials only, and draws at random until there are four."""

    def make(self, domains: Mapping[str, BaseDistribution], seed: int, draw_seed: int) -> BaseSampler:
        """Return the sampler, for a noisy objective: another seed gives another value."""
        return GPSampler(seed=draw_seed, n_startup_trials=STARTS, deterministic_objective=False)

    def make_conditional(self, domains: Mapping[str, BaseDistribution], seed: int, draw_seed: int) -> BaseSampler:
        """Return the sampler; what not every trial has is proposed by TPE.

        Optuna's process knows only the hyperparameters that all complete trials have; others it would draw at random.
        """
        return GPSampler(
            seed=draw_seed,
            n_startup_trials=STARTS,
            deterministic_objective=False,
            independent_sampler=TPESampler(seed=draw_seed, multivariate=False),
            warn_independent_sampling=False,
        )
