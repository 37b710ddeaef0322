"""Trials that train in processes of their own, one after another: for a worker what a Cohort of lanes is."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from espalier.core.foreign.folder import Assignment, TrialFolder
from espalier.core.foreign.launch import Launcher
from espalier.core.foreign.output import OutputReader
from espalier.core.foreign.run import ProcessTrial, TrialRun
from espalier.core.measures.verdicts import Thresholds
from espalier.core.training.events import Ended, Event, Forked, Parked, Reported, Started
from espalier.core.training.watch import Watcher
from espalier.core.training.watching import handle

WAIT_S = 0.05  # between looks at a process that says nothing


@dataclass(frozen=True)
class ProcessSetup:
    """What the trials of a cohort share.

    folder: that of trials' folders. launcher: begins their processes. make_reader: returns what finds results in their
    output, None for functions. timeout_s: the most that a trial may take. at_once: how many train at the same time.
    """

    folder: Path
    launcher: Launcher
    make_reader: Callable[[], OutputReader | None]
    thresholds: Thresholds
    timeout_s: float | None = None
    at_once: int = 1
    watchers: Sequence[Watcher] = ()


class ProcessCohort:
    """Trials, each in a process of its own, as a stream of events."""

    writable = False
    """Whether a checkpoint of it is of use: what is needed to go on lies in its trials' folders."""
    steps_shared = 0

    def __init__(self, setup: ProcessSetup, trials: Sequence[ProcessTrial] = ()):
        self.setup = setup
        self.queue: deque[ProcessTrial] = deque()
        self.running: list[TrialRun] = []
        self.stops: dict[str, str] = {}
        self.known: dict[str, str] = {}  # by trial, the one whose history it shares
        self.lane_steps = 0
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
            trial = self.queue.popleft()
            folder = self.folder_of(trial.id)
            if (end := folder.read_end()) and (known := _known_end(end, trial)):
                yield from _replayed(known, trial)
                continue
            assignment = self._assigned(trial, folder)
            process = self.setup.launcher.launch(folder, assignment)
            run = TrialRun(replace(trial, assignment=assignment), folder, self.setup.thresholds, process)
            run.reader = self.setup.make_reader()
            self.running.append(run)
            yield from run.beginning()
            self.setup.launcher.prepare()

    def _assigned(self, trial: ProcessTrial, folder: TrialFolder) -> Assignment:
        """Write what a process is to train, from where: the last checkpoint of its own, or the one of its trunk."""
        wanted = trial.assignment
        last = (wanted.steps if wanted.until is None else wanted.until) - 1
        own = folder.checkpoint(last)
        resume = own
        if trial.source and (own is None or own[0] <= trial.begin):
            trunk = self.folder_of(trial.source)
            resume = trunk.checkpoint(trial.begin) or own
            if resume and resume != own:
                folder.write_lines([line for line in trunk.lines() if line.get("step", trial.begin + 1) <= resume[0]])
        kept = sorted({*wanted.kept, *folder.checkpoint_steps()})
        assignment = replace(wanted, kept=tuple(kept), resume=resume)
        folder.assign(assignment)
        return assignment

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
        event = run.end()
        run.folder.set_end(event.to_json())
        assignment = run.trial.assignment
        run.folder.drop_checkpoints((*assignment.kept, assignment.until or -1))
        return event

    # --- for the caller ----------------------------------------------------------------------------------------------

    @property
    def done(self) -> bool:
        """Whether every trial has ended."""
        return not (self.running or self.queue)

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


def _known_end(end: Mapping[str, object], trial: ProcessTrial) -> Ended | Parked | None:
    """Return the last event of a trial, kept by an earlier worker, if it is the end of the same piece."""
    event = Event.from_json(end)
    if isinstance(event, Parked):
        return event if trial.assignment.until is not None and event.step >= trial.assignment.until else None
    return event if isinstance(event, Ended) else None


def _replayed(end: Ended | Parked, trial: ProcessTrial) -> Iterator[Event]:
    """Yield the events of a trial again, for a caller that may have missed them."""
    last = end.so_far if isinstance(end, Parked) else end
    yield Started(trial.id, 0)
    for step, values in last.reports if last else ():
        yield Reported(trial.id, step, values)
    if trial.source:
        yield Forked(trial.id, trial.begin, trial.source)
    yield end
