"""What the sweep's loop says is recorded: written to the spool at once, sent to MLflow by a thread of its own.

A sweep is a parent run, a trial a child run, each found by its identity tags before it is made. A record is a line of
JSON in the spool first; a line sent twice changes nothing. At the end MLflow is asked which runs it has, and what it
lacks is sent again. What the sender learns, as the runs of trials, waits here to be taken.
"""

import threading
import time
from collections.abc import Callable, Collection, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

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
    """Records one sweep. Only methods with a patience wait, and only so long."""

    def __init__(
        self,
        uri: str,
        sweep: str,
        experiment: str,
        folder: Path,
        policy: SendPolicy | None = None,
        experiment_id: str | None = None,
    ):
        """Begin to record at a server or store.

        experiment: its name. folder: where the spool lies.
        experiment_id: the experiment that had the sweep's runs before, whatever its name is now.
        Raises BadInput for a spool that cannot be opened.
        """
        self.target, self.policy = Target(uri, sweep, experiment), policy or SendPolicy()
        self.feedback = Feedback(experiment_id)
        self.spool = Spool(folder)
        for sentence in self.spool.damage:
            self.feedback.note(sentence)
        self._audit: AuditRequest | None = None
        self._audited = 0  # the size of the spool before the last audit
        self._sender = Sender(self.target, self.spool, self.feedback, self.policy)

    # --- what is recorded --------------------------------------------------------------------------------------------

    def record(self, record: Record) -> None:
        """Record something. Raises OSError if it cannot be written to the spool."""
        self.spool.append(record, int(time.time() * 1000))

    def note(self, sentence: str) -> None:
        """Keep a sentence that people should read."""
        self.feedback.note(sentence)

    # --- what is to be read ------------------------------------------------------------------------------------------

    @property
    def notes(self) -> Sequence[str]:
        """Sentences on what was damaged or lacked, and what was done about it."""
        return self.feedback.notes

    @property
    def trouble(self) -> str | None:
        """Why the last try to send has failed; None if it has not."""
        return self.feedback.trouble

    @property
    def full(self) -> str | None:
        """Which file of this machine takes nothing any more, and what to do."""
        return self.feedback.full

    @property
    def parent(self) -> ParentRun | None:
        """The sweep's own run, once MLflow has it."""
        return self.feedback.parent

    def take_links(self) -> list[RunLink]:
        """Return the runs of trials that were learnt since this was called last."""
        return self.feedback.take_links()

    def stories(self, trials: Sequence[int]) -> dict[int, TrialStory]:
        """Return the stories of trials that have ended: from the spool, else (another machine's) from MLflow.

        Of a trial whose story is in neither there is none.
        """
        return complete_stories(spooled_stories(self.spool, trials), self.target.uri, self.target.sweep, trials)

    # --- sending -----------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Send all that waits, now."""
        self._sender.wake()

    def flush(self, patience_s: float = 30.0) -> None:
        """Wait until what was said so far has been sent, or the server is in trouble, or patience ends."""
        end = self.spool.size
        self._send_until(lambda: self.spool.sent >= end, patience_s)

    def wait_for_runs(self, trials: AbstractSet[int], patience_s: float, cancel: threading.Event | None = None) -> None:
        """Wait until these trials have runs, or the server is in trouble, or patience ends, or `cancel` is set."""
        self._send_until(lambda: self.feedback.has_runs(trials) or (cancel is not None and cancel.is_set()), patience_s)

    def _send_until(self, is_done: Callable[[], bool], patience_s: float) -> None:
        deadline = time.monotonic() + patience_s
        while not is_done() and not self.trouble and time.monotonic() < deadline:
            if not self._sender.busy:  # what it does not send now, it is to send next
                self._sender.wake()
            time.sleep(0.05)

    # --- the end -----------------------------------------------------------------------------------------------------

    def audit(self, ended: Collection[int] = (), patience_s: float = CLOSING_PATIENCE_S) -> set[int | None]:
        """Send what waits, ask MLflow for all runs, and send again what it lacks; no run stays RUNNING.

        ended: trials that have ended, as the search knows them. Return the trials that both MLflow and the spool lack;
        None stands for the sweep's own run. What is recorded of them next is sent by `close`.
        A server that is away is tried again for a while, see SendPolicy; one that takes what it is sent has
        `patience_s` for more.
        """
        self._audited = self.spool.size
        self._audit = request = self._sender.request_audit(ended, min(self.policy.closing_s, patience_s))
        while not request.done.wait(0.1) and time.monotonic() - max(request.begin, self.spool.sent_at) < patience_s:
            pass
        return request.lacking or set()

    def close(self, ended: Collection[int] = (), patience_s: float = CLOSING_PATIENCE_S) -> bool:
        """Stop recording, after an audit unless the last one is of all that was said.

        Return whether MLflow has everything. What it has not stays in the spool.
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
