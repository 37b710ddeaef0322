"""Trials as the engine sees them: a seed, a length, and the history of its per-lane hyperparameters.

R = trials, S = steps, C = the optimizer's coefficients. What changes the program is a Structure, frozen and hashable;
what is a number in a row is in Hyperparameters.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import torch
from torch import Tensor

from espalier.core.numbers import Number
from espalier.core.optimizers import SGD, Optimizer
from espalier.core.schedules.registry import SCHEDULES, build
from espalier.core.schedules.schedule import Phase, RateFunction
from espalier.core.schedules.warmup import WARMUP


@dataclass(frozen=True)
class Structure:
    """What a program is built from; trials of one structure can share one."""

    optimizer: Optimizer = field(default_factory=SGD)
    schedule: str = "step"
    batch_size: int = 32
    dtype: str = "float32"
    phases: tuple[Phase, ...] = ()
    clocked: bool = False
    """Whether the loss takes the step: then a history has two more rows, the step and the share of the budget."""


@dataclass(frozen=True, init=False)
class Hyperparameters:
    """The numbers of one lane: its rate, its decay points, and by name what its schedule and its optimizer take.

    A number that is not given has the default that its schedule or optimizer declares.

    >>> hyper = Hyperparameters(0.1, (0.5,), momentum=0.9, floor=None)
    >>> hyper.get("momentum", 0.0), hyper.get("floor", 0.01)
    (0.9, 0.01)
    """

    lr: float
    decay_points: tuple[float, ...]  # shares of the budget
    numbers: tuple[tuple[str, float], ...]

    def __init__(
        self,
        lr: float,
        decay_points: Iterable[float] = (),
        numbers: Iterable[tuple[str, float]] = (),
        **more: float | None,
    ):
        """Take any sequence of decay points. numbers, more: by name; None stands for the default."""
        object.__setattr__(self, "lr", lr)
        object.__setattr__(self, "decay_points", tuple(decay_points))
        named = {name: value for name, value in (dict(numbers) | more).items() if value is not None}
        object.__setattr__(self, "numbers", tuple(sorted(named.items())))

    def get(self, name: str, default: float) -> float:
        """Return a number by name."""
        return dict(self.numbers).get(name, default)


@dataclass(frozen=True)
class Probe:
    """A short end tried out: after `start` steps of a budget the rate falls as if the end had come.

    With a `factor` it falls at once to so much of the rate it had; without one it falls in a line to the rate that the
    schedule ends with, so a constant one stays what it is.
    """

    start: int
    budget: int
    factor: float | None = None


@dataclass(frozen=True)
class Trial:
    """One configuration under one seed. `rungs`: after how many steps it is scored, all before its end."""

    id: str
    seed: int
    steps: int
    hyper: Hyperparameters
    reports: int = 10
    rungs: tuple[int, ...] = ()
    probe: Probe | None = None

    @property
    def budget(self) -> int:
        """How many steps the shares of a schedule refer to."""
        return self.probe.budget if self.probe else self.steps

    def probed(self, start: int, steps: int, factor: float | None) -> "Trial":
        """Return the trial as it would be if its end came `steps` steps after `start`."""
        ending = Probe(start, self.steps, factor)
        return replace(self, steps=start + steps, reports=1, rungs=(), probe=ending)

    def report_steps(self) -> tuple[int, ...]:
        """Return after how many steps the trial reports: at equal shares of its budget, the last at its end."""
        return _report_steps(self.steps, self.reports)

    def next_rung(self, step: int) -> int | None:
        """Return the first rung after `step`, if there is one."""
        return next((rung for rung in self.rungs if rung > step), None)

    def next_report(self, step: int) -> int:
        """Return the first report step after `step`, which is before the trial's end."""
        steps = self.report_steps()
        return steps[bisect_right(steps, step)]


@lru_cache(maxsize=256)
def _report_steps(steps: int, reports: int) -> tuple[int, ...]:
    return tuple(sorted({max(1, round(steps * i / reports)) for i in range(1, reports + 1)}))


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

    A trial's column is the same to the last bit whatever stands beside it and wherever the interval begins.
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
    """Return the rates with those of probes replaced."""

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
