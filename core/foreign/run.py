"""One trial while its process trains: what it has reported so far, and the events that follow from it."""

import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from espalier.core.errors import counted
from espalier.core.foreign.folder import Assignment, Line, TrialFolder
from espalier.core.foreign.process import TrialProcess
from espalier.core.foreign.results import NOTHING, ResultReader
from espalier.core.measures.verdicts import OUT_OF_MEMORY, Thresholds, Verdict, median, verdict
from espalier.core.training.events import Ended, Event, Forked, Parked, Reported, Scored, Started, Status
from espalier.core.training.memory import UNKNOWN, Memory

REPORTED = "reported"  # the score of code that reports its own
TRAIN_LOSS = "train_loss"
EPOCHS = (
    "trials are complete long before their last step: the last report is of step {:,}, and budget.steps is {:,}; if "
    "they count epochs, write how many as budget.steps: stopping goes by the steps of reports"
)
_MEMORY = re.compile(r"out of memory|OutOfMemoryError|MemoryError|allocate memory|bad_alloc", re.IGNORECASE)


@dataclass(frozen=True)
class ProcessTrial:
    """A trial for a process. rungs: the steps at which it is scored.

    source: the trial whose checkpoint at the step `begin` it takes, or the last before that; "" if it takes none.
    """

    assignment: Assignment
    rungs: Sequence[int] = ()
    source: str = ""
    begin: int = 0

    @property
    def id(self) -> str:
        """Its key."""
        return self.assignment.trial


@dataclass
class TrialHistory:
    """What a trial has reported so far."""

    trial: ProcessTrial
    folder: TrialFolder
    thresholds: Thresholds
    reports: list[tuple[int, dict[str, float]]] = field(default_factory=list[tuple[int, dict[str, float]]])
    curve: list[tuple[int, float]] = field(default_factory=list[tuple[int, float]])
    ratios: list[Sequence[float]] = field(default_factory=list[Sequence[float]])
    tensors: Sequence[str] = ()
    missing: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    step: int = 0
    rung: int = 0  # how many of its rungs are behind it
    diverged_at: int | None = None
    last: Line | None = None  # with which a function has ended
    memory: Memory = UNKNOWN
    judged: Verdict | None = None  # of `judged_reports` reports
    judged_reports: int = 0

    # --- events ------------------------------------------------------------------------------------------------------

    def beginning(self, before: Sequence[Line]) -> Iterator[Event]:
        """Yield that it begins, and its history before, as lines of reports: its own, or that of the trunk."""
        trial = self.trial
        yield Started(trial.id, 0)
        for line in before:
            yield from self.take(line)
        self.step = trial.assignment.begin
        if self.folder.has_saved and self.reports:  # it goes on from about there
            self.step = max(self.step, self.reports[-1][0])
        if trial.source:
            yield Forked(trial.id, trial.begin, trial.source)

    def take(self, line: Line) -> Iterator[Event]:
        """Take a line of the reports; yield the events that follow."""
        if "end" in line:
            self.last = line
            return
        step, values = line.get("step", 0), line.get("values", {})
        if self.reports and step <= self.reports[-1][0]:
            self._begin_anew(step)
        self.step = step
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        for name in values.keys() - finite.keys():
            self.missing.setdefault(name, []).append(step)
        if {self.trial.assignment.metric, TRAIN_LOSS} & (values.keys() - finite.keys()) and self.diverged_at is None:
            self.diverged_at = step
        self.reports.append((step, finite))
        curve = [(step, finite[TRAIN_LOSS])] if TRAIN_LOSS in finite else []
        self.curve += curve
        rows = line.get("ratios", ())
        self.ratios += rows
        self.tensors = line.get("tensors", self.tensors)
        self.memory = self.memory.most(Memory(0, *line.get("gpu", ())))
        judged = self._judge_by_now()
        yield Reported(self.trial.id, step, finite, curve, rows, judged.name, judged.evidence)
        yield from self._scores(step, finite, line.get("score"))

    def _begin_anew(self, step: int) -> None:
        """Forget what was reported from a step on: code that has not resumed reports it again."""
        self.reports = [report for report in self.reports if report[0] < step]
        self.curve = [point for point in self.curve if point[0] < step]
        self.ratios = [row for row in self.ratios if row[0] < step]

    def _scores(self, step: int, values: Mapping[str, float], score: float | None) -> Iterator[Event]:
        """Yield the scores of the rungs that a report has reached."""
        metric = self.trial.assignment.metric
        worth = values.get(metric) if score is None else score
        if worth is None:
            return
        shared = self.trial.source if step <= self.trial.begin else ""
        while self.rung < len(self.trial.rungs) and self.trial.rungs[self.rung] <= step:
            known = {metric: worth} if math.isfinite(worth) else {}
            yield Scored(self.trial.id, self.trial.rungs[self.rung], known, REPORTED, shared)
            self.rung += 1

    def _judge_by_now(self) -> Verdict:
        """Judge it so far; where it has reported hundreds of times, again after each hundredth more."""
        due = abs(len(self.reports) - self.judged_reports) * 100 >= self.judged_reports
        if self.judged is None or due or self.diverged_at is not None:
            self.judged, self.judged_reports = self._judge(over=False), len(self.reports)
        return self.judged

    def _judge(self, over: bool) -> Verdict:
        tensors = len(self.tensors)
        medians = [median(list(row[1 : 1 + tensors])) for row in self.ratios]
        return verdict(
            [loss for _, loss in self.curve], medians, self.diverged_at, thresholds=self.thresholds, over=over
        )


