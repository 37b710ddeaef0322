"""Events of a trial, merged by the search from the events of its replicates.

Values are means over the replicates, with a standard deviation (`<name>_std`) if there is more than one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from espalier.core.training.events import Ended, Status
from espalier.sweeps.spec.space import Point


@dataclass(frozen=True)
class Start:
    """A trial begins. trunk: the trial whose trunk it was proposed to share. confirms: the trial that it repeats."""

    trial: int
    params: Point
    trunk: int | None
    confirms: int | None = None


@dataclass(frozen=True)
class Fork:
    """A trial trains on its own from a step on.

    parted_from: the trial with which it shared its training so far.
    trunk: the trial whose trunk it shares: as proposed, else as it happened.
    """

    trial: int
    step: int
    parted_from: int
    trunk: int | None


@dataclass(frozen=True)
class Report:
    """Values of a trial after a step, with its training curve since the last report."""

    trial: int
    step: int
    values: Mapping[str, float]
    curve: Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Score:
    """A trial's score at a rung, of the sweep's kind.

    leader: the first trial with the same history up to there.
    """

    trial: int
    step: int
    values: Mapping[str, float]
    leader: int


@dataclass(frozen=True)
class Park:
    """A trial is parked at a step. so_far: the last events of its replicates, if it is not continued, in order.

    lost: whether nothing of one of them was kept, so that it would begin anew.
    """

    trial: int
    step: int
    so_far: Sequence[Ended]
    lost: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a trial ended. replicates: the last events of its replicates, in order."""

    trial: int
    status: Status
    step: int
    values: Mapping[str, float]
    verdict: str
    evidence: str
    replicates: Sequence[Ended]


TrialEvent = Start | Fork | Report | Score | Park | Outcome
