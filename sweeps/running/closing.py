"""The end of a drive: the last records, what MLflow lacks of earlier ones, and the summary."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from espalier.sweeps.address import no_secret
from espalier.sweeps.recording.recorder import Recorder
from espalier.sweeps.recording.tracking import Tracking
from espalier.sweeps.results.closing import Summary
from espalier.sweeps.results.trial_result import TrialResult, at_rest, best_trial
from espalier.sweeps.running.interrupt import Interrupt
from espalier.sweeps.running.ledger import Ledger
from espalier.sweeps.running.progress import Progress
from espalier.sweeps.search.search import Search
from espalier.sweeps.search.study import SweepRecord

CLOSING_S, CLOSING_LEAST_S = 9.0, 3.0  # after an interrupt, for what is recorded
FLUSH_S, AUDIT_S = 30.0, 60.0  # else


@dataclass
class Closing:
    """Ends what a driver has recorded."""

    record: SweepRecord
    tracking: Tracking
    progress: Progress
    ledger: Ledger
    interrupt: Interrupt

    @property
    def recorder(self) -> Recorder:
        """What sends the records."""
        return self.tracking.recorder

    def settle(self, search: Search | None) -> None:
        """Record that the sweep has ended, or pauses. search: what has trained here, if anything."""
        self.progress.phase = "recording"
        self.recorder.flush(self._patience_s(FLUSH_S))
        runs = self.ledger.take_links(self.recorder)
        if search:
            search.settle(runs, everything=True)
        self._record_state(self.record.results(), self.interrupt.asked.is_set())

    def finish(self) -> Summary:
        """Ask MLflow what it has of the sweep, send or restore what it lacks, and return how the sweep ended."""
        interrupted = self.interrupt.asked.is_set()
        self.progress.phase = "recording"
        trials = self.record.results()
        ended = {trial.number for trial in trials if trial.state != "running"}
        if lacking := self.recorder.audit(ended, self._patience_s(AUDIT_S)):
            self._restore(trials, lacking)
        recorded = self.recorder.close(ended, self._patience_s(AUDIT_S))
        self.record.set_late_runs(self.ledger.take_links(self.recorder))
        for note in self.recorder.notes:
            self.progress.note(note)
        if self.recorder.full and not recorded:
            self.interrupt.halted = self.interrupt.halted or self.recorder.full
        self.progress.phase = "done"
        return self._summary(trials, interrupted, recorded)

    def _record_state(self, trials: Sequence[TrialResult], interrupted: bool) -> None:
        if interrupted or any(trial.state == "running" for trial in trials):
            self.tracking.pause()
        else:
            total = self.progress.work.total()
            self.tracking.close(trials, (total.lane_steps, total.steps_shared), self.ledger.programs)

    def _restore(self, trials: Sequence[TrialResult], lacking: Collection[int | None]) -> None:
        """Record again what Optuna has of trials that neither MLflow nor the spool has; None is the sweep's own run."""
        self.tracking.restore([trial for trial in trials if trial.number in lacking and trial.state != "running"])
        if None in lacking:
            self.tracking.open()
            self._record_state(trials, interrupted=False)

    def _patience_s(self, usual: float) -> float:
        """Return how long the record is waited for: after an interrupt so that all ends within some ten seconds."""
        if since := self.interrupt.since():
            return max(CLOSING_LEAST_S, CLOSING_S - since)
        return usual

    def _summary(self, trials: Sequence[TrialResult], interrupted: bool, recorded: bool) -> Summary:
        progress, total, uri = self.progress, self.progress.work.total(), self.recorder.target.uri
        return Summary(
            sweep=self.record.id,
            spec=self.record.spec,
            trials=at_rest(trials),
            best=best_trial(trials, progress.mode),
            interrupted=interrupted,
            recorded=recorded,
            seconds=time.monotonic() - progress.begin,
            lane_steps=total.lane_steps,
            steps_shared=total.steps_shared,
            first_result_s=progress.first_result_s,
            server=no_secret(uri) if uri.startswith("http") else None,
            notes=progress.notes,
            halted=self.interrupt.halted,
            parent=self.record.parent,
        )
