"""What the sender has learnt, to be polled by the sweep's loop: which run each trial has, notes, what is wrong."""

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
    """Written by the sender's thread and read by the sweep's; each of its methods may be called from any."""

    def __init__(self, experiment_id: str | None = None):
        """experiment_id: the experiment that had the sweep's runs before, whatever its name is now."""
        self.notes: list[str] = []  # sentences on what was damaged or lacked, and what was done about it
        self.trouble: str | None = None  # why the last try to send has failed
        self.full: str | None = None  # which file of this machine takes nothing any more, and what to do
        self.experiment_id = experiment_id
        self.parent: ParentRun | None = None
        self._runs: dict[int, str] = {}
        self._new: list[RunLink] = []
        self._lock = threading.Lock()

    def note(self, sentence: str | None) -> None:
        """Keep a sentence that people should read, once."""
        if sentence and sentence not in self.notes:
            self.notes.append(sentence)

    def link(self, trial: int, run: str) -> None:
        """Keep which run a trial has."""
        with self._lock:
            if self._runs.get(trial) != run:
                self._runs[trial] = run
                self._new.append(RunLink(trial, run))

    def link_parent(self, parent: ParentRun) -> None:
        """Keep which run the sweep itself has."""
        self.experiment_id, self.parent = parent.experiment_id, parent

    def take_links(self) -> list[RunLink]:
        """Return the links that were learnt since this was called last."""
        with self._lock:
            links, self._new = self._new, []
        return links

    def has_runs(self, trials: AbstractSet[int]) -> bool:
        """Whether all these trials have runs."""
        with self._lock:
            return trials <= self._runs.keys()

    @property
    def known_runs(self) -> set[str]:
        """The ids of all runs that were learnt."""
        with self._lock:
            return {*self._runs.values(), *([self.parent.run_id] if self.parent else [])}
