"""The first line of a run: the number of trials, their rates, and how they are distributed over choices."""

import math

from espalier.core.errors import MESSAGE_MOST, brief, counted
from espalier.sweeps.spec.space import AUTO, Choice, Range, extremes
from espalier.sweeps.spec.spec import SweepSpec


def header(spec: SweepSpec) -> str:
    """Return a line on what a sweep is about to do.

    >>> from espalier.sweeps.spec.spec import make_spec
    >>> fields = {"name": "a", "task": "espalier.core.tasks.names:Names", "trials": 16}
    >>> space = {"lr_exponent": {"low": -2, "high": 0.5}, "decay_points": {"branches": 4}, "hidden": [100, 200]}
    >>> print(header(make_spec(fields | {"space": space, "search": {"sampler": "tpe"}})))
    sweep a: 16 trials of 10,000 steps at rates from 0.01 to 3.16; 4 exponents with 4 decay points each; each of the 2 \
values of hidden gets about 2 of them
    """
    trials, steps = spec.trials_wanted, spec.budget.steps
    seeds = f" under {spec.replicates} seeds each" if spec.replicates > 1 else ""
    timed = spec.budget.time_text
    if timed or (spec.search.by_pieces and spec.budget.trainings is not None):
        worth = timed or f"{spec.trainings:g} trainings' worth"
        what = f"{worth} of trials of {counted(steps, 'step')}"
    elif spec.search.by_pieces:
        what = f"{counted(trials, 'trial')} of {'up to ' * (spec.trainings < trials)}{counted(steps, 'step')}"
        what += f", as much training as {spec.trainings:g} whole ones," * (spec.trainings < trials)
    else:
        what = f"{counted(trials, 'trial')} of {counted(steps, 'step')}"
    parts = [f"sweep {spec.name}: {what}{seeds} {_rates(spec)}".rstrip()]
    if spec.branches > 1:
        parts.append(_trunks(spec))
    return brief("; ".join(filter(None, [*parts, _choices(spec)])), MESSAGE_MOST)


def _rates(spec: SweepSpec) -> str:
    domain = spec.space.lr_exponent
    if domain == AUTO:
        return "at rates that a range test finds first"
    if domain is None:  # a function or a command whose rate is not searched
        return ""
    rates = [f"{10.0 ** float(exponent):.3g}" for exponent in extremes(domain)]
    if isinstance(domain, Range) and rates[0] != rates[1]:
        return f"at rates from {rates[0]} to {rates[1]}"
    if len(rates) > 6:
        return f"at {len(rates)} rates from {min(rates, key=float)} to {max(rates, key=float)}"
    distinct = list(dict.fromkeys(rates))
    return f"at the rate{'s' if len(distinct) > 1 else ''} {', '.join(distinct)}"


def trunks(spec: SweepSpec) -> int:
    """Return how many configurations are proposed; the branches of a trunk count as one."""
    return -(-spec.trials_wanted // spec.branches)


def _trunks(spec: SweepSpec) -> str:
    count, rest = trunks(spec), spec.trials_wanted % spec.branches
    noun = "exponent" if isinstance(spec.space.lr_exponent, Range) else "configuration"
    sets, size = min(spec.branches, spec.trials_wanted), spec.space.most_points()
    points = f"{sets} {'' if size == 1 else 'pairs of ' if size == 2 else f'sets of {size} '}decay points"
    last = f", the last with {rest}" if rest and count > 1 else ""
    return f"{counted(count, noun)} with {points} each{last}"


def _choices(spec: SweepSpec) -> str:
    """Return how many configurations each choice gets; a grid has each once, and a search by pieces decides itself."""
    domains = [(name, domain) for name, domain in spec.space.domains() if name not in spec.space.conditions]
    choices = {name: len(domain.choices) for name, domain in domains if isinstance(domain, Choice)}
    if not choices or spec.search.by_pieces or spec.search.sampler == "grid":
        return ""
    combinations, count = math.prod(choices.values()), trunks(spec)
    names = ", ".join(choices)
    what = f"values of {names}" if len(choices) == 1 else f"combinations of {names}"
    if combinations > count:
        return f"of the {combinations:,} {what} {count:,} at most are tried"
    each = round(count / combinations)
    share = f"{each:,} of them" if spec.branches > 1 else counted(each, "trial")
    return f"each of the {combinations:,} {what} gets about {share}"
