"""A lane and the trials that train in it: one trunk while their histories agree, then a branch each."""

from dataclasses import dataclass, field

from espalier.core.training.history import fork_step
from espalier.core.training.trial import Structure, Trial

Memory = dict[str, object]
"""What watchers remember of a trial: plain values by name, which a checkpoint takes."""
PythonValues = dict[str, object]
"""What a task keeps in Python for one lane, by the path of the variable."""


@dataclass
class TrialRun:
    """A trial that trains, and what it has reported so far. With a `score` it is a copy that trains on for that score.

    reported: the step of its last report. curve: (step, mean training loss) of blocks. values: the last finite ones.
    memory: what watchers remember of it. missing: by metric, the steps of the reports in which it was no number.
    """

    trial: Trial
    score: str = ""
    reported: int = 0
    curve: list[tuple[int, float]] = field(default_factory=list[tuple[int, float]])
    reports: list[tuple[int, dict[str, float]]] = field(default_factory=list[tuple[int, dict[str, float]]])
    values: dict[str, float] = field(default_factory=dict[str, float])
    memory: Memory = field(default_factory=dict[str, object])
    missing: dict[str, list[int]] = field(default_factory=dict[str, list[int]])

    def next_report(self) -> int:
        """Return the step after which the trial reports next."""
        return self.trial.next_report(self.reported)


@dataclass
class Lane:
    """The runs of trials that train as one, and how far they are. Their state is a row of the pool.

    fork_at: the step at which their histories differ; None if they never do. losses: of the last steps, back to the
    oldest report of a run. samples: update ratios, as in events.Reported. awaited: trials whose copies train on for a
    score; the lane is parked till they end. python: what the task keeps in Python for it; None is what a new trial
    begins with.
    """

    runs: list[TrialRun]
    step: int = 0
    fork_at: int | None = None
    losses: list[float] = field(default_factory=list[float])
    samples: list[list[float]] = field(default_factory=list[list[float]])
    awaited: list[str] = field(default_factory=list[str])
    python: PythonValues | None = None

    @property
    def trials(self) -> list[Trial]:
        """The trials of the runs."""
        return [run.trial for run in self.runs]

    @property
    def leader(self) -> Trial:
        """The first of the trials, whose history is that of all."""
        return self.runs[0].trial

    @property
    def seed(self) -> int:
        """The seed that all its trials have."""
        return self.leader.seed

    @property
    def is_probe(self) -> bool:
        """Whether it trains for a score alone."""
        return bool(self.runs[0].score)

    def next_stop(self) -> int:
        """Return the step at which something happens to this lane: a report, a rung, or a fork."""
        marks = [mark for run in self.runs for mark in (run.next_report(), run.trial.next_rung(self.step))]
        return min(mark for mark in [*marks, self.fork_at] if mark is not None)

    def plan_fork(self, structure: Structure) -> None:
        """Find the step at which the histories of its trials differ."""
        self.fork_at = fork_step(structure, self.trials, self.step) if len(self.runs) > 1 else None

    def losses_since(self, step: int) -> list[float]:
        """Return the losses of the steps from `step` on."""
        return self.losses[len(self.losses) - (self.step - step) :] if step < self.step else []

    def forget_reported_losses(self) -> None:
        """Keep the losses of the steps that some run has not reported yet."""
        unreported = max((self.step - run.reported for run in self.runs), default=0)
        self.losses = self.losses[max(0, len(self.losses) - unreported) :]

    def branch(self, runs: list[TrialRun], python: PythonValues | None) -> "Lane":
        """Return a lane with the same past, other runs, and `python` for its own."""
        return Lane(runs, self.step, None, list(self.losses), list(self.samples), python=python)
