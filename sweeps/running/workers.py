"""Supervise workers: those that are silent, die, hang, or do not stop on request."""

import threading
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from espalier.core.training.events import TrialId
from espalier.sweeps.running import deaths
from espalier.sweeps.running.interrupt import Interrupt
from espalier.sweeps.running.machine import RaySession
from espalier.sweeps.running.progress import Progress, trials_text
from espalier.sweeps.running.retries import Decision, decide
from espalier.sweeps.running.watchdog import Death
from espalier.sweeps.search.cohort_plan import CohortPlan

KILL_AFTER_S, LEAVE_AFTER_S = 5.0, 6.0  # after an interrupt: workers that run on are killed; the others abandoned
KILL_SILENT_AFTER_S, LEAVE_SILENT_AFTER_S = 0.5, 1.5  # workers without a turn yet; Tune waits 5 s for each start
LATE_S = 10.0  # after those that did not stop are left alone, for workers that had not even begun
RAY_DEAD = "Ray's own process (raylet) has ended: somebody killed it, or the machine was out of memory"


class Workers:
    """The workers of one driver, as known by their turns and their notes."""

    def __init__(self, notes: Path, stop_file: Path, progress: Progress, interrupt: Interrupt, session: RaySession):
        """notes, stop_file: as of WorkerSettings."""
        self.notes, self.stop_file = notes, stop_file
        self.progress, self.interrupt, self.session = progress, interrupt, session
        self.resumed_from: dict[str, str | None] = {}  # the checkpoint that each cohort began from
        self.silent: set[str] = set()  # cohorts that have started, or restarted, and have had no turn yet
        self.missed: set[str] = set()  # cohorts without a turn for long
        self.deaths: dict[str, list[Death]] = {}  # deaths of a cohort's workers since it last made progress
        self.stop_requested = self.leaving = False

    def begin(self, plan: CohortPlan) -> None:
        """Record that a worker is about to begin a cohort."""
        deaths.forget(self.notes, plan.id)
        self.resumed_from[plan.id] = plan.resume_from
        self.silent.add(plan.id)

    def is_first_turn(self, cohort: str) -> bool:
        """Return whether a cohort's worker has reported nothing yet."""
        return cohort in self.silent

    def take_turn(self, cohort: str) -> None:
        """Record that a cohort's worker is alive."""
        self.missed.discard(cohort)
        self.silent.discard(cohort)

    # --- deaths ------------------------------------------------------------------------------------------------------

    def read_death(self, cohort: str) -> Death:
        """Return why the worker of a cohort has died."""
        self.missed.discard(cohort)
        return deaths.read_death(self.notes, cohort)

    def decide(self, cohort: str, death: Death, checkpoint: str | None) -> Decision:
        """Return what to do with a cohort whose worker has died. checkpoint: its last one."""
        if checkpoint != self.resumed_from[cohort]:
            self.deaths.pop(cohort, None)  # it had made progress
        earlier = self.deaths.setdefault(cohort, [])
        earlier.append(death)
        decision = decide(earlier)
        if decision.guilty:
            del self.deaths[cohort]
        return decision

    def progressed(self, cohort: str) -> None:
        """Forget the deaths of a cohort's workers: it has come further since."""
        self.deaths.pop(cohort, None)

    def tries(self, cohort: str) -> int:
        """Return how often a cohort's worker has died since its last progress."""
        return len(self.deaths.get(cohort, ()))

    # --- interrupts --------------------------------------------------------------------------------------------------

    def check(self, live: Collection[str]) -> bool:
        """Find silent cohorts. Return whether to abandon the cohorts that an interrupt has not stopped.

        Those on this machine are killed first. live: the cohorts that train.
        """
        self._note_missing()
        since = self.interrupt.since()
        if not since:
            return False
        if not self.stop_requested:
            self._request_stop()
        for cohort in live:
            if since > (KILL_SILENT_AFTER_S if cohort in self.silent else KILL_AFTER_S):
                deaths.kill_workers(self.notes, cohort)
        leave = since > (LEAVE_SILENT_AFTER_S if self.silent >= set(live) else LEAVE_AFTER_S)
        if leave and not self.leaving:
            self.leaving = True
            threading.Thread(target=self._kill_late_ones, args=(list(live),), daemon=True).start()
        return leave

    def _request_stop(self) -> None:
        """Ask workers, also those of other machines, to begin none of the cohorts that Tune has still to start."""
        self.stop_requested = True
        with suppress(OSError):  # without it a cohort stops at its first report
            self.stop_file.parent.mkdir(parents=True, exist_ok=True)
            self.stop_file.touch()

    def _note_missing(self) -> None:
        for cohort, sentence in self.progress.silent_cohorts():
            if cohort not in self.missed:
                self.missed.add(cohort)
                if self.session.dead():
                    self.interrupt.halt(RAY_DEAD)
                else:
                    self.progress.note(sentence)

    def _kill_late_ones(self, cohorts: Collection[str]) -> None:
        """Kill workers that start only now: Tune would wait for them for long."""
        end = time.monotonic() + LATE_S
        while time.monotonic() < end:
            for cohort in cohorts:
                deaths.kill_workers(self.notes, cohort)
            time.sleep(0.1)


def death_sentence(cohort: str, death: Death, decision: Decision) -> str:
    """Return a line about a dead worker: what it trained, and what happens next."""
    guilty, trained = (_numbers(whom) for whom in (decision.guilty, death.replicates))
    step = f" at step {max(death.replicates.values()):,}" if len(death.lanes) == 1 else ""
    whom = f", training {trials_text(trained)}{step}" if trained else ""
    after = "it goes on from its last checkpoint"
    if guilty:
        after = f"{trials_text(guilty)} failed, the others go on"
    elif decision.give_up:
        after = "its trials have failed"
    return f"{cohort}: its worker ended: {death.why}{whom}; {after}"


def _numbers(replicates: Collection[str]) -> list[int]:
    return sorted({TrialId.parse(replicate).number for replicate in replicates})
