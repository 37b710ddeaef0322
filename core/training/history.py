"""The history of a trial: the optimizer's coefficients at each of its steps. Where histories differ, a lane forks.

R = trials, S = steps, C = coefficients.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from espalier.core.numbers import Number
from espalier.core.schedules.registry import SCHEDULES, build
from espalier.core.schedules.schedule import RateFunction
from espalier.core.schedules.warmup import WARMUP
from espalier.core.tensors import as_rows
from espalier.core.training.trial import Probe, Structure, Trial


def rates(structure: Structure, trials: Sequence[Trial]) -> tuple[RateFunction, Mapping[str, Tensor]]:
    """Return the schedule of R trials as one function of u, and their numbers as columns (R,)."""
    return _rates(structure, tuple(trials))


@lru_cache(maxsize=256)
def _rates(structure: Structure, trials: tuple[Trial, ...]) -> tuple[RateFunction, Mapping[str, Tensor]]:
    numbers = [WARMUP, *SCHEDULES[structure.schedule].numbers, *structure.optimizer.numbers]
    hyper = {
        number.name: torch.tensor([t.hyper.get(number.name, number.default) for t in trials], dtype=torch.float64)
        for number in numbers
        if isinstance(number, Number)
    }
    hyper["lr"] = torch.tensor([t.hyper.lr for t in trials], dtype=torch.float64)
    hyper["budget"] = torch.tensor([t.budget for t in trials], dtype=torch.float64)
    most = max(len(t.hyper.decay_points) for t in trials)
    points = [[*t.hyper.decay_points, *[math.inf] * (most - len(t.hyper.decay_points))] for t in trials]
    points_RP = torch.tensor(points, dtype=torch.float64).reshape(len(trials), most)
    return build(structure.schedule, hyper | {"points": points_RP}, structure.phases), hyper


def history(structure: Structure, trials: Sequence[Trial], first_R: Sequence[int], steps: int) -> Tensor:
    """Return the coefficients (S, C, R) of each trial's steps first_R ... first_R + steps - 1, float64; see `clocked`.

    A trial's column has the same bits whichever trials are beside it and wherever the interval begins.
    """
    schedule, hyper = rates(structure, trials)
    step_SR = torch.arange(steps, dtype=torch.float64)[:, None] + torch.tensor(first_R, dtype=torch.float64)
    lr_SR = schedule(step_SR / hyper["budget"])
    if any(t.probe for t in trials):
        lr_SR = _probing(schedule, trials, hyper["budget"], step_SR, lr_SR)
    table_SCR = structure.optimizer.columns(lr_SR, step_SR, hyper)
    if not structure.clocked:
        return table_SCR
    return torch.cat([table_SCR, step_SR[:, None], (step_SR / hyper["budget"])[:, None]], 1)


def _probing(
    schedule: RateFunction, trials: Sequence[Trial], budget_R: Tensor, step_SR: Tensor, lr_SR: Tensor
) -> Tensor:
    """Return the rates, with those of probes replaced."""

    def column(number: Callable[[Trial, Probe], float]) -> Tensor:
        return torch.tensor([number(t, t.probe) if t.probe else math.nan for t in trials], dtype=torch.float64)

    start_R = column(lambda t, probe: probe.start)
    share_R = column(lambda t, probe: math.nan if probe.factor is None else probe.factor)
    length_R = column(lambda t, probe: t.steps - probe.start)
    from_R = schedule(torch.where(start_R.isnan(), 0.0, start_R) / budget_R)
    to_R = schedule((budget_R - 1) / budget_R)
    line_SR = from_R + (to_R - from_R) * ((step_SR - start_R + 1) / length_R)
    probe_SR = torch.where(share_R.isnan(), line_SR, from_R * share_R)
    return torch.where(start_R.isnan(), lr_SR, probe_SR)


def fork_step(structure: Structure, trials: Sequence[Trial], first: int, block: int = 4096) -> int | None:
    """Return the first step >= `first` at which the histories of the trials differ; None if they agree to the end."""
    last = max(t.steps for t in trials)
    for start in range(first, last, block):
        table_SCR = history(structure, trials, [start] * len(trials), min(block, last - start))
        differs_S = (table_SCR != table_SCR[:, :, :1]).any(-1).any(-1)
        if differs_S.any():
            return start + int(differs_S.nonzero()[0, 0])
    return None


def fork_steps(structure: Structure, trunk: Trial, branches: Sequence[Trial], block: int = 4096) -> list[int | None]:
    """Return the first step at which the history of each branch differs from the trunk's; None if it never does."""
    forks: list[int | None] = [None] * len(branches)
    trials = [trunk, *branches]
    for start in range(0, trunk.steps, block):
        table_SCR = history(structure, trials, [start] * len(trials), min(block, trunk.steps - start))
        differs_SB = (table_SCR[:, :, 1:] != table_SCR[:, :, :1]).any(1)
        for b in (b for b, fork in enumerate(forks) if fork is None):
            if differs_SB[:, b].any():
                forks[b] = start + int(differs_SB[:, b].nonzero()[0, 0])
    return forks


def groups_at(structure: Structure, trials: Sequence[Trial], step: int) -> list[list[Trial]]:
    """Group trials by their coefficients at one step, each group and the groups in the order given."""
    table_CR = history(structure, trials, [step] * len(trials), 1)[0]
    groups: dict[tuple[float, ...], list[Trial]] = {}
    for trial, column in zip(trials, as_rows(table_CR.T), strict=True):
        groups.setdefault(tuple(column), []).append(trial)
    return list(groups.values())
