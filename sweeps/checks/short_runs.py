"""Short runs of a function or a command: a point is trained to its first reports, in a process as in a sweep."""

import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from espalier.core.foreign.cohort import WAIT_S
from espalier.core.foreign.folder import Assignment
from espalier.core.foreign.launch import FunctionLauncher
from espalier.core.foreign.run import ProcessTrial
from espalier.core.loading.folders import current_folder
from espalier.core.training.events import Ended, Reported
from espalier.core.training.memory import UNKNOWN, Memory
from espalier.sweeps.assignments import assignments
from espalier.sweeps.process_engine import forget_launchers, group_here, make_cohort
from espalier.sweeps.recording.trial_runs import TrialRuns
from espalier.sweeps.search.cohort_plan import PlannedTrial
from espalier.sweeps.spec.space import Point
from espalier.sweeps.spec.spec import SweepSpec

FIRST, SECOND = 10, 40  # steps at which reports are wanted: most effects show at once, momentum and averages build up
GRACE_S = 1.0  # that a process has to end: what it would save is not needed
ENOUGH = "enough was seen"
Values = Mapping[str, float]


@dataclass(frozen=True)
class ShortRun:
    """A point, trained to its first reports.

    reports: each with its step and the finite values. first_s: seconds from its start to its first report, None if
    there was none. seconds: to its last. saved: whether a checkpoint was. error: how it failed, "" if it did not.
    late: whether it failed because its time was up. memory: the most that its process took.
    """

    reports: Sequence[tuple[int, Values]]
    first_s: float | None
    seconds: float
    saved: bool
    error: str
    late: bool = False
    memory: Memory = UNKNOWN

    @property
    def step_s(self) -> float:
        """Seconds a step, as far as the reports tell; 0 for steps too quick to be measured so."""
        steps = [step for step, _ in self.reports]
        if self.first_s is None or not steps:
            return 0.0
        if steps[-1] > steps[0]:
            seconds = self.seconds - self.first_s
            return seconds / (steps[-1] - steps[0]) if seconds > WAIT_S else 0.0
        return self.first_s / max(1, steps[-1])

    @property
    def start_s(self) -> float:
        """Seconds from the start to the first step."""
        return 0.0 if self.first_s is None else max(0.0, self.first_s - self.reports[0][0] * self.step_s)


class ShortRuns:
    """Trains points of a spec to their first reports, one after another."""

    def __init__(self, spec: SweepSpec, first_s: float, all_s: float):
        """first_s: seconds that a run may take, imports included. all_s: that all of them may take; can be changed."""
        resources = spec.resources.model_copy(update={"grace": min(GRACE_S, spec.resources.grace)})
        self.spec = spec.model_copy(update={"stopping": None, "resources": resources})
        self.first_s, self.all_s = first_s, all_s
        self.began = time.monotonic()
        self.count = 0

    def __enter__(self) -> Self:
        self.place = tempfile.TemporaryDirectory(prefix="sweep-", ignore_cleanup_errors=True)
        device = "cuda" if torch.cuda.is_available() and self.spec.resources.gpus != 0 else "cpu"
        place = Path(self.place.name)
        runs = TrialRuns.alone(place) if self.spec.results.mlflow else None
        self.cohort = make_cohort(
            self.spec, [], place, str(current_folder()), device, runs=runs, group=group_here(self.spec)
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cohort.close()
        self.cohort.setup.launcher.close()
        forget_launchers()
        self.place.cleanup()

    @property
    def left_s(self) -> float:
        """The seconds that are left for further runs."""
        return max(0.0, self.began + self.all_s - time.monotonic())

    def assignment(self, sampled: Point) -> Assignment:
        """Return what the first replicate of a point is to train."""
        (assignment, *_) = assignments(self.spec, PlannedTrial(0, self.spec.space.resolve(sampled)))
        steps = assignment.steps
        return replace(assignment, due=sorted({min(FIRST, steps), min(SECOND, steps)}), kept=())

    def run(
        self, sampled: Point, enough: Callable[[int, Values], bool] = lambda step, values: step >= SECOND
    ) -> ShortRun:
        """Train a point until a report is enough, it ends, or the time is up."""
        self.count += 1
        trial = f"run-{self.count}"
        began = time.monotonic()
        limit_s = min(self.first_s, self.left_s)
        launcher = self.cohort.setup.launcher
        if isinstance(launcher, FunctionLauncher) and not launcher.wait(limit_s):
            return ShortRun((), None, limit_s, False, _late(limit_s), late=True)
        self.cohort.add([ProcessTrial(replace(self.assignment(sampled), trial=trial))])
        times: list[float] = []
        late, end = False, None
        while not self.cohort.done:
            for event in self.cohort.turn():
                if isinstance(event, Reported):
                    times.append(time.monotonic() - began)
                    if enough(event.step, event.values):
                        self.cohort.stop(trial, ENOUGH)
                elif isinstance(event, Ended):
                    end = event
            if not late and time.monotonic() - began > limit_s:
                late = True
                self.cohort.stop(trial, _late(limit_s))
        assert end
        saved = any(line.get("checkpoint") for line in self.cohort.folder_of(trial).lines())
        reports = _first_of(end.reports)
        first_s, seconds = (times[0], times[len(reports) - 1]) if times else (None, 0.0)
        error = _error(end)
        return ShortRun(reports, first_s, seconds, saved, error, late and bool(error), Memory(**end.memory))


def _first_of(reports: Sequence[tuple[int, Values]]) -> list[tuple[int, Values]]:
    """Return the reports up to the step SECOND, or the first after it: a quick process makes more until it is ended."""
    before = [report for report in reports if report[0] < SECOND]
    return [*before, *(report for report in reports if report[0] >= SECOND)][: len(before) + 1]


def _late(seconds: float) -> str:
    return f"no report after {seconds:.3g} s"


def _error(end: Ended) -> str:
    """Return how a run failed; "" if it did not: to end before its last step is no fault here."""
    if end.status == "stopped":
        return "" if end.reports else end.evidence
    return "" if end.status == "complete" else end.evidence


def processes_at_once(spec: SweepSpec) -> int:
    """Return how many trials of a function or a command train at once on this machine."""
    gpus = torch.cuda.device_count()
    of_trial, of_gpus = spec.resources.shares(gpus)
    room = int(gpus / of_gpus) if of_gpus else int((os.cpu_count() or 1) / of_trial)
    return max(1, room if spec.resources.cohorts == "auto" else min(room, spec.resources.cohorts))