@dataclass
class TrialRun(TrialHistory):
    """A trial and its process. reader: of results that it does not report itself; None for a function.

    stopping: why it was asked to end. late: why it was killed. grace_s: how long code that reports may take to end by
    itself. reports_itself: whether it is such code. ends_since: when it was first to end.
    """

    process: TrialProcess = field(kw_only=True)
    reader: ResultReader | None = None
    stopping: str = ""
    late: str = ""
    grace_s: float = 10.0
    reports_itself: bool = False
    began: float = field(default_factory=time.monotonic)
    ends_since: float | None = None

    # --- the process -------------------------------------------------------------------------------------------------

    def read(self) -> Iterator[Event]:
        """Read what the process has printed and reported; yield the events that follow."""
        read_to, printed = self.process.read_to, self.process.poll()
        printed_lines: list[Line] = []
        if self.reader:
            printed_lines = [*self.reader.read(printed), *(self.reader.rest() if self.process.exit else ())]
            for line in printed_lines:
                self.folder.append(line)
            if printed_lines:
                self.folder.set_read_to(read_to)
        lines = self.folder.new_lines()
        self.reports_itself = self.reports_itself or self.reader is None or len(lines) > len(printed_lines)
        for line in lines:
            if self.diverged_at is None and not self.parked:
                yield from self.take(line)
        if self.diverged_at is not None or self.stopping or self.late or self.parked or self.last:
            self._end_process()

    def _end_process(self) -> None:
        """Have the process end: code that reports does so by itself at its next report, if it comes in time."""
        now = time.monotonic()
        if self.ends_since is None:
            self.ends_since = now
            if not self.stopping:
                self.folder.request_stop("it has ended")
        if not self.reports_itself or self.late or now - self.ends_since > self.grace_s:
            self.process.end()

    @property
    def parked(self) -> bool:
        """Whether it is where it was to be parked."""
        until = self.trial.assignment.until
        return until is not None and self.step >= until

    def stop(self, reason: str) -> None:
        """Ask the process to end, at its next report or by a signal."""
        self.stopping = reason
        self.folder.request_stop(reason)

    def time_out(self, seconds: float) -> None:
        """Have the process end once it has taken so long."""
        if not self.late and time.monotonic() - self.began > seconds:
            self.late = f"it took longer than resources.timeout, {seconds:g} s"

    # --- the end -----------------------------------------------------------------------------------------------------

    def end(self) -> Event:
        """Return how the trial ended, once its process has."""
        taken = self.process.exit.memory if self.process.exit else 0
        self.memory = self.memory.most(Memory(taken + (self.last or {}).get("memory", 0)))
        status, why, name = self._status()
        self.memory = self.folder.most_memory(self.memory)  # also of earlier pieces
        if status is None:
            return Parked(self.trial.id, self.step, self._ended("stopped", "", ""))
        return self._ended(status, why, name)

    def _status(self) -> tuple[Status | None, str, str]:
        """Return the status, None if it is parked; the evidence; and the verdict, "" for that on its health."""
        if self.diverged_at is not None:
            return "diverged", f"the loss was NaN or infinite at step {self.diverged_at}", "diverged"
        if self.parked:
            return self._parked()
        if self._out_of_memory():
            took = f"; it took {self.memory.text}" if self.memory else ""
            return "failed", f"out of memory: {self._why()}{took}", OUT_OF_MEMORY
        if self.late:
            return "failed", self.late, ""
        ended = (self.last or {}).get("end")
        well = self.process.exit is not None and self.process.exit.code == 0
        whole = ended == "complete" or (self.reader is not None and ended is None and well)
        if self.stopping and (not whole or self._cut_short):
            return "stopped", self.stopping, ""
        if not whole:
            return "failed", self._why(), ""
        return self._completed()

    def _parked(self) -> tuple[Status | None, str, str]:
        """Return that it is parked; without its score nobody could decide whether it goes on."""
        if any(rung <= self.step for rung in self.trial.rungs[self.rung :]):
            metric = self.trial.assignment.metric
            return "failed", f"it did not report {metric}, by which it is scored, up to step {self.step:,}", ""
        return None, "", ""

    @property
    def _cut_short(self) -> bool:
        """Whether it has ended before its last step; code that obeys SIGTERM, or StopTrial, ends as if it were done."""
        return self.step < self.trial.assignment.steps

    def _completed(self) -> tuple[Status, str, str]:
        metric, until = self.trial.assignment.metric, self.trial.assignment.until
        names = dict.fromkeys(name for _, values in self.reports for name in values)
        if not self.reports:
            nothing = self.reader.nothing if self.reader else NOTHING
            return "failed", f"{nothing}{self._printed()}", ""
        if metric not in names:
            return "failed", f"it never reported {metric}, the objective; it reported {', '.join(names)}", ""
        if until is not None:
            return "failed", f"it ended after {counted(self.step, 'step')}, before the rung at step {until:,}", ""
        return "complete", "", ""

    def notes(self, end: Event) -> list[str]:
        """Return what the user should know of how its results arrived, once it has ended."""
        notes = list(self.reader.notes) if self.reader else []
        steps = self.trial.assignment.steps
        if isinstance(end, Ended) and end.status == "complete" and 2 * self.step < steps:
            notes.append(EPOCHS.format(self.step, steps))
        return notes

    def _why(self) -> str:
        if error := (self.last or {}).get("error"):
            return error
        how = self.process.exit.text if self.process.exit else "it did not end"
        return f"{how}{self._printed()}"

    def _printed(self) -> str:
        return f": {words}" if (words := self.process.last_words()) else ""

    def _out_of_memory(self) -> bool:
        if (self.last or {}).get("end") == "memory":
            return True
        process = self.process.exit
        if process is None or process.code == 0 or self.stopping or self.late:
            return False
        if process.code in (-9, 137):
            return process.oom
        return self.last is None and any(_MEMORY.search(line) for line in list(self.process.tail)[-20:])

    def _ended(self, status: Status, why: str, name: str) -> Ended:
        seen = bool(self.reports) and status != "failed"  # else nobody knows how healthy it was
        judged = Verdict(name, why) if name or not seen else self._judge(over=True)
        values = dict(self.reports[-1][1]) if self.reports else {}
        for _, earlier in reversed(self.reports):  # what it has not reported since
            values = {**earlier, **values}
        return Ended(
            self.trial.id,
            self.step,
            status,
            values,
            judged.name,
            why or judged.evidence,
            self.curve,
            self.ratios,
            self.tensors,
            self.reports,
            missing=self.missing,
            trace=(self.last or {}).get("trace", "") or ("\n".join(self.process.tail) if status == "failed" else ""),
            memory={name: size for name, size in vars(self.memory).items() if size},
            leader="" if status == "stopped" else self.trial.id,
        )
