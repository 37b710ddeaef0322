"""A lane and the trials that train in it: one trunk while their histories agree, then a branch each."""

from dataclasses import dataclass, field
from typing import Any

from espalier.core.training.history import parting_step
from espalier.core.training.trial import Structure, Trial


@dataclass
class Rider:
    """A trial in a lane and what it has reported so far. With a `score` it is a probe that stands for the trial.

    reported: the step of its last report. values: the last finite ones. memory: what watchers remember of it. missing:
    by metric, the steps of the reports in which it was no number.
    """

    trial: Trial
    score: str = ""
    reported: int = 0
    curve: list[tuple[int, float]] = field(default_factory=list)
    reports: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    values: dict[str, float] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    missing: dict[str, list[int]] = field(default_factory=dict)

    def next_report(self) -> int:
        """Return the step after which the trial reports next."""
        return self.trial.next_report(self.reported)


@dataclass
class Lane:
    """Trials that train as one, and how far they are. Their state is a row of the pool.

    parting: the step at which their histories part, if they do. losses: of the last steps, back to the oldest report
    of a rider. samples: update ratios, as in events.Reported. awaited: trials for which a probe trains; the lane is
    parked till then. python: what the task keeps in Python for it; None is what a new trial begins with.
    """

    riders: list[Rider]
    step: int = 0
    parting: int | None = None
    losses: list[float] = field(default_factory=list)
    samples: list[list[float]] = field(default_factory=list)
    awaited: list[str] = field(default_factory=list)
    python: dict[str, Any] | None = None

    @property
    def trials(self) -> list[Trial]:
        """The trials of the riders."""
        return [rider.trial for rider in self.riders]

    @property
    def leader(self) -> Trial:
        """The first of the trials, whose history is that of all."""
        return self.riders[0].trial

    @property
    def seed(self) -> int:
        """The seed that all riders have."""
        return self.leader.seed

    @property
    def is_probe(self) -> bool:
        """Whether it trains for a score alone."""
        return bool(self.riders[0].score)

    def next_stop(self) -> int:
        """Return the step at which something happens to this lane."""
        marks = [mark for rider in self.riders for mark in (rider.next_report(), rider.trial.next_rung(self.step))]
        return min(mark for mark in [*marks, self.parting] if mark is not None)

    def plan_fork(self, structure: Structure) -> None:
        """Find the step at which the histories of the riders part."""
        self.parting = parting_step(structure, self.trials, self.step) if len(self.riders) > 1 else None

    def losses_since(self, step: int) -> list[float]:
        """Return the losses of the steps from `step` on."""
        return self.losses[len(self.losses) - (self.step - step) :] if step < self.step else []

    def forget_reported_losses(self) -> None:
        """Keep the losses of the steps that some rider has not reported yet."""
        unreported = max((self.step - rider.reported for rider in self.riders), default=0)
        self.losses = self.losses[max(0, len(self.losses) - unreported) :]

    def branch(self, riders: list[Rider], python: dict[str, Any] | None) -> "Lane":
        """Return a lane with the same past, other riders, and `python` for its own."""
        return Lane(riders, self.step, None, list(self.losses), list(self.samples), python=python)
