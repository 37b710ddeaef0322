"""Samplers: who proposes the points of a search. The registry is their only list, readable without Optuna."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from espalier.core.loading.registry import Registry

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler


class Sampler:
    """Makes one of Optuna's samplers. A person's own inherits from this, and is named as `file.py:Class` in a spec.

    enumerates: whether it proposes each point of a finite space once.
    """

    enumerates: ClassVar[bool] = False

    def make(self, domains: "Mapping[str, BaseDistribution]", seed: int, draw_seed: int) -> "BaseSampler":
        """Return the sampler of a space.

        seed: as the spec has it, the same in each process. draw_seed: another in each process, so that one that goes
        on with a sweep does not repeat the first draws of the one before.
        """
        raise NotImplementedError


SAMPLERS: Registry[Sampler] = Registry(
    "search.sampler",
    "sweeps.samplers:Sampler",
    {
        "tpe": "sweeps.samplers.tpe:TPE",
        "random": "sweeps.samplers.random:Random",
        "qmc": "sweeps.samplers.qmc:QMC",
        "grid": "sweeps.samplers.grid:Grid",
        "gp": "sweeps.samplers.gp:GP",
    },
    noun="sampler",
)
