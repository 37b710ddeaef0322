"""What a worker trains: the engine's cohort of some trials, and the program that trains it. Knows no Ray."""

import json
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch

from espalier.core import deadline
from espalier.core.deadline import TooLong
from espalier.core.programs import PROGRAMS
from espalier.core.programs.choose import choose, why_not
from espalier.core.programs.program import Program
from espalier.core.task import Batch, Data, Task, load_data, load_task
from espalier.core.training.cohort import Cohort
from espalier.core.training.setup import CohortSetup
from espalier.core.training.trial import Structure
from espalier.core.training.watch import Watcher
from espalier.core.training.width import GAIN, NATIVE, remembered
from espalier.sweeps import cohorts as plan
from espalier.sweeps.spec.spec import SweepSpec


@lru_cache(maxsize=4)
def _task_and_data(reference: str, options: str) -> tuple[Task, Data]:
    task = load_task(reference, json.loads(options))
    return task, load_data(task)


@lru_cache(maxsize=8)
def _program(reference: str, options: str, structure: Structure, kind: str) -> Program:
    """A program keeps the step that it has traced: a worker's next cohort of that structure takes it over."""
    task, _ = _task_and_data(reference, options)
    return PROGRAMS[kind](task, structure.optimizer, getattr(torch, structure.dtype))


def make_cohort(
    spec: SweepSpec,
    trials: list[dict[str, Any]],
    lanes: int,
    program: str,
    device: str,
    watcher: Watcher | None = None,
) -> Cohort:
    """Build the cohort of trials `{"number": n, "point": {...}}`, which share one structure.

    watcher: one more than the spec's own.
    """
    point = trials[0]["point"]
    options, structure = json.dumps(plan.task_options(spec, point), sort_keys=True), plan.structure(spec, point)
    task, data = _task_and_data(spec.task, options)
    engine_trials = [member for t in trials for member in plan.members(spec, t["number"], t["point"])]
    made = _program(spec.task, options, structure, program)
    return Cohort(
        CohortSetup(
            task,
            data,
            structure,
            engine_trials,
            lanes,
            made,
            device,
            spec.ratios.samples,
            plan.scoring(spec),
            spec.ratios.spacing,
            [*plan.watchers(spec), *([watcher] if watcher else [])],
        )
    )


def _first_batch(data: Data, structure: Structure) -> Batch:
    return tuple(tensor[: structure.batch_size] for tensor in data.train)


def program_for(spec: SweepSpec, trials: list[dict[str, Any]], lanes: int, device: str) -> tuple[str, str, int]:
    """Choose the program of trials of one structure, say why, and how many of at most `lanes` lanes train at once."""
    point, wanted = trials[0]["point"], spec.resources
    options, structure = json.dumps(plan.task_options(spec, point), sort_keys=True), plan.structure(spec, point)
    task, data = _task_and_data(spec.task, options)
    batch = _first_batch(data, structure)
    work = len(trials) * spec.replicates * spec.budget.steps
    lanes = min(lanes, len(trials) * spec.replicates)

    def why_not_native() -> str | None:
        return _program(spec.task, options, structure, "native").why_not(data.train, structure.batch_size)

    alone = _program(spec.task, options, structure, "plain")
    hidden, step_s = alone.hidden(batch, data.valid).reason, alone.probe.step_s
    if wanted.program == "auto" and device == "cpu" and not hidden and alone.probe.overhead < GAIN:
        return "plain", f"one lane at a time: {step_s * 1e3:,.0f} ms a step, nearly all of it arithmetic", lanes
    work_s = work * step_s if math.isfinite(step_s) else 0.0  # a loss that raised has not been timed
    with deadline.bounded(max(deadline.DECIDE_S, deadline.DECIDE_SHARE * work_s)):
        program, why = choose(task, batch, lanes, wanted.program, work, device, why_not_native, hidden)
        kind = PROGRAMS[program]
        if kind.min_width == 1 or wanted.lanes != "auto":
            return program, why, lanes
        if kind.lanes_run_sequentially:
            return program, why, min(lanes, max(NATIVE, 2 * spec.replicates))  # a trunk keeps a second lane free
        batched, key = _program(spec.task, options, structure, program), f"{spec.task} {options} {program}"
        try:
            width = remembered(task, data, structure, batched, alone, lanes, device, key)
        except TooLong as error:
            return "plain", f"one lane at a time: to measure many was given up, {error}", lanes
    if width.alone and wanted.program == "auto":
        best = min(width.us.values())
        return "plain", f"one lane at a time: {width.alone_us:,.0f} us a step, {best:,.0f} in a batch", lanes
    return program, why, width.lanes(lanes) or lanes


def why_not_as_begun(spec: SweepSpec, trials: list[dict[str, Any]], made: Mapping[str, Any], device: str) -> str | None:
    """Return why trials cannot go on here by the program that they began with (`made`), or None if they can.

    Another one would give other last bits.
    """
    begun = f"trials have begun by the {made['program']} program"
    if made["device"] != device:
        return f"{begun} on a {_device(made['device'])}, and here they would train on a {_device(device)}"
    task, data = _task_and_data(spec.task, json.dumps(plan.task_options(spec, trials[0]["point"]), sort_keys=True))
    reason = why_not(made["program"], task, _first_batch(data, plan.structure(spec, trials[0]["point"])))
    return f"{begun}, which cannot be had here: {reason}" if reason else None


def _device(name: str) -> str:
    return "GPU" if name == "cuda" else "CPU"
