"""How a worker trains: lanes of a task, or processes of a function or a command. The worker knows this interface alone.

One engine has one cohort after another of its spec.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from espalier.core.foreign.cohort import ProcessCohort
from espalier.core.training.events import Event
from espalier.core.training.watch import Watcher
from espalier.sweeps import process_engine as processes
from espalier.sweeps.recording.experiments import Owner
from espalier.sweeps.recording.trial_runs import runs_for
from espalier.sweeps.running.machine import address_here
from espalier.sweeps.running.messages import WorkerSettings
from espalier.sweeps.search.cohort_plan import PlannedTrial, Provenance
from espalier.sweeps.spec.spec import SweepSpec
from espalier.sweeps.worker_group import WorkerGroup

State = Mapping[str, object]


class AnyCohort(Protocol):
    """Trials that train, as core.training.cohort.Cohort describes each member."""

    @property
    def done(self) -> bool: ...
    @property
    def idle(self) -> int: ...
    @property
    def lane_steps(self) -> int: ...
    @property
    def steps_shared(self) -> int: ...
    @property
    def writable(self) -> bool: ...
    def turn(self) -> list[Event]: ...
    def stop(self, trial: str, reason: str) -> None: ...
    def isolate(self, suspects: Mapping[str, int]) -> bool: ...
    def glimpse(self) -> tuple[str, int, float] | None: ...
    def observe(self, beat: Callable[[int], None], before: Callable[[Sequence[Mapping[str, int]]], None]) -> None: ...


class Engine(Protocol):
    """How the trials of a spec train in a worker."""

    replayed: list[Event]
    """Events of earlier workers, which the driver may not have had; to be reported first."""

    def program_for(self, trials: Sequence[PlannedTrial], lanes_most: int, device: str, expected: int) -> Provenance:
        """Choose how trials of one structure train."""
        ...

    def why_not_as_begun(self, trials: Sequence[PlannedTrial], begun: Provenance, device: str) -> str | None:
        """Return why trials cannot continue here as they began; None if they can."""
        ...

    def begin(
        self, trials: Sequence[PlannedTrial], provenance: Provenance, watcher: Watcher | None, saved: State | None
    ) -> AnyCohort:
        """Make the cohort of trials. saved: from `state`, to go on with."""
        ...

    def add(self, trials: Sequence[PlannedTrial]) -> None:
        """Give more trials, or pieces, to the cohort."""
        ...

    def keep(self, trials: Sequence[PlannedTrial]) -> None:
        """Keep what is needed later of the pieces of trials: after each turn."""
        ...

    def keep_recent(self) -> bool:
        """Keep the present state for a crash; return whether a checkpoint of the cohort is needed in place of that."""
        ...

    def state(self) -> State | None:
        """Return the state of the cohort for a checkpoint; None where none is needed."""
        ...

    def take_notes(self) -> Sequence[str]:
        """Return what is new to be said to the user."""
        ...

    def discard(self, trials: Sequence[PlannedTrial]) -> None:
        """Forget what pieces have kept so far, which has turned out to be wrong."""
        ...

    def close(self) -> None:
        """End what still runs."""
        ...


class ProcessEngine:
    """Trains processes of a function or a command; what they need to go on lies in their trials' folders."""

    def __init__(self, spec: SweepSpec, settings: WorkerSettings):
        self.spec, self.settings = spec, settings
        self.replayed: list[Event] = []
        self.cohort: ProcessCohort | None = None

    def program_for(self, trials: Sequence[PlannedTrial], lanes_most: int, device: str, expected: int) -> Provenance:
        """Return that each trial has a process of its own."""
        return processes.provenance(self.spec, device)

    def why_not_as_begun(self, trials: Sequence[PlannedTrial], begun: Provenance, device: str) -> str | None:
        """Return None: a process can begin anywhere."""
        return None

    def begin(
        self, trials: Sequence[PlannedTrial], provenance: Provenance, watcher: Watcher | None, saved: State | None
    ) -> ProcessCohort:
        """Make the cohort of trials."""
        self.close()
        spec, settings, runs = self.spec, self.settings, None
        if spec.results.mlflow:
            owner = Owner(settings.sweep, settings.birth)
            runs = runs_for(spec.tracking_uri, settings.tracking_uri, owner, spec.name, settings.experiment)
        self.cohort = processes.make_cohort(
            spec, trials, Path(settings.trial_folders), settings.folder, provenance.device, watcher, runs, self._group()
        )
        return self.cohort

    def _group(self) -> WorkerGroup | None:
        """Return the workers that train each trial in this cluster; None for one process."""
        if self.spec.resources.workers == 1:
            return None
        return WorkerGroup(self.spec.resources.workers, self.settings.cpus, self.settings.gpus, address_here())

    def add(self, trials: Sequence[PlannedTrial]) -> None:
        """Give more trials to the cohort."""
        assert self.cohort
        processes.add_trials(self.cohort, self.spec, trials)

    def keep(self, trials: Sequence[PlannedTrial]) -> None:
        """Do nothing: the processes have written it."""

    def keep_recent(self) -> bool:
        """Return False: the processes have written it."""
        return False

    def state(self) -> State | None:
        """Return None: it lies in the trials' folders."""
        return None

    def take_notes(self) -> Sequence[str]:
        """Return what was found of sharing."""
        return self.cohort.take_notes() if self.cohort else ()

    def discard(self, trials: Sequence[PlannedTrial]) -> None:
        """Do nothing: there is no other program to fall back to."""

    def close(self) -> None:
        """End the processes; their trials can go on from their last checkpoints."""
        if self.cohort:
            with suppress(OSError):
                self.cohort.close()
