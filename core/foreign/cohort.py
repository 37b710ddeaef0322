"""Trials that train in processes of their own, one after another: for a worker what a Cohort of lanes is."""

import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from espalier.core.foreign import sharing
from espalier.core.foreign.folder import Assignment, TrialFolder
from espalier.core.foreign.launch import Launcher
from espalier.core.foreign.output import OutputReader, recover
from espalier.core.foreign.results import Attached, NotYet
from espalier.core.foreign.run import ProcessTrial, TrialHistory, TrialRun
from espalier.core.measures.verdicts import Thresholds
from espalier.core.training.events import Compared, Ended, Event, Parked, Repeated
from espalier.core.training.watch import Watcher
from espalier.core.training.watching import handle

NOTHING_SAVED = (
    "share: checkpoints: a trial that was to go on has no checkpoint and begins anew, which the budget pays again; "
    "save into report.checkpoint before each report"
)
WAIT_S = 0.05  # between looks at a process that says nothing


@dataclass(frozen=True)
class ProcessSetup:
    """What the trials of a cohort share.

    folder: that of trials' folders. launcher: begins their processes. make_reader: returns what finds results in their
    output, None for functions. timeout_s: the most that a trial may take. at_once: how many train at the same time.
    shares: whether trials go on from checkpoints of others, and from their own when they were parked: see sharing.
    grace_s: how long a process that reports may take to end by itself.
    attach: gives a process a place for its results that is read instead of its output; it may raise NotYet.
    """

    folder: Path
    launcher: Launcher
    make_reader: Callable[[], OutputReader | None]
    thresholds: Thresholds
    timeout_s: float | None = None
    at_once: int = 1
    watchers: Sequence[Watcher] = ()
    shares: bool = False
    grace_s: float = 10.0
    attach: Callable[[Assignment], Attached | None] = lambda _: None


