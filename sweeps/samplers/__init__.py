"""Samplers, which propose the points of a search. The registry is their only list; it does not import Optuna."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from espalier.core.loading.registry import Registry

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler


class Sampler:
    """Makes an Optuna sampler. Your own inherits from this, and a spec names it as `file.py:Class`.

    enumerates: whether it proposes each point of a finite space exactly once.
    """

    enumerates: ClassVar[bool] = False

    def make(self, domains: "Mapping[str, BaseDistribution]", seed: int, draw_seed: int) -> "BaseSampler":
        """Return the sampler of a space.

        seed: the spec's, the same in each process. draw_seed: different in each process, so that a resumed sweep does
        not repeat the first draws of the earlier process.
        """
        raise NotImplementedError

    def make_conditional(self, domains: "Mapping[str, BaseDistribution]", seed: int, draw_seed: int) -> "BaseSampler":
        """Return the sampler of a space in which some hyperparameters exist only under a condition.

        A trial then lacks the others: it is asked for them one by one, and never for those. By default that of `make`.
        """
        return self.make(domains, seed, draw_seed)


SAMPLERS: Registry[Sampler] = Registry(
    "search.sampler",
    "sweeps.samplers:Sampler",
    {
        "tpe": "sweeps.samplers.tpe:TPE",
        "random": "sweeps.samplers.random:Random",
        "qmc": "sweeps.samplers.qmc:QMC",
        "grid": "sweeps.samplers.grid:Grid",
        "gp": "sweeps.samplers.gp:GP",
        "thaw": "sweeps.samplers.pieces:Pieces",
    },
    noun="sampler",
)
