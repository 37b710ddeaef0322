"""The queue: start submissions in order, follow their jobs, retry lost ones.

Several equal processes of the service share it. A lease names the one that manages it now. Two at once would do no
harm: a submission changes state only from the state that was read, and jobs are submitted idempotently.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session, undefer

from espalier.core.errors import BadInput
from espalier.services.clusters.cluster import Cluster, Job, JobState, Status, Unreachable
from espalier.services.database.store import Store
from espalier.services.database.tables import ACTIVE, Lease, Owner, State, Submission
from espalier.services.quota import check_quota, overdue
from espalier.services.settings import Settings

LEASE_S = 15.0  # seconds without a renewal after which another process takes over

log = logging.getLogger(__name__)


class Queue:
    """Accepts submissions, and starts them in order as capacity becomes free."""

    def __init__(self, store: Store, cluster: Cluster, settings: Settings, now: Callable[[], float], holder: str):
        self.store, self.cluster, self.settings, self.now, self.holder = store, cluster, settings, now, holder
        self._over, self._woken = threading.Event(), threading.Event()

    # --- admission ---------------------------------------------------------------------------------------------------

    def admit(self, submission: Submission) -> tuple[Submission, bool]:
        """Add a submission to the queue; return it, or the earlier one with its key, and whether it is new.

        Raises Quota, or BadInput if the key was used before with another content.
        """
        try:
            with self.store.session() as session:
                self._lock_owner(session, submission.owner)
                if earlier := self._earlier(session, submission):
                    return earlier, False
                check_quota(session, submission, self.now())
                session.add(submission)
                session.flush()
        except IntegrityError:  # the same key at the same time in another process
            with self.store.session() as session:
                if earlier := self._earlier(session, submission):
                    return earlier, False
            raise
        self._woken.set()
        return submission, True

    def _lock_owner(self, session: Session, owner: str) -> None:
        """Serialize an owner's submissions, so that each counts towards the quota."""
        session.execute(select(Owner).where(Owner.name == owner).with_for_update())

    def _earlier(self, session: Session, submission: Submission) -> Submission | None:
        if submission.idempotency_key is None:
            return None
        earlier = session.scalar(
            select(Submission).where(
                Submission.owner == submission.owner, Submission.idempotency_key == submission.idempotency_key
            )
        )
        if earlier is not None and earlier.fingerprint != submission.fingerprint:
            key = submission.idempotency_key
            raise BadInput(f"Idempotency-Key: '{key}' came before with another sweep; use a new key")
        return earlier

    # --- requests ----------------------------------------------------------------------------------------------------

    def stop(self, sweep: str, reason: str) -> Submission | None:
        """Ask a sweep to stop: a queued one leaves the queue, a running one writes its checkpoints and ends."""
        with self.store.session() as session:
            submission = self._locked(session, sweep)
            if submission is None or State(submission.state).over or submission.state == State.STOPPING:
                return submission
            if submission.state == State.QUEUED:
                submission.turn(State.STOPPED, self.now(), reason)
            else:
                submission.turn(State.STOPPING, self.now(), reason)
        self._woken.set()
        return submission

    def resume(self, sweep: str, changed: bool = False) -> Submission | None:
        """Put a stopped or failed sweep back into the queue. Raises Quota.

        changed: continue even if its data, or code installed here, have changed since it last ran.
        """
        with self.store.session() as session:
            submission = self._locked(session, sweep)
            if submission is None or submission.state not in (State.STOPPED, State.FAILED):
                return submission
            check_quota(session, submission, self.now(), again=True)
            submission.attempt += 1
            submission.accepts_changes = changed
            submission.turn(State.QUEUED, self.now())
        self._woken.set()
        return submission

    def extend(
        self, sweep: str, extended: Mapping[str, float], trials: int, attempt: int, changed: bool = False
    ) -> Submission | None:
        """Put an ended sweep back into the queue with more to train. Raises Quota.

        extended: how much in all, by the unit of its budget. trials: in all. attempt: of which that was computed; if
        the sweep does not rest after that one, nothing happens, and None is returned. changed: see `resume`.
        """
        with self.store.session() as session:
            submission = self._locked(session, sweep)
            if submission is None or not State(submission.state).over or submission.attempt != attempt:
                return None
            self._lock_owner(session, submission.owner)
            submission.trials = trials
            with session.no_autoflush:
                check_quota(session, submission, self.now(), again=True)
            submission.extended = dict(extended)
            submission.accepts_changes = changed
            submission.attempt += 1
            submission.turn(State.QUEUED, self.now())
        self._woken.set()
        return submission

    def _locked(self, session: Session, sweep: str) -> Submission | None:
        return session.scalar(select(Submission).where(Submission.sweep == sweep).with_for_update())

    # --- management --------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Manage the queue until `close`, in a thread: at intervals, and after each request."""
        while True:
            self._woken.wait(self.settings.tick_s)
            self._woken.clear()
            if self._over.is_set():
                return
            try:
                if self._hold():
                    self.tick()
            except Unreachable as error:
                log.warning("the cluster does not answer: %s", error)
            except SQLAlchemyError as error:
                log.warning("the database does not answer: %s", type(error).__name__)
            except Exception:
                log.exception("the queue could not be looked after")

    def close(self) -> None:
        """Stop managing the queue; sweeps go on."""
        self._over.set()
        self._woken.set()

    def _hold(self) -> bool:
        """Take or renew the lease; return whether this process has it."""
        now = self.now()
        with self.store.session() as session:
            ours = (Lease.holder == self.holder) | (Lease.until < now)
            taken = session.execute(
                update(Lease).where(Lease.name == "queue", ours).values(holder=self.holder, until=now + LEASE_S)
            )
            if taken.rowcount:  # pyright: ignore[reportAttributeAccessIssue]
                return True
            if session.get(Lease, "queue") is None:
                session.add(Lease(name="queue", holder=self.holder, until=now + LEASE_S))
                try:
                    session.flush()
                except IntegrityError:
                    session.rollback()
                    return False
                return True
        return False

    def tick(self) -> None:
        """Run one round: follow jobs, enforce limits, start the next submissions."""
        with self.store.session() as session:
            active = list(session.scalars(select(Submission).where(Submission.state.in_(ACTIVE))))
        for submission in active:
            self._follow(submission)
        self._enforce()
        for sweep in self._next():
            self._start(sweep)

    def _follow(self, submission: Submission) -> None:
        """Update a submission from the state of its job."""
        if submission.state == State.STARTING:
            self._start(submission.sweep)
            return
        status = self.cluster.status(submission.job)
        if submission.state == State.STOPPING and not status.state.over:
            self.cluster.stop(submission.job)
        elif status.state.over:
            self._end(submission, status)

    def _end(self, submission: Submission, status: Status) -> None:
        wanted = {
            JobState.SUCCEEDED: (State.FINISHED, ""),
            JobState.STOPPED: (State.STOPPED, submission.reason or "stopped"),
        }
        state, reason = wanted.get(status.state, (State.FAILED, status.message or "the job failed"))
        if submission.state == State.STOPPING and status.state != JobState.SUCCEEDED:
            state, reason = State.STOPPED, submission.reason
        retry = state == State.FAILED and died(status) and submission.attempt + 1 < self.settings.job_attempts
        with self.store.session() as session:
            current = self._locked(session, submission.sweep)
            if current is None or current.state != submission.state or current.attempt != submission.attempt:
                return
            if retry:
                state, reason = State.QUEUED, f"{reason}; it starts again"
            current.turn(state, self.now(), reason)
            current.attempt += retry

    def _enforce(self) -> None:
        """Stop sweeps that exceed their hours or their owner's GPU-hours."""
        now = self.now()
        with self.store.session() as session:
            running = list(session.scalars(select(Submission).where(Submission.state == State.RUNNING)))
            over = [(s.sweep, why) for s in running if (why := overdue(session, s, now))]
        for sweep, why in over:
            self.stop(sweep, why)

    def _next(self) -> Sequence[str]:
        """Mark the submissions that may start now, the longest waiting first; return their sweep ids."""
        with self.store.session() as session:
            running: Counter[str] = Counter(
                session.scalars(select(Submission.owner).where(Submission.state.in_(ACTIVE)))
            )
            waiting = session.scalars(
                select(Submission)
                .where(Submission.state == State.QUEUED)
                .order_by(Submission.number)
                .with_for_update(skip_locked=True)
            )
            chosen = []
            for submission in waiting:
                if running.total() >= self.settings.running_total:
                    break
                if running[submission.owner] >= self.settings.running_per_owner:
                    continue
                running[submission.owner] += 1
                submission.turn(State.STARTING, self.now())
                chosen.append(submission.sweep)
        return chosen

    def _start(self, sweep: str) -> None:
        """Submit the job of a marked submission, again if the process that marked it died."""
        with self.store.session() as session:
            submission = session.scalar(
                select(Submission)
                .where(Submission.sweep == sweep)
                .options(undefer(Submission.spec), undefer(Submission.archive))
            )
        if submission is None or submission.state != State.STARTING:
            return
        state, reason = State.RUNNING, ""
        try:
            self.cluster.submit(job_of(submission))
        except BadInput as error:
            state, reason = State.FAILED, str(error)
        with self.store.session() as session:
            current = self._locked(session, sweep)
            if current is not None and current.state == State.STARTING:
                current.turn(state, self.now(), reason)
                current.started = self.now() if state == State.RUNNING else None


def job_of(submission: Submission) -> Job:
    """Return the job of a submission's present attempt."""
    s = submission
    return Job(s.job, s.sweep, s.spec, s.archive, s.owner, s.accepts_changes, s.extended)


def died(status: Status) -> bool:
    """Whether a job ended because its process, its node or its cluster died, so that a retry can help.

    A driver that refused the sweep, or could train no trial, would do so again.
    """
    return status.state == JobState.LOST or status.exit_code not in (1, 2)


def position(session: Session, submission: Submission) -> int | None:
    """Return how many submissions wait before this one; None if it does not wait."""
    if submission.state != State.QUEUED:
        return None
    before = select(func.count()).select_from(Submission).where(Submission.state == State.QUEUED)
    return session.scalar(before.where(Submission.number < submission.number)) or 0


def counts(session: Session) -> dict[str, int]:
    """Return how many submissions are in each state."""
    rows = session.execute(select(Submission.state, func.count()).group_by(Submission.state))
    return {state.value: 0 for state in State} | {state: count for state, count in rows}  # noqa: C416
