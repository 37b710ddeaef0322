"""Make the engine's cohort of some trials, and choose the program that trains it. Does not import Ray."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import torch

from espalier.core import deadline
from espalier.core.deadline import TooLong
from espalier.core.loading.folders import RecordedCopy, copy_in_use
from espalier.core.programs import PROGRAMS
from espalier.core.programs.choose import choose, why_not
from espalier.core.programs.program import Program
from espalier.core.task import Batch, Data, Task, load_data, load_task
from espalier.core.training.cohort import Cohort
from espalier.core.training.resume import LaneWithRow
from espalier.core.training.setup import CohortSetup
from espalier.core.training.trial import Structure, Trial
from espalier.core.training.watch import Watcher
from espalier.core.training.width import GAIN, NATIVE, cached_width
from espalier.sweeps import cohorts as plan
from espalier.sweeps.search.cohort_plan import PlannedTrial, Provenance
from espalier.sweeps.spec.space import Point
from espalier.sweeps.spec.spec import SweepSpec


@lru_cache(maxsize=4)
def _task_and_data(reference: str, options: str, code: RecordedCopy | None) -> tuple[Task, Data]:
    task = load_task(reference, json.loads(options))
    return task, load_data(task)


@lru_cache(maxsize=8)
def _program(reference: str, options: str, code: RecordedCopy | None, structure: Structure, kind: str) -> Program:
    """Return a cached program: a worker's next cohort of the same structure reuses its traced step."""
    task, _ = _task_and_data(reference, options, code)
    return PROGRAMS[kind](task, structure.optimizer, getattr(torch, structure.dtype))


@dataclass(frozen=True)
class _Common:
    """The properties that the trials of a cohort share. options: the task's arguments, as JSON. code: that is used."""

    reference: str
    options: str
    structure: Structure
    code: RecordedCopy | None = field(default_factory=copy_in_use)

    @classmethod
    def of(cls, spec: SweepSpec, point: Point) -> "_Common":
        options = json.dumps(plan.task_options(spec, point), sort_keys=True)
        return cls(spec.task, options, plan.structure(spec, point))

    def task_and_data(self) -> tuple[Task, Data]:
        return _task_and_data(self.reference, self.options, self.code)

    def program(self, kind: str) -> Program:
        return _program(self.reference, self.options, self.code, self.structure, kind)

    def why_not_native(self) -> str | None:
        _, data = self.task_and_data()
        return self.program("native").why_not(data.train, self.structure.batch_size)

    def first_batch(self) -> Batch:
        _, data = self.task_and_data()
        return tuple(tensor[: self.structure.batch_size] for tensor in data.train)


StateOf = Callable[[PlannedTrial, Trial], LaneWithRow | None]
"""Takes a trial with a piece, and one of its replicates; returns the state from which that goes on, None if there is
none."""


def no_state(trial: PlannedTrial, replicate: Trial) -> LaneWithRow | None:
    """Return that every piece begins at the beginning."""
    return None


def make_cohort(
    spec: SweepSpec,
    trials: Sequence[PlannedTrial],
    provenance: Provenance,
    watcher: Watcher | None = None,
    state_of: StateOf = no_state,
) -> Cohort:
    """Build the cohort of trials of one structure. watcher: in addition to the spec's own."""
    common = _Common.of(spec, trials[0].point)
    task, data = common.task_and_data()
    setup = CohortSetup(
        task,
        data,
        common.structure,
        [replicate for trial in trials if trial.piece is None for replicate in _replicates(spec, trial)],
        provenance.lanes,
        common.program(provenance.program),
        provenance.device,
        spec.ratios.samples,
        plan.scoring(spec),
        spec.ratios.spacing,
        [*plan.watchers(spec), *([watcher] if watcher else [])],
    )
    cohort = Cohort(setup)
    add_trials(cohort, spec, [trial for trial in trials if trial.piece], state_of)
    return cohort


def add_trials(cohort: Cohort, spec: SweepSpec, trials: Sequence[PlannedTrial], state_of: StateOf = no_state) -> None:
    """Give more trials of its structure, or pieces of them, to a cohort that trains."""
    for trial in trials:
        for replicate in _replicates(spec, trial):
            if state := state_of(trial, replicate):
                cohort.thaw(replicate, state)
            else:
                cohort.add([replicate])


