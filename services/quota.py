"""Quotas of owners: trials and GPU-hours, over all of their sweeps."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from espalier.core.errors import BadInput, counted, nearest
from espalier.services.database.tables import Owner, State, Submission

TRIALS_MOST, GPU_HOURS_MOST = 2**31 - 1, 1e9  # the first is a limit of the column


class Quota(Exception):
    """A request exceeds the owner's remaining quota."""


def used(session: Session, owner: str, now: float, but: str = "") -> tuple[int, float]:
    """Return the trials and GPU-hours that an owner's sweeps have used or will use."""
    rows = list(session.scalars(select(Submission).where(Submission.owner == owner, Submission.sweep != but)))
    counted = [
        s for s in rows if not (State(s.state).over and s.started is None and s.ran_s == 0)
    ]  # not those that never ran
    return sum(s.trials for s in counted), sum(s.gpu_hours(now) for s in counted)


def check_quota(session: Session, submission: Submission, now: float, again: bool = False) -> None:
    """Raise Quota if the submission exceeds the owner's remaining quota."""
    owner = session.get(Owner, submission.owner)
    if owner is None or (owner.trials_quota is None and owner.gpu_hours_quota is None):
        return
    trials, hours = used(session, submission.owner, now, submission.sweep)
    if owner.trials_quota is not None and trials + submission.trials > owner.trials_quota:
        raise Quota(
            f"trials: {submission.trials} asked for; {max(0, owner.trials_quota - trials)} of {owner.trials_quota} "
            f"are left to {owner.name}"
        )
    foreseen = submission.gpus * submission.hours + (submission.gpu_hours(now) if again else 0.0)
    if owner.gpu_hours_quota is not None and submission.gpus and hours + foreseen > owner.gpu_hours_quota:
        raise Quota(
            f"GPU-hours: {foreseen:g} foreseen ({_amount(submission.gpus, 'GPU')} for "
            f"{_amount(submission.hours, 'hour')}); "
            f"{max(0.0, owner.gpu_hours_quota - hours):g} of {owner.gpu_hours_quota:g} are left to {owner.name}"
        )


def _amount(number: float, unit: str) -> str:
    return f"{number:g} {unit}" if number == 1 else f"{number:g} {unit}s"


def overdue(session: Session, submission: Submission, now: float) -> str:
    """Return why a running sweep must end; "" if it may continue."""
    if submission.attempt_s(now) > submission.hours * 3600:
        return f"it ran for the {_amount(submission.hours, 'hour')} foreseen"
    owner = session.get(Owner, submission.owner)
    if owner is None or owner.gpu_hours_quota is None or not submission.gpus:
        return ""
    rows = session.scalars(select(Submission).where(Submission.owner == submission.owner))
    spent = sum(s.gpus * s.seconds(now) / 3600 for s in rows)
    gone = f"the {owner.gpu_hours_quota:g} GPU-hours of {owner.name} are used up"
    return gone if spent > owner.gpu_hours_quota else ""


@dataclass(frozen=True)
class Use:
    """What an owner's sweeps have used or will use, and how much they may: None is no limit."""

    owner: str
    trials_used: int
    trials: int | None
    gpu_hours_used: float
    gpu_hours: float | None

    @property
    def line(self) -> str:
        """It for people."""
        of_trials = "no limit" if self.trials is None else f"of {self.trials:,}"
        of_hours = "no limit" if self.gpu_hours is None else f"of {self.gpu_hours:g}"
        used_hours = f"{self.gpu_hours_used:.2f} GPU-hours"
        return f"{self.owner}: {counted(self.trials_used, 'trial')} ({of_trials}), {used_hours} ({of_hours})"


def set_quota(
    session: Session, name: str, trials: int | None, gpu_hours: float | None, unlimited: bool, now: float
) -> Use:
    """Set the given quotas of an owner; return them, and their use. Raises BadInput."""
    if trials is not None and not 0 <= trials <= TRIALS_MOST:
        raise BadInput(f"--trials {trials}: give a whole number from 0 to {TRIALS_MOST}")
    if gpu_hours is not None and not 0 <= gpu_hours <= GPU_HOURS_MOST:
        raise BadInput(f"--gpu-hours {gpu_hours:g}: give a number from 0 to {GPU_HOURS_MOST:g}")
    owner = session.get(Owner, name)
    if owner is None:
        known = list(session.scalars(select(Owner.name)))
        raise BadInput(f"owner '{name}' is unknown; {nearest(name, known) if known else 'a first token makes one'}")
    if unlimited:
        owner.trials_quota = owner.gpu_hours_quota = None
    owner.trials_quota = owner.trials_quota if trials is None else trials
    owner.gpu_hours_quota = owner.gpu_hours_quota if gpu_hours is None else gpu_hours
    spent_trials, spent_hours = used(session, name, now)
    return Use(name, spent_trials, owner.trials_quota, spent_hours, owner.gpu_hours_quota)
