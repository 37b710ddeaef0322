"""The end of a driver's run: the last records, an audit of MLflow, and the summary."""

import shutil
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from espalier.core.foreign import disk
from espalier.sweeps.address import no_secret
from espalier.sweeps.answer.closing import Summary
from espalier.sweeps.home import STATES, TRIALS
from espalier.sweeps.recording.recorder import Recorder
from espalier.sweeps.recording.tracking import Tracking
from espalier.sweeps.results.checkpoint_disk import CheckpointDisk
from espalier.sweeps.results.trial_result import TrialResult, at_rest, best_trial
from espalier.sweeps.running.interrupt import Interrupt
from espalier.sweeps.running.ledger import Ledger
from espalier.sweeps.running.progress import Progress
from espalier.sweeps.search.search import Search
from espalier.sweeps.search.study import SweepRecord

CLOSING_S, CLOSING_LEAST_S = 9.0, 3.0  # the wait for MLflow after an interrupt
FLUSH_S, AUDIT_S = 30.0, 60.0  # the wait otherwise


@dataclass
class Closing:
    """Closes the records of a driver."""

    record: SweepRecord
    tracking: Tracking
    progress: Progress
    ledger: Ledger
    interrupt: Interrupt

    @property
    def recorder(self) -> Recorder:
        """The recorder of the sweep."""
        return self.tracking.recorder

    def settle(self, search: Search | None) -> None:
        """Record that the sweep has ended or is interrupted. search: the driver's, None if nothing was trained."""
        self.progress.phase = "recording"
        self.recorder.flush(self._patience_s(FLUSH_S))
        runs = self.ledger.take_links(self.recorder)
        if search:
            search.settle(runs, everything=True)
        self._record_state(self.record.results(), self.interrupt.asked.is_set())

    def finish(self) -> Summary:
        """Audit MLflow, send or restore what is missing, and return the summary."""
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
            shutil.rmtree(self.tracking.folder / STATES, ignore_errors=True)
            if (places := self.tracking.folder / TRIALS).is_dir():
                disk.keep_models(places, {trial.number for trial in trials if trial.state == "complete"})
            self.tracking.close(trials, (total.lane_steps, total.steps_shared), self.ledger.programs)

    def _restore(self, trials: Sequence[TrialResult], lacking: Collection[int | None]) -> None:
        """Record again from Optuna the trials missing in both MLflow and the spool; None is the sweep's own run."""
        self.tracking.restore([trial for trial in trials if trial.number in lacking and trial.state != "running"])
        if None in lacking:
            self.tracking.open()
            self._record_state(trials, interrupted=False)

    def _patience_s(self, usual: float) -> float:
        """Return how long to wait for MLflow: after an interrupt all has to end within some ten seconds."""
        if since := self.interrupt.since():
            return max(CLOSING_LEAST_S, CLOSING_S - since)
        return usual

    def _checkpoints(self) -> CheckpointDisk | None:
        trials, removed = self.tracking.folder / TRIALS, self.progress.checkpoints_removed
        return CheckpointDisk.of(trials, self.record.spec.resources, removed) if trials.is_dir() else None

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
            references=self.record.references,
            checkpoints=self._checkpoints(),
        )
