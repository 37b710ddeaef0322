"""The progress of a sweep and its texts: phase, trials, the best, speed, time left."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from espalier.sweeps.results.formatting import decimals, params_text
from espalier.sweeps.results.trial_result import TrialResult, best_trial
from espalier.sweeps.running.messages import Turn
from espalier.sweeps.running.work import WorkCount
from espalier.sweeps.search.cohort_plan import CohortPlan
from espalier.sweeps.search.trial_events import Outcome, Park, Report, Start, TrialEvent
from espalier.sweeps.spec.notify import Notify
from espalier.sweeps.spec.space import Point
from espalier.sweeps.spec.spec import SweepSpec

SILENT_S = 60.0
NAMED = 6  # trials named in a text; more are counted


@dataclass
class Progress:
    """The progress of a running sweep. Changed by the driver, read by the display."""

    sweep: str
    wanted: int
    steps: int
    mode: str
    metric: str
    begin: float = field(default_factory=time.monotonic)
    states: dict[int, str] = field(default_factory=dict)
    best: tuple[int, float, Point] | None = None
    latest: tuple[int, int, float] | None = None
    training: tuple[int, int, float] | None = None  # before the first validation: trial, step, mean training loss
    work: WorkCount = field(default_factory=WorkCount)
    training_begin: float | None = None
    share_before: float = 0.0
    program: str = ""
    nodes: set[str] = field(default_factory=set)
    first_result_s: float | None = None
    steps_done: dict[int, int] = field(default_factory=dict)
    last_turn_at: dict[str, float] = field(default_factory=dict)  # for each cohort that trains
    cohorts: dict[str, CohortPlan] = field(default_factory=dict)
    points: dict[int, Point] = field(default_factory=dict)  # of this driver's trials
    confirming: set[int] = field(default_factory=set[int])  # trials that repeat another under another seed
    notes: list[str] = field(default_factory=list)  # notes on problems, a sentence each
    phase: str = "starting"
    searched: Collection[str] = ()  # the searched hyperparameters
    share_paid: float | None = None  # of a budget, what has been given out or used; None where trials count
    ends_at: float | None = None  # when the time of the budget will be up, on the monotonic clock
    checkpoints_removed: int = 0  # since there was no room for them
    stopping: Callable[[], bool] = lambda: False  # whether the sweep was asked to stop early
    halted: Callable[[], str | None] = lambda: None  # why it cannot go on before a person has seen to something
    notify: Notify | None = None  # who is told how it goes

    @classmethod
    def of(cls, sweep: str, spec: SweepSpec, begin: float) -> "Progress":
        """Return the progress of a sweep before its start. begin: the start time of the command."""
        objective = spec.objective
        progress = cls(sweep, spec.trials_wanted, spec.budget.steps, objective.mode, objective.metric, begin)
        progress.searched, progress.notify = spec.space.searched(), spec.notify
        return progress

    # --- updates ---------------------------------------------------------------------------------------------

    def take_results(self, trials: Sequence[TrialResult]) -> None:
        """Add the trials of earlier drivers."""
        self.states = {trial.number: trial.state for trial in trials}
        self.share_before = 1 - self.left() / self.wanted
        best = best_trial(trials, self.mode)
        if best and best.value is not None:
            self.best = (best.number, best.value, best.params)

    def begin_cohort(self, plan: CohortPlan) -> None:
        """Add a cohort that is about to train."""
        self.last_turn_at[plan.id] = time.monotonic()
        self.cohorts[plan.id] = plan
        self.points |= {trial.number: trial.point for trial in plan.trials}
        self.confirming |= {trial.number for trial in plan.trials if trial.confirms is not None}

    def lose_worker(self, cohort: str) -> None:
        """Expect no more turns of a cohort."""
        self.last_turn_at.pop(cohort, None)

    def take_turn(self, cohort: str, turn: Turn) -> None:
        """Update from a turn, without its events."""
        self.last_turn_at[cohort] = time.monotonic()
        if turn.done:
            del self.last_turn_at[cohort]
        self.notes += [note for note in turn.notes if note not in self.notes]
        if turn.provenance is None or turn.halt:
            return
        self.phase = "training"
        if self.training_begin is None:
            self.training_begin = time.monotonic()
        if turn.glimpse and self.latest is None:
            self.training = turn.glimpse.trial.number, turn.glimpse.step, turn.glimpse.loss
        self.nodes.add(turn.node)

    def take_event(self, event: TrialEvent) -> None:
        """Update from an event of a trial."""
        match event:
            case Start():
                self.states[event.trial] = "running"
            case Report():
                self._take_report(event)
            case Park():
                self.states[event.trial] = "parked"
            case Outcome():
                self._take_outcome(event)
            case _:  # forks and scores do not change the progress
                pass

    def _take_report(self, report: Report) -> None:
        if self.first_result_s is None:
            self.first_result_s = round(time.monotonic() - self.begin, 3)
        self.steps_done[report.trial] = max(report.step, self.steps_done.get(report.trial, 0))
        if (value := report.values.get(self.metric)) is not None:
            self.latest = (report.trial, report.step, value)

    def _take_outcome(self, outcome: Outcome) -> None:
        self.states[outcome.trial] = outcome.status
        value, sign = outcome.values.get(self.metric), 1.0 if self.mode == "min" else -1.0
        if outcome.status != "complete" or value is None or outcome.trial in self.confirming:
            return
        if self.best is None or sign * value < sign * self.best[1]:
            self.best = (outcome.trial, value, self.points[outcome.trial])

    # --- queries -----------------------------------------------------------------------------------------------

    def count(self, *states: str) -> int:
        """Return how many trials are in any of these states."""
        return sum(state in states for state in self.states.values())

    def note(self, text: str) -> None:
        """Add a note on a problem, once."""
        self.notes.append(text)

    def silent_cohorts(self) -> list[tuple[str, str]]:
        """Return the cohorts that have been silent for long, each with a sentence about it."""
        now, late = time.monotonic(), []
        for cohort, last in list(self.last_turn_at.items()):
            if now - last > SILENT_S:
                plan = self.cohorts[cohort]
                whom = plan.reference or trials_text(plan.numbers)
                late.append((cohort, f"{cohort} ({whom}) has not been heard of for {clock(now - last)}"))
        return late

    def left(self) -> int:
        """Return how many trials have not ended."""
        return self.wanted - len(self.states) + self.count("running", "parked")


def lane_steps_a_second(progress: Progress) -> float:
    """Return the lane-steps a second since the first lane began."""
    if progress.training_begin is None:
        return 0.0
    return progress.work.trained_here() / max(1e-3, time.monotonic() - progress.training_begin)


def share_done(progress: Progress) -> float:
    """Return the share of all trials' steps that is done, in [0, 1]; a trial that ended early counts as done."""
    if progress.share_paid is not None:
        return min(1.0, progress.share_paid)
    ended = progress.wanted - progress.left()
    running = [step for t, step in progress.steps_done.items() if progress.states.get(t) == "running"]
    return (ended + sum(min(1.0, step / progress.steps) for step in running)) / progress.wanted


