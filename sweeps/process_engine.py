"""Make the cohort of trials that train in processes of their own. Does not import Ray."""

from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path

from espalier.core.foreign.cohort import ProcessCohort, ProcessSetup
from espalier.core.foreign.launch import CommandLauncher, FunctionLauncher, Launcher, environment
from espalier.core.foreign.output import OutputReader
from espalier.core.foreign.run import ProcessTrial
from espalier.core.loading.folders import in_copy
from espalier.core.loading.references import split_reference
from espalier.core.training.events import TrialId
from espalier.core.training.watch import Watcher
from espalier.sweeps import cohorts as plan
from espalier.sweeps.assignments import assignments
from espalier.sweeps.search.cohort_plan import PlannedTrial, Provenance
from espalier.sweeps.spec.spec import SweepSpec

PROCESS = "process"  # in place of a program's name


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
) -> ProcessCohort:
    """Build the cohort of trials. folders: that of trials' folders. folder: in which their code runs.

    device: of a GPU a process must not have been forked from one that knows it.
    """
    code = _reference_in_copy(spec.function) if spec.function else ""
    command = tuple(_word_in_copy(word, folder) for word in spec.command)
    setup = ProcessSetup(
        folders,
        _launcher(code, command, folder, spec.resources.grace, device == "cpu"),
        partial(OutputReader, spec.results.patterns) if spec.command else lambda: None,
        plan.thresholds(spec),
        spec.resources.timeout,
        watchers=[watcher] if watcher else [],
    )
    cohort = ProcessCohort(setup)
    add_trials(cohort, spec, trials)
    return cohort


@lru_cache(maxsize=2)
def _launcher(function: str, command: tuple[str, ...], folder: str, grace_s: float, forks: bool) -> Launcher:
    """Return what begins processes, for all cohorts of this worker: it has imported the function once."""
    if function:
        return FunctionLauncher(function, folder, environment(), grace_s, forks)
    return CommandLauncher(command, folder, environment(), grace_s)


def add_trials(cohort: ProcessCohort, spec: SweepSpec, trials: Sequence[PlannedTrial]) -> None:
    """Give more trials, or pieces of them, to a cohort that trains."""
    for trial in trials:
        rungs = () if trial.confirms is not None else plan.rungs(spec)
        for replicate, assignment in enumerate(assignments(spec, trial)):
            piece = trial.piece
            source = ""
            if piece and piece.begin and piece.source != trial.number:
                source = str(TrialId(piece.source, replicate))
            cohort.add([ProcessTrial(assignment, rungs, source, piece.begin if piece else 0)])


def _reference_in_copy(reference: str) -> str:
    """Return a reference to a function of a file with that file's recorded copy."""
    source, name = split_reference(reference)
    return f"{in_copy(Path(source))}:{name}" if source.endswith(".py") else reference


def _word_in_copy(word: str, folder: str) -> str:
    """Return the recorded copy of a file of code that a word of a command names; another word unchanged."""
    path = Path(folder, word)
    return str(in_copy(path)) if word.endswith((".py", ".sh")) and path.is_file() else word
