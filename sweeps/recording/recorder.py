"""The recorder: writes records to the spool at once; a thread sends them to MLflow.

A sweep is a parent run, a trial a child run. Each is looked up by its identity tags before it is created. A record is
first a line of JSON in the spool. Sending is idempotent: a line sent twice changes nothing. At the end an audit
compares MLflow with the spool, and sends again what is missing. The loop polls the recorder for the runs of trials.
"""

import threading
import time
from collections.abc import Callable, Collection, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

from espalier.sweeps.recording.experiments import Owner
from espalier.sweeps.recording.feedback import Feedback, RunLink
from espalier.sweeps.recording.names import list_trials
from espalier.sweeps.recording.records import Record
from espalier.sweeps.recording.runs import Target
from espalier.sweeps.recording.sender import AuditRequest, Sender, SendPolicy
from espalier.sweeps.recording.spool import Spool
from espalier.sweeps.recording.stories import complete_stories, spooled_stories
from espalier.sweeps.results.parent_run import ParentRun
from espalier.sweeps.results.story import TrialStory

CLOSING_PATIENCE_S = 60.0


class Recorder:
    """Records one sweep. Only methods with a `patience_s` block, for at most that time."""

    def __init__(
        self,
        uri: str,
        sweep: str,
        experiment: str,
        folder: Path,
        policy: SendPolicy | None = None,
        experiment_id: str | None = None,
        shared: bool = False,
        birth: str = "",
    ):
        """Start recording to a server or store.

        experiment: its name. folder: of the spool.
        experiment_id: the experiment with the sweep's earlier runs, even if it was renamed.
        shared, birth: see Target.
        Raises BadInput for a spool that cannot be opened.
        """
        self.target, self.policy = Target(uri, sweep, experiment, shared, birth), policy or SendPolicy()
        self.feedback = Feedback(experiment_id)
        self.spool = Spool(folder)
        for sentence in self.spool.damage:
            self.feedback.note(sentence)
        self._audit: AuditRequest | None = None
        self._audited = 0  # the size of the spool before the last audit
        self._sender = Sender(self.target, self.spool, self.feedback, self.policy)

    # --- recording --------------------------------------------------------------------------------------------

    def record(self, record: Record) -> None:
        """Write a record to the spool. Raises OSError if that is not possible."""
        self.spool.append(record, int(time.time() * 1000))

    def note(self, sentence: str) -> None:
        """Add a note for the user."""
        self.feedback.note(sentence)

    # --- state ------------------------------------------------------------------------------------------

    @property
    def notes(self) -> Sequence[str]:
        """Sentences on damaged or missing records, and their repair."""
        return self.feedback.notes

    @property
    def trouble(self) -> str | None:
        """Why the last attempt to send failed; None if it succeeded."""
        return self.feedback.trouble

    @property
    def full(self) -> str | None:
        """A file of this machine without space, and what to do."""
        return self.feedback.full

    @property
    def parent(self) -> ParentRun | None:
        """The sweep's own run, once MLflow has it."""
        return self.feedback.parent

    def take_links(self) -> list[RunLink]:
        """Return the runs of trials that became known since the last call."""
        return self.feedback.take_links()

    def stories(self, trials: Sequence[int]) -> dict[int, TrialStory]:
        """Return the stories of trials that have ended: from the spool, else (another machine's) from MLflow.

        A trial whose story is in neither is left out.
        """
        owner = Owner(self.target.sweep, self.target.birth)
        return complete_stories(spooled_stories(self.spool, trials), self.target.uri, owner, trials)

    # --- sending -----------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Send everything pending now."""
        self._sender.wake()

    def flush(self, patience_s: float = 30.0) -> None:
        """Wait until all records so far have been sent, or sending fails, or `patience_s` is over."""
        end = self.spool.size
        self._send_until(lambda: self.spool.sent >= end, patience_s)

    def wait_for_runs(self, trials: AbstractSet[int], patience_s: float, cancel: threading.Event | None = None) -> None:
        """Wait until these trials have runs, sending fails, `patience_s` is over, or `cancel` is set."""
        self._send_until(lambda: self.feedback.has_runs(trials) or (cancel is not None and cancel.is_set()), patience_s)

    def _send_until(self, is_done: Callable[[], bool], patience_s: float) -> None:
        deadline = time.monotonic() + patience_s
        while not is_done() and not self.trouble and time.monotonic() < deadline:
            if not self._sender.busy:  # if they are not in this pass, they are in the next
                self._sender.wake()
            time.sleep(0.05)

    # --- the end -----------------------------------------------------------------------------------------------------

    def audit(self, ended: Collection[int] = (), patience_s: float = CLOSING_PATIENCE_S) -> set[int | None]:
        """Send everything pending, read all runs from MLflow, and send again what is missing; no run stays RUNNING.

        ended: trials that have ended, according to the search. Return the trials that are missing in MLflow and in
        the spool; None stands for the sweep's own run. New records of them are sent by `close`. An unreachable server
        is retried for a while, see SendPolicy. One that makes progress gets `patience_s` more.
        """
        self._audited = self.spool.size
        self._audit = request = self._sender.request_audit(ended, min(self.policy.closing_s, patience_s))
        while not request.done.wait(0.1) and time.monotonic() - max(request.begin, self.spool.sent_at) < patience_s:
            pass
        return request.lacking or set()

    def close(self, ended: Collection[int] = (), patience_s: float = CLOSING_PATIENCE_S) -> bool:
        """Stop recording, after an audit unless the last one covered all records.

        Return whether MLflow has everything. The rest stays in the spool.
        """
        if self._audit is None or self._audited < self.spool.size:
            self.audit(ended or (self._audit.ended if self._audit else ()), patience_s)
        audit = self._audit
        assert audit
        self._sender.stop(patience_s if audit.done.is_set() else 0.0)
        self.spool.close()
        waiting, _ = self.spool.pending(1)
        refusals = self.spool.refusals()
        if refusals:
            first = refusals[0]
            self.note(
                f"MLflow refuses {len(refusals)} part{'s' if len(refusals) > 1 else ''} of the records "
                f"({first['what']} of trial {first['trial']}: {first['why']}); they are listed in {self.spool.refused}"
            )
        elif audit.lacking:
            self.note(f"MLflow still lacks records of {list_trials(audit.lacking)}")
        return audit.lacking == set() and not waiting and not refusals