class ProcessCohort:
    """Trials, each in a process of its own, as a stream of events."""

    writable = False
    """Whether a checkpoint of it is of use: what is needed to go on lies in its trials' folders."""

    def __init__(self, setup: ProcessSetup, trials: Sequence[ProcessTrial] = ()):
        self.setup = setup
        self.queue: deque[ProcessTrial] = deque()
        self.running: list[TrialRun] = []
        self.stops: dict[str, str] = {}
        self.known: dict[str, str] = {}  # by trial, the one whose history it shares
        self.lane_steps = 0
        self.steps_shared = 0  # that trials have taken over from others
        self.comparison: Comparison | None = None
        self.notes: list[str] = []  # for the user
        self.beat: Callable[[], object] = lambda: None
        self.add(trials)

    def observe(self, beat: Callable[[int], None], before: Callable[[Sequence[Mapping[str, int]]], object]) -> None:
        """Call `beat` in each turn. before: not called: no code of the task runs in this process."""
        self.beat = lambda: beat(0)

    def folder_of(self, trial: str) -> TrialFolder:
        """Return the folder of a trial."""
        return TrialFolder(self.setup.folder / trial.replace("/", "-"))

    # --- the loop ----------------------------------------------------------------------------------------------------

    def train(self) -> Iterator[Event]:
        """Train until every trial has ended; yield the events."""
        while not self.done:
            yield from self.turn()

    def turn(self) -> list[Event]:
        """Wait a moment for what the processes report; return the events."""
        self.beat()
        events = [*self._stop_waiting(), *self._begin()]
        for run in self.running:
            run.process.wait(WAIT_S)
        for run in list(self.running):
            step = run.step
            events += run.read()
            self.lane_steps += max(0, run.step - step)
            if self.setup.timeout_s:
                run.time_out(self.setup.timeout_s)
            if run.process.exit:
                events.append(self._end(run))
        for watcher in self.setup.watchers:
            handle(watcher, events, self)
        return events

    def _begin(self) -> Iterator[Event]:
        """Start processes where there is room for them."""
        while self.queue and len(self.running) < self.setup.at_once:
            yield from self._compare()
            if self.comparison:
                return
            trial = self.queue[0]
            folder = self.folder_of(trial.id)
            if (end := folder.read_end()) and (known := _known_end(end, trial)):
                self.queue.popleft()
                yield from self._replayed(known, trial, folder)
                continue
            if not self.setup.launcher.ready(self.setup.timeout_s):
                time.sleep(WAIT_S)
                return
            assignment, earlier = self._resumed(trial, folder)
            if self._compares(trial, assignment, earlier):
                return
            try:
                attached = self.setup.attach(assignment)
            except NotYet:
                time.sleep(WAIT_S)
                return
            if attached:
                assignment = replace(assignment, environment=attached.environment)
            repeated = self._repeated(trial, folder, assignment)
            reader = self.setup.make_reader()
            if reader and not attached:
                recover(folder, reader)
            self.queue.popleft()
            self._write(trial, folder, assignment)
            before = folder.lines()  # what the process reports may come at any moment, also before the next line
            process = self.setup.launcher.launch(folder, assignment)
            run = TrialRun(replace(trial, assignment=assignment), folder, self.setup.thresholds, process=process)
            run.grace_s = self.setup.grace_s
            run.reader = attached or self.setup.make_reader()
            self.running.append(run)
            yield from (*run.beginning(before), *repeated)
            self.setup.launcher.prepare()

    def _replayed(self, end: Ended | Parked, trial: ProcessTrial, folder: TrialFolder) -> Iterator[Event]:
        """Yield the events of a trial again, for a caller that may have missed them."""
        yield from TrialHistory(trial, folder, self.setup.thresholds).beginning(folder.lines())
        yield end

    def _resumed(self, trial: ProcessTrial, folder: TrialFolder) -> tuple[Assignment, tuple[int, str] | None]:
        """Return what a process is to train, from where, and the checkpoint before that.

        It goes on from the last checkpoint of its own, or from the one of its trunk.
        """
        wanted = trial.assignment
        last = (wanted.steps if wanted.until is None else wanted.until) - 1
        own = folder.checkpoint(last)
        if trial.begin and self._forbidden(trial):
            return wanted, None
        resume, trunk = own, folder
        if trial.source and (own is None or own[0] <= trial.begin):
            trunk = self.folder_of(trial.source)
            resume = trunk.checkpoint(trial.begin) or own
        steps = sorted({*wanted.kept, *folder.checkpoint_steps()})
        assignment = replace(wanted, kept=tuple(steps), resume=resume)
        return assignment, trunk.checkpoint(assignment.begin - 1) if resume else None

    def _repeated(self, trial: ProcessTrial, folder: TrialFolder, assignment: Assignment) -> Sequence[Event]:
        """Return that a process trains steps again, if it cannot go on from where it was to."""
        if assignment.begin >= trial.begin or folder.has_saved:
            return ()
        if not assignment.begin and not self._forbidden(trial):
            before = (self.folder_of(trial.source) if trial.source else folder).lines()
            self.notes += [] if any(line.get("checkpoint") for line in before) else [NOTHING_SAVED]
        return (Repeated(trial.id, assignment.begin, trial.begin),)

    def _forbidden(self, trial: ProcessTrial) -> bool:
        """Whether what was trained may not be shared: not at all, or since a comparison has failed."""
        kinds: tuple[sharing.Kind, ...] = ("goes on", "branches")
        findings = [sharing.known(self.setup.folder, kind) for kind in kinds]
        return not self.setup.shares or any(finding and not finding.same for finding in findings)

    def _write(self, trial: ProcessTrial, folder: TrialFolder, assignment: Assignment) -> None:
        """Write what a process is to train, and the reports so far: its own, or those of its trunk."""
        resume = assignment.resume
        if trial.source and resume and Path(resume[1]).parents[1] != folder.path:
            lines = self.folder_of(trial.source).lines()
            folder.write_lines([line for line in lines if line.get("step", resume[0] + 1) <= resume[0]])
            self.steps_shared += resume[0]
        folder.assign(assignment)

    # --- sharing -----------------------------------------------------------------------------------------------------

    def _compares(self, trial: ProcessTrial, assignment: Assignment, earlier: tuple[int, str] | None) -> bool:
        """Begin a comparison, or wait for another worker's, if this trial is the first to rely on sharing.

        Return whether it has to wait.
        """
        kind: sharing.Kind = "branches" if trial.source else "goes on"
        if not trial.begin or assignment.resume is None or sharing.known(self.setup.folder, kind):
            return False
        both = sharing.pair(assignment, earlier)
        if both is None:
            return False
        if not sharing.claim(self.setup.folder, kind):
            time.sleep(WAIT_S)
            return True
        place = self.setup.folder / sharing.FOLDER / trial.id.replace("/", "-")
        shutil.rmtree(place, ignore_errors=True)
        setup = replace(self.setup, folder=place, watchers=(), shares=False, at_once=1)
        trials = [ProcessTrial(replace(way, trial=name)) for way, name in zip(both, sharing.WAYS, strict=True)]
        self.comparison = Comparison(kind, trial, assignment.begin, _AsAssigned(setup, trials), [])
        return True

    def _compare(self) -> Iterator[Event]:
        """Go on with a comparison, if one is under way; once it is done yield that its trial has cost so much more."""
        if (comparison := self.comparison) is None:
            return
        sharing.hold(self.setup.folder, comparison.kind)
        steps = comparison.cohort.lane_steps
        comparison.events += comparison.cohort.turn()
        self.lane_steps += comparison.cohort.lane_steps - steps
        if comparison.cohort.done:
            trunk = self.folder_of(comparison.trial.source or comparison.trial.id)
            before = [(line["step"], line["values"]) for line in trunk.lines() if "step" in line and "values" in line]
            before = [(step, values) for step, values in before if step <= comparison.begin]
            ways = [comparison.reports(name) for name in sharing.WAYS]
            finding = sharing.compare(comparison.trial.id, comparison.begin, before, *ways)
            sharing.write(self.setup.folder, comparison.kind, finding)
            self.notes.append(finding.text)
            shutil.rmtree(comparison.cohort.setup.folder, ignore_errors=True)
            self.comparison = None
            yield Compared(comparison.trial.id, comparison.begin, comparison.cohort.lane_steps)

    def _stop_waiting(self) -> Iterator[Event]:
        """Stop trials that were asked to: those of the queue have ended, a process has to end first."""
        for run in self.running:
            if (reason := self.stops.pop(run.trial.id, "")) and not run.stopping:
                run.stop(reason)
        for trial in [trial for trial in self.queue if trial.id in self.stops]:
            self.queue.remove(trial)
            yield Ended(trial.id, 0, "stopped", evidence=self.stops.pop(trial.id))
        self.stops.clear()

    def _end(self, run: TrialRun) -> Event:
        self.running.remove(run)
        event, assignment = run.end(), run.trial.assignment
        whole = isinstance(event, Ended) and event.status == "complete"
        last = run.folder.checkpoint_steps()[-1:] if whole else [assignment.until or -1]  # its model is worth keeping
        run.folder.drop_checkpoints((*assignment.kept, *last))
        self.notes += run.notes(event)
        if isinstance(event, Parked):
            has_checkpoint = run.folder.has_saved or run.folder.checkpoint(event.step)
            event = replace(event, lost=not has_checkpoint or self._forbidden(run.trial))
        run.folder.set_end(event.to_json())
        return event

    # --- for the caller ----------------------------------------------------------------------------------------------

    @property
    def done(self) -> bool:
        """Whether every trial has ended."""
        return not (self.running or self.queue)

    def take_notes(self) -> list[str]:
        """Return what is new to be said to the user."""
        notes, self.notes = self.notes, []
        return notes

    @property
    def idle(self) -> int:
        """How many more processes could train."""
        return max(0, self.setup.at_once - len(self.running) - len(self.queue))

    def add(self, trials: Sequence[ProcessTrial]) -> None:
        """Take more trials, or other pieces of those that are parked."""
        self.queue += trials
        self.known |= {trial.id: trial.source or trial.id for trial in trials}

    def stop(self, trial: str, reason: str) -> None:
        """Ask that a trial end as stopped, with `reason` as evidence."""
        self.stops[trial] = reason

    def isolate(self, suspects: Mapping[str, int]) -> bool:
        """Return False: each trial is alone in its process."""
        return False

    def leader(self, trial: str) -> str:
        """Return the trial whose history a trial shares; itself if it shares none."""
        return self.known.get(trial, trial)

    def glimpse(self) -> tuple[str, int, float] | None:
        """Return a trial that trains, its step and its last training loss; None if none has reported one."""
        for run in self.running:
            if run.curve:
                return run.trial.id, *run.curve[-1]
        return None

    def close(self) -> None:
        """End all processes: their trials can go on from their last checkpoints."""
        for run in self.running:
            run.process.abandon()
        if self.comparison:
            self.comparison.cohort.close()


class _AsAssigned(ProcessCohort):
    """Trials that begin where their assignments say, whatever lies in their folders."""

    def _resumed(self, trial: ProcessTrial, folder: TrialFolder) -> tuple[Assignment, tuple[int, str] | None]:
        return trial.assignment, None


@dataclass
class Comparison:
    """A comparison under way: see sharing. trial: that is to go on, from the step `begin`."""

    kind: sharing.Kind
    trial: ProcessTrial
    begin: int
    cohort: ProcessCohort
    events: list[Event]

    def reports(self, name: str) -> Sequence[tuple[int, Mapping[str, float]]]:
        """Return the reports of one of the two processes."""
        ends = [event.so_far if isinstance(event, Parked) else event for event in self.events]
        return next((end.reports for end in ends if isinstance(end, Ended) and end.trial == name), ())


def _known_end(end: Mapping[str, object], trial: ProcessTrial) -> Ended | Parked | None:
    """Return the last event of a trial, kept by an earlier worker, if it is the end of the same piece."""
    event = Event.from_json(end)
    if isinstance(event, Parked):
        return event if trial.assignment.until is not None and event.step >= trial.assignment.until else None
    return event if isinstance(event, Ended) else None