def _replicates(spec: SweepSpec, trial: PlannedTrial) -> list[Trial]:
    """Return a trial's replicates. A confirmation is not scored at rungs: it trains to its end."""
    replicates, piece = plan.replicates(spec, trial.number, trial.point), trial.piece
    if trial.confirms is not None:
        return [replace(replicate, rungs=()) for replicate in replicates]
    if piece is not None:
        return [replace(replicate, until=piece.until, keep_at=tuple(piece.keep_at)) for replicate in replicates]
    return replicates


def program_for(
    spec: SweepSpec, trials: Sequence[PlannedTrial], lanes: int, device: str, expected: int = 0
) -> Provenance:
    """Choose the program of trials of one structure, and how many of at most `lanes` lanes train at once.

    expected: how many trials there are to be in the end, where more will come.
    """
    common = _Common.of(spec, trials[0].point)
    replicates = max(expected, len(trials)) * spec.replicates
    work, lanes = replicates * spec.budget.steps, min(lanes, replicates)
    program, why, lanes = _choose(common, spec, work, lanes, device)
    return Provenance(program, why, lanes, device)


def _choose(common: _Common, spec: SweepSpec, work: int, lanes: int, device: str) -> tuple[str, str, int]:
    """Return the program, the reason for it, and how many lanes train at once. work: the steps of all trials."""
    task, data = common.task_and_data()
    batch, wanted, alone = common.first_batch(), spec.resources, common.program("plain")
    hidden, step_s = alone.hidden(batch, data.valid).reason, alone.probe.step_s
    if wanted.program == "auto" and device == "cpu" and not hidden and alone.probe.overhead < GAIN:
        return "plain", f"one lane at a time: {step_s * 1e3:,.0f} ms a step, nearly all of it arithmetic", lanes
    work_s = work * step_s if math.isfinite(step_s) else 0.0  # a loss that raised was not timed
    with deadline.bounded(max(deadline.DECIDE_S, deadline.DECIDE_SHARE * work_s)):
        program, why = choose(task, batch, lanes, wanted.program, work, device, common.why_not_native, hidden)
        kind = PROGRAMS[program]
        if kind.min_width == 1 or wanted.lanes != "auto":
            return program, why, lanes
        if kind.lanes_run_sequentially and spec.asks_late:
            return program, why, min(lanes, spec.replicates)  # each lane more is one more that begins on less knowledge
        if kind.lanes_run_sequentially:
            return program, why, min(lanes, max(NATIVE, 2 * spec.replicates))  # a trunk needs a second free lane
        return _measured(common, spec, (program, why), lanes, device)


def _measured(
    common: _Common, spec: SweepSpec, chosen: tuple[str, str], lanes: int, device: str
) -> tuple[str, str, int]:
    """Return the fastest choice where many lanes can train at once, by a measurement here."""
    (task, data), alone, (program, why) = common.task_and_data(), common.program("plain"), chosen
    key = f"{spec.task} {common.options} {program}"
    try:
        width = cached_width(task, data, common.structure, common.program(program), alone, lanes, device, key)
    except TooLong as error:
        return "plain", f"one lane at a time: to measure many was given up, {error}", lanes
    if width.alone and spec.resources.program == "auto":
        best = min(width.us.values())
        return "plain", f"one lane at a time: {width.alone_us:,.0f} us a step, {best:,.0f} in a batch", lanes
    return program, why, width.lanes(lanes) or lanes


def why_not_as_begun(spec: SweepSpec, trials: Sequence[PlannedTrial], begun: Provenance, device: str) -> str | None:
    """Return why trials cannot continue here with the program that they began with; None if they can.

    Another program would differ in the last bits.
    """
    sentence = f"trials have begun by the {begun.program} program"
    if begun.device != device:
        return f"{sentence} on a {_device(begun.device)}, and here they would train on a {_device(device)}"
    common = _Common.of(spec, trials[0].point)
    task, _ = common.task_and_data()
    reason = why_not(begun.program, task, common.first_batch())
    return f"{sentence}, which is not available here: {reason}" if reason else None


def _device(name: str) -> str:
    return "GPU" if name == "cuda" else "CPU"
