"""The answers of a sweep service, as types. The service's own models are in services.http; a test compares the two."""

from collections.abc import Mapping, Sequence
from typing import TypedDict

from espalier.sweeps.spec.space import Point


class CountsAnswer(TypedDict):
    """How many trials are in each state. wanted: how many there will be in total."""

    wanted: int
    ended: int
    running: int
    interrupted: int
    complete: int
    stopped: int
    diverged: int
    failed: int


class BestAnswer(TypedDict):
    """The best complete trial so far."""

    trial: int
    params: Point
    metric: str
    value: float


class NoiseAnswer(TypedDict):
    """The noise of another seed: the standard deviation of the objective of one configuration."""

    sd: float
    degrees: int
    source: str


class TiesAnswer(TypedDict):
    """The trials that cannot be told from the best at 95 %."""

    trials: Sequence[int]
    within: float
    ranges: Mapping[str, tuple[float, float]]


class ReferenceAnswer(TypedDict):
    """What an untuned run came to. reports: the objective by step."""

    name: str
    title: str
    state: str
    value: float | None
    evidence: str
    hint: str
    reports: Mapping[str, float | None]


class MLflowAnswer(TypedDict):
    """Where MLflow has a sweep."""

    url: str
    page: str | None
    experiment: str
    filter: str


class SweepAnswer(TypedDict):
    """The present state of a sweep."""

    id: str
    name: str
    owner: str
    state: str
    reason: str
    position: int | None
    attempt: int
    created: str
    changed: str
    seconds: float
    hours: float
    gpus: float
    progress: float
    trials: CountsAnswer
    extended: Mapping[str, float] | None
    searched: Sequence[str]
    metric: str
    mode: str
    best: BestAnswer | None
    noise: NoiseAnswer | None
    ties: TiesAnswer | None
    references: Sequence[ReferenceAnswer]
    links: Mapping[str, str]
    mlflow: MLflowAnswer


class TrialAnswer(TypedDict):
    """One trial of a sweep."""

    number: int
    state: str
    value: float | None
    params: Point
    spread: float | None
    verdict: str
    evidence: str
    duration_s: float | None
    step: int | None
    latest: float | None
    ended: str | None
    mlflow_run: str
    scores: Mapping[str, float]
    confirms: int | None


class TraceAnswer(TypedDict):
    """What was recorded of a trial's training."""

    trial: int
    curve: Sequence[tuple[int, float | None]]
    tensors: Sequence[str]
    ratios: Sequence[Sequence[float | None]]


class WorkAnswer(TypedDict):
    """What a sweep has trained, in steps of single trials."""

    trained: int
    shared: int


class TracesAnswer(TypedDict):
    """What a report shows besides the trials."""

    traces: Sequence[TraceAnswer]
    work: WorkAnswer | None
    begun: float | None
    facts: Mapping[str, str]


class EnqueuedAnswer(TypedDict):
    """Points that were added to a sweep, and its state."""

    id: str
    added: int
    state: str


class SubmittedAnswer(TypedDict):
    """A sweep that was accepted."""

    id: str
    state: str
    position: int | None
    links: Mapping[str, str]
