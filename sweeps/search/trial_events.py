"""What happens to a trial, its replicates taken together: the search makes these of the events of replicates.

Values are means over the replicates, each also with its spread (`<name>_std`) where there is more than one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from espalier.core.training.events import Ended, Status
from espalier.sweeps.spec.space import Point


@dataclass(frozen=True)
class Start:
    """A trial trains. trunk: the trial whose trunk it was proposed to share."""

    trial: int
    params: Point
    trunk: int | None


@dataclass(frozen=True)
class Fork:
    """A trial trains by itself from a step on. parted_from: the trial with which it was one up to there.

    trunk: the trial whose trunk it shares: as proposed, or where nothing was proposed, as it turned out.
    """

    trial: int
    step: int
    parted_from: int
    trunk: int | None


@dataclass(frozen=True)
class Report:
    """Values of a trial after a step, with the pieces of its training curve since the last report."""

    trial: int
    step: int
    values: Mapping[str, float]
    curve: Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Score:
    """What a trial is worth at a rung, by the probe, or whatever its sweep scores by.

    leader: the first trial that has the same history up to there.
    """

    trial: int
    step: int
    values: Mapping[str, float]
    leader: int


@dataclass(frozen=True)
class Outcome:
    """How a trial ended. `replicates` are the last events of its replicates, in order."""

    trial: int
    status: Status
    step: int
    values: Mapping[str, float]
    verdict: str
    evidence: str
    replicates: Sequence[Ended]


TrialEvent = Start | Fork | Report | Score | Outcome
