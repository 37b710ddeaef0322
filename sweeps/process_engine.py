"""Make the cohort of trials that train in processes of their own. Does not import Ray."""

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

from espalier.core.foreign.cohort import ProcessCohort, ProcessSetup
from espalier.core.foreign.launch import CommandLauncher, FunctionLauncher, Launcher, environment
from espalier.core.foreign.output import OutputReader
from espalier.core.foreign.results import Places
from espalier.core.foreign.run import ProcessTrial
from espalier.core.loading.folders import copy_in_use, current_folder, in_copy
from espalier.core.loading.references import split_reference
from espalier.core.training.events import Ended, TrialId
from espalier.core.training.history import fork_steps
from espalier.core.training.trial import Hyperparameters, Structure, Trial
from espalier.core.training.watch import Watcher
from espalier.sweeps import cohorts as plan
from espalier.sweeps.assignments import assignments
from espalier.sweeps.code.sources import source_of
from espalier.sweeps.search.cohort_plan import PROCESS, PlannedTrial, Provenance
from espalier.sweeps.spec.space import Point
from espalier.sweeps.spec.spec import SweepSpec
from espalier.sweeps.worker_group import WorkerGroup

RECORDED = (".py", ".sh", ".yaml", ".yml", ".json", ".toml", ".cfg", ".ini")  # files that a command's words name


def provenance(spec: SweepSpec, device: str) -> Provenance:
    """Return how trials of a function or a command train."""
    return Provenance(PROCESS, "each trial in its own", 1, device)


def make_cohort(
    spec: SweepSpec,
    trials: Sequence[PlannedTrial],
    folders: Path,
    folder: str,
    device: str,
    watcher: Watcher | None = None,
    runs: Places | None = None,
    group: WorkerGroup | None = None,
) -> ProcessCohort:
    """Build the cohort of trials. folders: that of trials' folders. folder: in which their code runs.

    device: of a GPU a process must not have been forked from one that knows it. runs: where results are read that the
    processes do not report. group: of the workers that train each trial, None for one process.
    """
    tracking = tuple(runs.environment.items()) if runs else ()
    code = _reference_in_copy(spec.function) if spec.function else ""
    command = tuple(_word_in_copy(word, folder) for word in spec.command)
    grace_s, modules = spec.resources.grace, _modules_place(command)
    setup = ProcessSetup(
        folders,
        _launcher(code, command, folder, modules, grace_s, device == "cpu", tracking, group),
        partial(OutputReader, spec.results.patterns) if spec.command else lambda: None,
        plan.thresholds(spec),
        spec.resources.timeout,
        watchers=[watcher] if watcher else [],
        shares=spec.share == "checkpoints",
        grace_s=grace_s,
        attach=runs.attach if runs else lambda _: None,
    )
    cohort = ProcessCohort(setup)
    add_trials(cohort, spec, trials)
    return cohort


def group_here(spec: SweepSpec) -> WorkerGroup | None:
    """Return the workers of a trial on this machine, with a Ray of their own; None for one process.

    Raises BadInput if there are not so many GPUs.
    """
    if spec.resources.workers == 1:
        return None
    import torch

    return WorkerGroup(spec.resources.workers, *spec.resources.shares(torch.cuda.device_count()))


def train_alone(
    spec: SweepSpec,
    number: int,
    point: Point,
    reported: Sequence[Sequence[int]],
    make_runs: Callable[[Path], Places],
) -> list[Ended]:
    """Train one trial from its beginning to its end; return the ends of its replicates, in order.

    reported: the steps at which each replicate is to report. make_runs: returns places in a folder for results, where
    the spec has them read from MLflow.
    """
    with tempfile.TemporaryDirectory(prefix="sweep-") as place:
        folder = str(current_folder())
        runs = make_runs(Path(place)) if spec.results.mlflow else None
        cohort = make_cohort(
            spec.model_copy(update={"stopping": None}),
            [],
            Path(place),
            folder,
            "cpu",
            runs=runs,
            group=group_here(spec),
        )
        whole = assignments(spec, PlannedTrial(number, point))
        steps = [sorted({*each.due, *due}) for each, due in zip(whole, reported, strict=True)]
        cohort.add([ProcessTrial(replace(each, due=due)) for each, due in zip(whole, steps, strict=True)])
        try:
            ends = [event for event in cohort.train() if isinstance(event, Ended)]
        finally:
            cohort.close()
            forget_launchers()
    return sorted(ends, key=lambda end: end.trial_id)


