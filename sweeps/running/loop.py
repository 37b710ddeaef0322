"""The one loop of a sweep: it passes the results of Ray Tune to the search, the progress and the records.

There are no callbacks: the search returns trials' events, and the recorder is polled for MLflow's runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from espalier.core.training.events import TrialId
from espalier.sweeps.home import last_checkpoint, naming
from espalier.sweeps.recording.recorder import Recorder
from espalier.sweeps.recording.tracking import Tracking
from espalier.sweeps.running.checkpoint_room import CheckpointRoom
from espalier.sweeps.running.deadline import Deadline
from espalier.sweeps.running.interrupt import Interrupt
from espalier.sweeps.running.ledger import Ledger
from espalier.sweeps.running.memory_watch import MemoryWatch
from espalier.sweeps.running.messages import Assignment, Turn, WorkerSettings
from espalier.sweeps.running.parked_ends import ParkedEnds
from espalier.sweeps.running.progress import Progress
from espalier.sweeps.running.reference_runs import ReferenceRuns
from espalier.sweeps.running.workers import Workers, death_sentence
from espalier.sweeps.search.cohort_plan import PlannedTrial
from espalier.sweeps.search.search import Search
from espalier.sweeps.search.trial_events import Outcome, TrialEvent

ERRORS = "errors"  # in a sweep's folder: tracebacks, a file for each trial or cohort that they ended, or the driver
LINKS_WAIT_S = 10.0  # for the MLflow runs of ended trials: Optuna accepts no attributes of a trial after its end


@dataclass
class Loop:
    """Handles the turns and the ends of cohorts, in the driver's main thread. folder: the sweep's own."""

    folder: Path
    settings: WorkerSettings
    interrupt: Interrupt
    search: Search
    progress: Progress
    tracking: Tracking
    workers: Workers
    ledger: Ledger
    references: ReferenceRuns
    parked_ends: ParkedEnds | None
    deadline: Deadline | None
    room: CheckpointRoom | None = None
    memory: MemoryWatch | None = None

    @property
    def recorder(self) -> Recorder:
        """The recorder of the sweep."""
        return self.tracking.recorder

    @property
    def finished(self) -> bool:
        """Whether no cohort is left to train, now or later."""
        return self.interrupt.asked.is_set() or (self.search.exhausted and not self.search.live)

    def next_cohort(self) -> Assignment | None:
        """Return the next cohort to train; None while there is none.

        Before it asks Optuna for many trials, it waits for the runs of the ended ones, which are told to Optuna first.
        """
        self._pass_on(self.search.parked_events())
        if self.search.asks_next and not self.search.asks_late:
            ended = set(self.search.ends.untold) - set(self.ledger.runs)
            self.recorder.wait_for_runs(ended, LINKS_WAIT_S, self.interrupt.asked)
        if self.search.references and self.search.references_next:
            self.search.references = self.references.choose(self.search.references, self.ledger)
        plan = self.search.next_cohort(self.ledger.take_links(self.recorder))
        self._note_progress()
        if plan is None:
            return None
        self.workers.begin(plan)
        self.progress.begin_cohort(plan)
        return Assignment(
            self.settings, plan, self.ledger.provenance.get(plan.id, self.ledger.provenance.get(plan.like))
        )

    def _note_progress(self) -> None:
        """Show which parked trials go on, and how much is left."""
        self._pass_on(self.search.parked_events())
        parking, deadline = self.search.parking, self.deadline
        why = (parking.why_over if parking else "") or (deadline.why_over if deadline else "")
        if why and why not in self.progress.notes:
            self.progress.note(why)
        self.progress.wanted, self.progress.share_paid = self.search.wanted, parking and parking.share_paid
        if deadline:
            self.progress.share_paid, self.progress.ends_at = deadline.time.share, deadline.ends_at

    def more_trials(self, cohort: str, turn: Turn, lanes: int) -> list[PlannedTrial]:
        """Handle what a cohort's worker reports in the middle of a turn; return trials for its idle lanes."""
        self.take_turn(cohort, turn)
        if self.interrupt.asked.is_set():
            return []
        trials = self.search.more_trials(cohort, lanes)
        if trials:
            self.workers.progressed(cohort)
            self.progress.begin_cohort(self.search.live[cohort])
        self._note_progress()
        return trials

    def take_turn(self, cohort: str, turn: Turn) -> None:
        """Handle a turn of a cohort's worker."""
        if self.deadline and self.workers.is_first_turn(cohort):
            self.deadline.begin(cohort, turn.trained_s)
        self.workers.take_turn(cohort)
        self.progress.take_turn(cohort, turn)
        plan = self.search.live.get(cohort)
        if plan and plan.reference:
            self.references.take_turn(plan, turn)
            return
        if turn.halt:
            self.interrupt.halt(turn.halt)
            return
        if turn.provenance:  # else the cohort could not begin
            had_result = self.progress.first_result_s is not None
            self.ledger.take_turn(cohort, turn, begins_anew=plan is not None and plan.resume_from is None)
            if self.parked_ends:
                self.parked_ends.keep(turn.events)  # before Optuna knows that they are parked
            self.progress.program = self.ledger.programs_of(self.search.live) or self.progress.program
            for event in turn.events:
                self._pass_on(self.search.take_events([event]))
            if not had_result and self.progress.first_result_s is not None:
                self.recorder.wake()  # so that trials have runs before they end
            self.take_links()
            if self.room:
                self.room.take(turn.events)
            if self.memory:
                self.memory.take(turn.events)
        if turn.error:
            self._pass_on(self.search.cohort_failed(cohort, turn.error.reason))
            keep_error(self.folder, cohort, turn.error.trace)

    def _pass_on(self, events: Sequence[TrialEvent]) -> None:
        """Show and record events of trials."""
        for event in events:
            if isinstance(event, Outcome) and (trace := next((end.trace for end in event.replicates if end.trace), "")):
                keep_error(self.folder, f"trial-{event.trial}", trace)
            self.progress.take_event(event)
            self.tracking.take_event(event, self.ledger.provenance_of(self.search.cohort_of(event.trial)))

    def end_cohort(self, cohort: str) -> None:
        """Handle a cohort that has finished or was interrupted."""
        if not self.interrupt.asked.is_set():
            self.search.replan_unreached(cohort)
        self.search.cohort_over(cohort)

    def lose_worker(self, cohort: str) -> None:
        """Handle a dead worker: fail the trials that caused it, and schedule the rest again."""
        self.progress.lose_worker(cohort)
        death = self.workers.read_death(cohort)
        if death.halt and not self.interrupt.asked.is_set():
            self.interrupt.halt(death.why)
        if self.interrupt.asked.is_set():
            self.search.cohort_over(cohort)
            return
        checkpoint = last_checkpoint(self.folder, cohort)
        decision = self.workers.decide(cohort, death, checkpoint)
        plan = self.search.live[cohort]
        if plan.reference:
            if self.workers.tries(cohort) > 1 or decision.guilty or decision.give_up:
                self.references.fail(plan, death.why)
                self.search.cohort_over(cohort)
            else:
                self.search.cohort_again(cohort, {})
            return
        self.progress.note(death_sentence(cohort, death, decision))
        for replicate, step in decision.guilty.items():
            why = f"{death.why}, at step {step}"
            self._pass_on(self.search.fail([TrialId.parse(replicate).number], why, step))
        if decision.give_up:
            why = f"its worker died {self.workers.tries(cohort)} times: {death.why}"
            self._pass_on(self.search.cohort_failed(cohort, why))
        else:
            self.search.cohort_again(cohort, decision.suspects, checkpoint)

    def take_links(self) -> None:
        """Store the new MLflow runs, and tell Optuna of the ended trials that waited for theirs."""
        self.search.settle(self.ledger.take_links(self.recorder))

    def check(self) -> bool:
        """Check for silent workers, ten times a second; return whether the running cohorts are abandoned."""
        if self.recorder.full:
            self.interrupt.halt(self.recorder.full)
        if self.deadline:
            self.deadline.check()
        return self.workers.check(self.search.live)


def keep_error(sweep_folder: Path, name: str, trace: str) -> Path:
    """Write a traceback to a file of a sweep, and return the file. Raises OSError that names it."""
    file = sweep_folder / ERRORS / f"{name}.txt"
    with naming(file):
        file.parent.mkdir(exist_ok=True)
        file.write_text(trace, encoding="utf-8")
    return file