def seconds_left(progress: Progress) -> float | None:
    """Return a forecast from the share of all steps that this driver has trained, None before there is one."""
    if progress.ends_at is not None:
        return max(0.0, progress.ends_at - time.monotonic())
    share = share_done(progress) - progress.share_before
    if share <= 0 or progress.training_begin is None:
        return None
    return (time.monotonic() - progress.training_begin) * (1 - share - progress.share_before) / share


def clock(seconds: float | None) -> str:
    """Return a duration as h:mm:ss or m:ss.

    >>> clock(75), clock(7384), clock(None)
    ('1:15', '2:03:04', '-')
    """
    if seconds is None:
        return "-"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def trials_text(numbers: Sequence[int]) -> str:
    """Return the names of some trials.

    >>> trials_text([3]), trials_text([1, 2]), trials_text(range(10))
    ('trial 3', 'trials 1, 2', 'trials 0, 1, 2, 3, 4, 5 and 4 more')
    """
    named = ", ".join(map(str, numbers[:NAMED]))
    more = f" and {len(numbers) - NAMED} more" if len(numbers) > NAMED else ""
    return f"trial{'s' if len(numbers) != 1 else ''} {named}{more}"


def phase_text(progress: Progress) -> str:
    """Return the phase of the sweep: starting Ray, starting workers, training, stopping, recording, done."""
    return "stopping" if progress.stopping() and progress.phase not in ("recording", "done") else progress.phase


def counts_text(progress: Progress) -> str:
    """Return how many trials are in each state."""
    counts = [f"{progress.count('complete')} done", f"{progress.count('running')} running"]
    counts += [f"{n} parked"] if (n := progress.count("parked")) else []
    counts.append(f"{progress.count('stopped')} stopped")
    counts += [f"{n} {state}" for state in ("diverged", "failed") if (n := progress.count(state))]
    whole = progress.wanted if progress.share_paid is None else f"{progress.share_paid:.0%} of the budget"
    return f"{', '.join(counts)}, of {whole}" if progress.share_paid is None else f"{', '.join(counts)}; {whole}"


def point_text(params: Point, searched: Collection[str]) -> str:
    """Return a trial's rate as a number, and its other searched hyperparameters.

    >>> point_text({"lr_exponent": -0.5, "hidden": 200, "seed": 0}, ["lr_exponent", "hidden"])
    'rate 0.316, lr_exponent -0.5, hidden 200'
    """
    rate = f"rate {10.0 ** params['lr_exponent']:.3g}" if "lr_exponent" in params else ""
    return ", ".join(filter(None, [rate, params_text(params, searched)]))


def best_text(progress: Progress) -> str:
    """Return the best complete trial; before there is one, the latest loss; "-" before that."""
    if progress.best:
        number, value, params = progress.best
        return f"{progress.metric} {decimals(value)}  trial {number}: {point_text(params, progress.searched)}"
    if not (latest := progress.latest or progress.training):
        return "-"
    number, step, value = latest
    metric = progress.metric if progress.latest else "train_loss"
    return f"{metric} {decimals(value)} so far (trial {number} after step {step:,})"


def speed_text(progress: Progress) -> str:
    """Return the speed of training, and the share of shared steps; "-" before training."""
    rate = lane_steps_a_second(progress)
    return f"{rate:,.0f} lane-steps/s, {progress.work.total().steps_shared:,} steps shared" if rate else "-"


def time_text(progress: Progress) -> str:
    """Return how long the sweep has run, and a forecast of the time left, unless it was asked to stop."""
    passed = f"{clock(time.monotonic() - progress.begin)} passed"
    return passed if progress.stopping() else f"{passed}, {clock(seconds_left(progress))} left"


def facts(progress: Progress) -> list[tuple[str, str]]:
    """Return the whole progress as (label, text); "-" for values that are not known yet."""
    return [
        ("phase", phase_text(progress)),
        ("trials", counts_text(progress)),
        ("best", best_text(progress)),
        ("speed", speed_text(progress)),
        ("program", progress.program or "-"),
        ("waiting", "; ".join(text for _, text in progress.silent_cohorts()) or "-"),
        ("time", time_text(progress)),
    ]
