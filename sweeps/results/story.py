"""A trial's story, trial.json among its run's artifacts: its provenance, and all reports of its replicates."""

from collections.abc import Sequence
from typing import NotRequired, TypedDict


class ReplicateStory(TypedDict):
    """The parts used of a replicate's last event (core.training.events.Ended) in its JSON form."""

    curve: Sequence[tuple[int, float | None]]  # step, mean training loss; null for NaN and infinity
    ratios: Sequence[Sequence[float | None]]  # step, then the update ratio of each tensor
    tensors: Sequence[str]
    reports: Sequence[tuple[int, dict[str, float]]]


class TrialStory(TypedDict):
    """A trial's story. Earlier versions did not store the number of lanes."""

    trial: int
    members: Sequence[ReplicateStory]  # one for each replicate
    program: str
    why: str
    lanes: NotRequired[int]
    device: str
    code: NotRequired[str]
    data: NotRequired[str]