@lru_cache(maxsize=2)
def _launcher(
    function: str,
    command: tuple[str, ...],
    folder: str,
    modules: str,
    grace_s: float,
    forks: bool,
    tracking: tuple[tuple[str, str], ...] = (),
    group: WorkerGroup | None = None,
) -> Launcher:
    """Return what begins processes, for all cohorts of this worker: it has imported the function once.

    modules: where `python -m NAME` finds modules of the working folder; "": there. tracking: further variables.
    group: of each trial, None for one process.
    """
    env = environment() | dict(tracking)
    if group:
        return FunctionLauncher(function, folder, env, grace_s, False, group.program)
    if function:
        return FunctionLauncher(function, folder, env, grace_s, forks)
    if modules:
        env |= {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(filter(None, [modules, env.get("PYTHONPATH")]))}
    return CommandLauncher(command, folder, env, grace_s)


def forget_launchers() -> None:
    """Have the next cohort import its function anew."""
    _launcher.cache_clear()


def add_trials(cohort: ProcessCohort, spec: SweepSpec, trials: Sequence[PlannedTrial]) -> None:
    """Give more trials, or pieces of them, to a cohort that trains."""
    process_trials: list[ProcessTrial] = []
    for trial in trials:
        rungs = () if trial.confirms is not None else plan.rungs(spec)
        for replicate, assignment in enumerate(assignments(spec, trial)):
            piece = trial.piece
            source = ""
            if piece and piece.begin and piece.source != trial.number:
                source = str(TrialId(piece.source, replicate))
            process_trials.append(ProcessTrial(assignment, rungs, source, piece.begin if piece else 0))
    whole = all(trial.piece is None for trial in trials)
    cohort.add(_sharing(process_trials, spec) if spec.share == "checkpoints" and whole else process_trials)


def _sharing(trials: Sequence[ProcessTrial], spec: SweepSpec) -> list[ProcessTrial]:
    """Return trials in an order in which each can take the checkpoint of one before it, where their histories part.

    The one with the latest decay points comes first: its training is the trunk of the others.
    """
    ordered: list[ProcessTrial] = []
    for group in _of_one_beginning(trials):
        group.sort(key=lambda trial: list(trial.assignment.schedule.get("decay_points", [1.0])), reverse=True)
        steps_of: dict[str, set[int]] = {trial.id: set() for trial in group}
        branches = [group[0]]
        for trial in group[1:]:
            steps = [_parting(spec, before, trial) for before in branches]
            source, begin = max(zip(branches, steps, strict=True), key=lambda pair: pair[1])
            branches.append(replace(trial, source=source.id, begin=begin) if begin else trial)
            steps_of[source.id].add(begin)
        for trial in branches:
            steps = tuple(sorted(steps_of[trial.id] - {0}))
            ordered.append(replace(trial, assignment=replace(trial.assignment, kept=steps)))
    return ordered


def _of_one_beginning(trials: Sequence[ProcessTrial]) -> list[list[ProcessTrial]]:
    """Return trials in groups that differ in their decay points alone."""
    groups: dict[str, list[ProcessTrial]] = {}
    for trial in trials:
        values = {name: value for name, value in trial.assignment.values.items() if name != "decay_points"}
        key = json.dumps([values, trial.assignment.seed, bool(trial.assignment.schedule)], sort_keys=True, default=str)
        groups.setdefault(key, []).append(trial)
    return list(groups.values())


def _parting(spec: SweepSpec, trunk: ProcessTrial, branch: ProcessTrial) -> int:
    """Return after how many steps the rates of two trials differ for the first time; 0 where that is not known."""
    if not trunk.assignment.schedule:
        return 0
    first, second = (_schedule_of(trial) for trial in (trunk, branch))
    structure = Structure(schedule=trunk.assignment.schedule["kind"], phases=spec.schedule.phases)
    (step,) = fork_steps(structure, first, [second])
    return min(step if step is not None else first.steps, first.steps - 1)


def _schedule_of(trial: ProcessTrial) -> Trial:
    """Return a trial of the engine with the schedule of a process."""
    schedule = dict(trial.assignment.schedule)
    numbers = {name: value for name, value in schedule.items() if isinstance(value, int | float)}
    hyper = Hyperparameters(schedule["lr"], schedule.get("decay_points", ()), numbers.items())
    return Trial(trial.id, trial.assignment.seed, trial.assignment.steps, hyper)


def _reference_in_copy(reference: str) -> str:
    """Return a reference to a function with its file, as it was recorded; one of an installed module unchanged."""
    source = source_of(reference)
    return f"{in_copy(source.file)}:{split_reference(reference)[1]}" if source and source.file else reference


def _word_in_copy(word: str, folder: str) -> str:
    """Return a word of a command with the recorded copy of the file that it names, also after "="."""
    before, equals, name = word.rpartition("=")
    path = Path(folder, name)
    copied = in_copy(path) if path.suffix in RECORDED else path
    return word if copied == path else f"{before}{equals}{copied}"


def _modules_place(command: Sequence[str]) -> str:
    """Return the folder of the recorded copy in which `python -m NAME` finds its modules; "" if there is none."""
    copy = copy_in_use() if "-m" in command else None
    return str(copy.of(Path(copy.root))) if copy else ""
