"""A sampler of the user's own proposes a trial before anything begins, so that its faults are found then."""

import warnings

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler

from espalier.core.errors import BadInput, as_bad_input, shown
from espalier.core.loading.registry import is_reference
from espalier.sweeps.samplers import SAMPLERS, Sampler
from espalier.sweeps.search.asking import Draws, distribution, suggest_missing
from espalier.sweeps.spec.spec import SweepSpec


def try_sampler(spec: SweepSpec) -> None:
    """Have the spec's own sampler propose a trial, and tell it a result, in a study in memory. Raises BadInput."""
    reference = spec.search.sampler
    if not is_reference(reference):
        return
    field, kind = f"search.sampler: {reference}", SAMPLERS[reference]
    if kind.make is Sampler.make:
        raise BadInput(f"{field} has no make(); it must return a sampler of Optuna")
    domains = {name: distribution(domain) for name, domain in spec.space.domains()}
    with as_bad_input(field), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make = kind().make_conditional if spec.space.conditions else kind().make
        sampler = make(domains, spec.search.seed, spec.search.seed)
    if not isinstance(sampler, BaseSampler):
        raise BadInput(f"{field}: make() returned {shown(sampler)}; it must return a sampler of Optuna")
    with as_bad_input(f"{field}: it proposes no trial"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _propose(spec, domains)


def _propose(spec: SweepSpec, domains: dict[str, BaseDistribution]) -> None:
    """Ask for a trial and tell its result, as a sweep does."""
    draws = Draws(spec, domains, 0)
    direction = "minimize" if spec.objective.mode == "min" else "maximize"
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(sampler=draws.of(0), direction=direction)
        trial = study.ask()
        suggest_missing(trial, spec.space, domains)
        if draws.sampler.enumerates:
            study.sampler = RandomSampler()
        study.tell(trial, 1.0)
    finally:
        optuna.logging.set_verbosity(before)
