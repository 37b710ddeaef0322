"""A lane and its trials: they train as one while their histories agree, then each in a branch."""

from dataclasses import dataclass, field

from espalier.core.training.history import fork_step
from espalier.core.training.trial import Structure, Trial

Memory = dict[str, object]
"""What watchers remember of a trial: plain values by name, which a checkpoint takes."""
PythonValues = dict[str, object]
"""What a task keeps in Python for one lane, by the path of the variable."""


@dataclass
class TrialRun:
    """A trial in training, and its reports so far. With a `score` it is a copy that trains for that score.

    reported: the step of its last report. curve: (step, mean training loss) of blocks. values: the last finite ones.
    memory: values that watchers store with it.
    missing: by metric, the steps of the reports in which it was not finite.
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
        """Return the step of the trial's next report."""
        return self.trial.next_report(self.reported)


@dataclass
class Lane:
    """The runs of trials that train as one, and their step. Their state is a row of the pool.

    fork_at: the step at which their histories differ; None if they never do.
    losses: of the last steps, back to the earliest last report of a run.
    samples: update ratios, as in events.Reported.
    awaited: trials whose copies train for a score; the lane is parked until they end.
    python: the task's state in Python for this lane; None for the initial state.
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
        """The first of the trials; all have its history."""
        return self.runs[0].trial

    @property
    def seed(self) -> int:
        """The seed of all its trials."""
        return self.leader.seed

    @property
    def is_probe(self) -> bool:
        """Whether it trains only for a score."""
        return bool(self.runs[0].score)

    def next_stop(self) -> int:
        """Return the step of this lane's next report, rung or fork, or at which it is kept or parked."""
        marks = [self.fork_at]
        for run in self.runs:
            marks += [run.next_report(), run.trial.next_rung(self.step), run.trial.next_freeze(self.step)]
        return min(mark for mark in marks if mark is not None)

    def plan_fork(self, structure: Structure) -> None:
        """Set `fork_at` to the step at which the histories of its trials differ."""
        self.fork_at = fork_step(structure, self.trials, self.step) if len(self.runs) > 1 else None

    def losses_since(self, step: int) -> list[float]:
        """Return the losses of the steps from `step` on."""
        return self.losses[len(self.losses) - (self.step - step) :] if step < self.step else []

    def forget_reported_losses(self) -> None:
        """Drop the losses that all runs have reported."""
        unreported = max((self.step - run.reported for run in self.runs), default=0)
        self.losses = self.losses[max(0, len(self.losses) - unreported) :]

    def branch(self, runs: list[TrialRun], python: PythonValues | None) -> "Lane":
        """Return a lane with the same past, with other runs and its own `python`."""
        return Lane(runs, self.step, None, list(self.losses), list(self.samples), python=python)
