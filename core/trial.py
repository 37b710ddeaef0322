"""Trials as the engine sees them: a seed, a length, and the history of its per-lane hyperparameters.

R = trials, S = steps, C = the optimizer's coefficients. What changes the program is a Structure, frozen and hashable;
what is a number in a row is in Hyperparameters.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache

import torch
from torch import Tensor

from core import schedule as schedules
from core.optim import SGD, Optimizer
from core.schedule import Schedule


@dataclass(frozen=True)
class Structure:
    """What a program is built from; trials of one structure can share one."""

    optimizer: Optimizer = field(default_factory=SGD)
    schedule: str = "step"
    batch_size: int = 32
    dtype: str = "float32"


@dataclass(frozen=True)
class Hyperparameters:
    """The numbers of one lane. `points` and `warmup` are shares of the budget."""

    lr: float
    decay_points: tuple[float, ...] = ()
    decay_factor: float = 0.1
    warmup: float = 0.0
    floor: float = 0.0
    momentum: float = 0.0
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8


_NUMBERS = [f.name for f in fields(Hyperparameters) if f.name != "decay_points"]


@dataclass(frozen=True)
class Trial:
    """One configuration under one seed."""

    id: str
    seed: int
    steps: int
    hyper: Hyperparameters
    reports: int = 10

    def report_steps(self) -> tuple[int, ...]:
        """Return after how many steps the trial reports: at equal shares of its budget, the last at its end."""
        return _report_steps(self.steps, self.reports)

    def next_report(self, step: int) -> int:
        """Return the first report step after `step`, which is before the trial's end."""
        steps = self.report_steps()
        return steps[bisect_right(steps, step)]


@lru_cache(maxsize=256)
def _report_steps(steps: int, reports: int) -> tuple[int, ...]:
    return tuple(sorted({max(1, round(steps * i / reports)) for i in range(1, reports + 1)}))


def _step(hyper: Mapping[str, Tensor], points_RP: Tensor) -> Schedule:
    return schedules.step_decay(hyper["lr"], points_RP, hyper["decay_factor"])


SCHEDULES: dict[str, Callable[[Mapping[str, Tensor], Tensor], Schedule]] = {
    "constant": lambda hyper, points: schedules.constant(hyper["lr"]),
    "step": _step,
    "cosine": lambda hyper, points: schedules.cosine(hyper["lr"], hyper["floor"], hyper["warmup"]),
}


def rates(name: str, trials: Sequence[Trial]) -> tuple[Schedule, dict[str, Tensor]]:
    """Return the schedule of R trials as one function of u, and their numbers as columns (R,)."""
    hyper = {key: torch.tensor([getattr(t.hyper, key) for t in trials], dtype=torch.float64) for key in _NUMBERS}
    most = max(len(t.hyper.decay_points) for t in trials)
    points = [[*t.hyper.decay_points, *[math.inf] * (most - len(t.hyper.decay_points))] for t in trials]
    points_RP = torch.tensor(points, dtype=torch.float64).reshape(len(trials), most)
    return schedules.warmed(SCHEDULES[name](hyper, points_RP), hyper["warmup"]), hyper


def history(structure: Structure, trials: Sequence[Trial], first_R: Sequence[int], steps: int) -> Tensor:
    """Return the coefficients (S, C, R) of each trial's steps first_R ... first_R + steps - 1, float64.

    A trial's column is the same to the last bit whatever stands beside it and wherever the interval begins.
    """
    schedule, hyper = rates(structure.schedule, trials)
    step_SR = torch.arange(steps, dtype=torch.float64)[:, None] + torch.tensor(first_R, dtype=torch.float64)
    budget_R = torch.tensor([t.steps for t in trials], dtype=torch.float64)
    return structure.optimizer.columns(schedule(step_SR / budget_R), step_SR, hyper)


def parting_step(structure: Structure, trials: Sequence[Trial], first: int, block: int = 4096) -> int | None:
    """Return the first step >= first at which the histories of the trials differ; None if they agree to their ends."""
    last = max(t.steps for t in trials)
    for start in range(first, last, block):
        table_SCR = history(structure, trials, [start] * len(trials), min(block, last - start))
        differs_S = (table_SCR != table_SCR[:, :, :1]).any(-1).any(-1)
        if differs_S.any():
            return start + int(differs_S.nonzero()[0, 0])
    return None


def parted(structure: Structure, trials: Sequence[Trial], step: int) -> list[list[Trial]]:
    """Group trials by their coefficients at one step, each group and the groups in the order given."""
    table_CR = history(structure, trials, [step] * len(trials), 1)[0]
    groups: dict[tuple[float, ...], list[Trial]] = {}
    for trial, column in zip(trials, table_CR.T.tolist(), strict=True):
        groups.setdefault(tuple(column), []).append(trial)
    return list(groups.values())
