"""The thread that sends a sweep's records to MLflow, and when: off the training path, in few calls.

While the server is unreachable, lines wait in the spool, and the thread retries with exponential backoff.
"""

import logging
import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from espalier.sweeps.address import no_secret
from espalier.sweeps.recording.audit import audit
from espalier.sweeps.recording.feedback import Feedback
from espalier.sweeps.recording.records import Line, TrialEnded
from espalier.sweeps.recording.runs import Target
from espalier.sweeps.recording.server import is_damage
from espalier.sweeps.recording.spool import Spool
from espalier.sweeps.recording.store import full_disk
from espalier.sweeps.recording.writer import RunWriter

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SendPolicy:
    """When records are sent, and for how long an unreachable server is retried. All times are in seconds."""

    first_wait_s: float = 1.0  # before the first send, unless the sender is woken earlier
    interval_s: float = 1.0  # between two checks for pending lines
    max_wait_s: float = 20.0  # a trial's lines wait at most so long; less if sending all of them takes less of a core
    sending_share: float = 0.05  # than this: MLflow's sqlite takes 10-20 ms a call, and cohorts train on the same cores
    max_retry_s: float = 30.0  # between two attempts at an unreachable server
    closing_s: float = 20.0  # how long a sweep that has ended waits for an unreachable server

    def patience_s(self, pass_s: float) -> float:
        """Return how long a trial's lines may wait, if sending those of all trials takes `pass_s` seconds.

        >>> SendPolicy().patience_s(0.01), SendPolicy().patience_s(0.2), SendPolicy().patience_s(9.0)
        (1.0, 4.0, 20.0)
        """
        return min(self.max_wait_s, max(self.interval_s, pass_s / self.sending_share))


@dataclass
class AuditRequest:
    """A request to send everything pending and to audit MLflow; `done` is set afterwards."""

    ended: Collection[int]  # trials that have ended, according to the search
    give_up_s: float  # after so many seconds without progress
    begin: float = field(default_factory=time.monotonic)
    lacking: set[int | None] | None = None  # trials missing in MLflow; None: it did not answer
    done: threading.Event = field(default_factory=threading.Event)


class Sender:
    """Sends the lines of a spool from a thread. Its other methods return at once."""

    def __init__(
        self,
        target: Target,
        spool: Spool,
        feedback: Feedback,
        policy: SendPolicy,
    ):
        self.target, self.spool, self.feedback, self.policy = target, spool, feedback, policy
        self.busy = False
        self._patience_s = policy.interval_s
        self._writer: RunWriter | None = None
        self._store_damaged = False
        self._audit: AuditRequest | None = None
        self._stopping, self._wake = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="mlflow-sink", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Send everything pending now."""
        self._wake.set()

    def request_audit(self, ended: Collection[int], give_up_s: float) -> AuditRequest:
        """Request that everything is sent and MLflow is audited, until nothing was sent for `give_up_s` seconds."""
        self._audit = request = AuditRequest(ended, give_up_s)
        self._wake.set()
        return request

    def stop(self, patience_s: float) -> None:
        """Stop sending; wait at most `patience_s` for a call in progress."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(patience_s)

    def _run(self) -> None:
        wait_s = self.policy.first_wait_s
        while True:
            woken = self._wake.wait(wait_s)
            if self._stopping.is_set():
                return
            self.busy = True
            self._wake.clear()
            wait_s = self._try_pass(woken, wait_s, self._audit)
            self.busy = False

    def _try_pass(self, everything: bool, wait_s: float, request: AuditRequest | None) -> float:
        """Send what is due and handle a request, if any; return the seconds to wait before the next pass."""
        try:
            self._send(everything=everything or request is not None)
            if request:
                request.lacking = audit(self._connect, self.spool, self.feedback, request.ended)
        except Exception as error:  # any error of server or network: report it, wait, retry
            self._keep_trouble(error)
            if request and time.monotonic() - max(request.begin, self.spool.sent_at) > request.give_up_s:
                self._finish(request)
            return self.policy.interval_s if request else min(self.policy.max_retry_s, wait_s * 2)
        self.feedback.trouble, self.feedback.full = None, None
        if request:
            self._finish(request)
        return self.policy.interval_s

    def _finish(self, request: AuditRequest) -> None:
        if self._audit is request:
            self._audit = None
        request.done.set()

    def _keep_trouble(self, error: Exception) -> None:
        """Store the error. The next writer looks up the existing runs: a lost request may have created one."""
        self._writer = None
        self._store_damaged = self._store_damaged or is_damage(error)
        self.feedback.full = full_disk(error, self.target.uri)
        self.feedback.trouble = no_secret(f"{type(error).__name__}: {error}".splitlines()[0][:300])
        if not self.feedback.full:  # the command reports that itself
            logger.warning("recording waits: %s", self.feedback.trouble)

    def _connect(self) -> RunWriter:
        self._writer = RunWriter(self.target, self.spool, self.feedback, self._store_damaged)
        self._store_damaged = False
        return self._writer

    # --- which lines are sent ----------------------------------------------------------------------------------------

    def _send(self, everything: bool) -> None:
        """Send what is due: all lines so far, or those of `due_lines`; of later lines only the latter.

        After a crash some lines may be sent again, which changes nothing.
        """
        wanted_until = self.spool.size if everything else 0
        lines, position = self.spool.pending()
        while lines:
            unsent = self.spool.unsent(lines)
            due = due_lines(unsent, time.time() - self._patience_s, wanted_until)
            if due:
                self._send_lines(due, unsent)
            waiting = [line.position for line in self.spool.unsent(unsent)]
            self.spool.move_mark(min(waiting, default=position))
            if waiting:
                return
            lines, position = self.spool.pending()

    def _send_lines(self, due: Sequence[Line], unsent: Sequence[Line]) -> None:
        """Send lines; set from the time it takes how long others may wait."""
        writer = self._writer
        if writer is None or writer.is_outdated():
            writer = self._connect()
        begin = time.monotonic()
        writer.send(due)
        share = _count_trials(unsent) / max(1, _count_trials(due))
        self._patience_s = self.policy.patience_s((time.monotonic() - begin) * share)


def _count_trials(lines: Sequence[Line]) -> int:
    return len({line.trial for line in lines} - {None})


def due_lines(lines: Sequence[Line], late_s: float, wanted_until: int) -> list[Line]:
    """Return the lines of trials that have ended, that have an old line, or a requested one.

    late_s: lines before this Unix time are old. wanted_until: lines before this position are requested. One call
    costs the same for many lines as for one. The sweep's own lines are due at once.
    """
    if any(line.trial is None for line in lines):
        return list(lines)
    due = {
        line.trial
        for line in lines
        if isinstance(line.record, TrialEnded) or line.time_ms < late_s * 1000 or line.position < wanted_until
    }
    return [line for line in lines if line.trial in due]
