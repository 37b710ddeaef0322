"""The sender's feedback, polled by the sweep's loop: the run of each trial, notes, errors."""

import threading
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from espalier.sweeps.results.parent_run import ParentRun


@dataclass(frozen=True)
class RunLink:
    """The MLflow run of a trial."""

    trial: int
    run: str


class Feedback:
    """Written by the sender's thread and read by the sweep's; all methods are thread-safe."""

    def __init__(self, experiment_id: str | None = None):
        """experiment_id: the experiment with the sweep's earlier runs, even if it was renamed."""
        self.notes: list[str] = []  # sentences on damaged or missing records, and their repair
        self.trouble: str | None = None  # why the last attempt to send failed
        self.full: str | None = None  # a file of this machine without space, and what to do
        self.experiment_id = experiment_id
        self.parent: ParentRun | None = None
        self._runs: dict[int, str] = {}
        self._new: list[RunLink] = []
        self._lock = threading.Lock()

    def note(self, sentence: str | None) -> None:
        """Add a note for the user, once."""
        if sentence and sentence not in self.notes:
            self.notes.append(sentence)

    def link(self, trial: int, run: str) -> None:
        """Store the run of a trial."""
        with self._lock:
            if self._runs.get(trial) != run:
                self._runs[trial] = run
                self._new.append(RunLink(trial, run))

    def link_parent(self, parent: ParentRun) -> None:
        """Store the sweep's own run."""
        self.experiment_id, self.parent = parent.experiment_id, parent

    def take_links(self) -> list[RunLink]:
        """Return the links added since the last call."""
        with self._lock:
            links, self._new = self._new, []
        return links

    def has_runs(self, trials: AbstractSet[int]) -> bool:
        """Whether all these trials have runs."""
        with self._lock:
            return trials <= self._runs.keys()

    @property
    def known_runs(self) -> set[str]:
        """The ids of all known runs."""
        with self._lock:
            return {*self._runs.values(), *([self.parent.run_id] if self.parent else [])}
