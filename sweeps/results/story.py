"""A trial's whole story, trial.json among its run's artifacts: what made it, and all that its replicates reported."""

from collections.abc import Sequence
from typing import NotRequired, TypedDict


class ReplicateStory(TypedDict):
    """What is read of a replicate's last event (core.training.events.Ended), as its JSON has it."""

    curve: Sequence[tuple[int, float | None]]  # step, mean training loss; null for what is no number
    ratios: Sequence[Sequence[float | None]]  # step, then the update ratio of each tensor
    tensors: Sequence[str]
    reports: Sequence[tuple[int, dict[str, float]]]


class TrialStory(TypedDict):
    """A trial's story. Earlier versions kept no number of lanes."""

    trial: int
    members: Sequence[ReplicateStory]  # one for each replicate
    program: str
    why: str
    lanes: NotRequired[int]
    device: str
    code: NotRequired[str]
    data: NotRequired[str]
