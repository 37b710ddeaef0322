"""Trials in the engine: a seed, a length, and the numbers of a lane.

A choice that changes the program is in Structure, frozen and hashable; a number of a lane is in Hyperparameters.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache

from espalier.core.optimizers import SGD, Optimizer
from espalier.core.schedules.schedule import Phase


@dataclass(frozen=True)
class Structure:
    """The choices that a program is built for; trials of one structure can share a program."""

    optimizer: Optimizer = field(default_factory=SGD)
    schedule: str = "step"
    batch_size: int = 32
    dtype: str = "float32"
    phases: tuple[Phase, ...] = ()
    clocked: bool = False
    """Whether the loss takes the step: then a history has two more rows, the step and the share of the budget."""


@dataclass(frozen=True, init=False)
class Hyperparameters:
    """The numbers of one lane: its rate, its decay points, and by name the numbers of its schedule and optimizer.

    A missing number has the default that its schedule or optimizer declares.

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
        """decay_points: any sequence of shares. numbers, more: by name; None stands for the default."""
        object.__setattr__(self, "lr", lr)
        object.__setattr__(self, "decay_points", tuple(decay_points))
        named = {name: value for name, value in (dict(numbers) | more).items() if value is not None}
        object.__setattr__(self, "numbers", tuple(sorted(named.items())))

    def get(self, name: str, default: float) -> float:
        """Return a number by name."""
        return dict(self.numbers).get(name, default)


@dataclass(frozen=True)
class Probe:
    """A trial's end tried early: after `start` steps of its budget the rate decays as if the end were near.

    With a `factor` the rate is multiplied by it at once. Without one it falls linearly to the last rate of the
    schedule, so a constant rate stays constant.
    """

    start: int
    budget: int
    factor: float | None = None


@dataclass(frozen=True)
class Trial:
    """One configuration under one seed. rungs: the steps after which it is scored, all before its end.

    until: the step at which it is parked, None if it trains to its end. keep_at: steps at which its state is kept.
    """

    id: str
    seed: int
    steps: int
    hyper: Hyperparameters
    reports: int = 10
    rungs: tuple[int, ...] = ()
    probe: Probe | None = None
    until: int | None = None
    keep_at: tuple[int, ...] = ()

    @property
    def budget(self) -> int:
        """The budget in steps, to which the shares of its schedule refer."""
        return self.probe.budget if self.probe else self.steps

    def probed(self, start: int, steps: int, factor: float | None) -> "Trial":
        """Return the trial with an early end, `steps` steps after `start`."""
        ending = Probe(start, self.steps, factor)
        return replace(self, steps=start + steps, reports=1, rungs=(), probe=ending, until=None, keep_at=())

    def report_steps(self) -> tuple[int, ...]:
        """Return the steps after which the trial reports: at equal shares of its budget, the last at its end."""
        return report_steps(self.steps, self.reports)

    def next_rung(self, step: int) -> int | None:
        """Return the first rung after `step`, if there is one."""
        return next((rung for rung in self.rungs if rung > step), None)

    def next_freeze(self, step: int) -> int | None:
        """Return the first step after `step` at which its state is kept or it is parked, if there is one."""
        until = () if self.until is None else (self.until,)
        return min((at for at in (*self.keep_at, *until) if at > step), default=None)

    def next_report(self, step: int) -> int:
        """Return the first report step after `step`, which is before the trial's end."""
        steps = self.report_steps()
        return steps[bisect_right(steps, step)]


@lru_cache(maxsize=256)
def report_steps(steps: int, reports: int) -> tuple[int, ...]:
    """Return so many steps at equal shares of a budget, the last at its end.

    >>> report_steps(100, 4), report_steps(2, 10)
    ((25, 50, 75, 100), (1, 2))
    """
    return tuple(sorted({max(1, round(steps * i / reports)) for i in range(1, reports + 1)}))
