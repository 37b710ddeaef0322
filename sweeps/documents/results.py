"""The documents on sweeps and their trials: how one ended, what it came to, and why."""

from collections.abc import Mapping, Sequence
from typing import Any

from typing_extensions import TypedDict

Params = Mapping[str, Any]
"""The hyperparameters of a trial, by name."""


class BestDocument(TypedDict):
    """The best complete trial. Beside these keys the objective's value stands under its metric's name: `valid_loss`."""

    trial: int
    params: Params


class NoiseDocument(TypedDict):
    """The noise of another seed, of one training: standard deviation, degrees of freedom, and whence it is known."""

    sd: float
    degrees: int
    source: str


class TiesDocument(TypedDict):
    """The trials that cannot be told from the best. within: how much worse they may be. ranges: of what varies."""

    trials: Sequence[int]
    within: float
    ranges: Mapping[str, Sequence[float]]


class ReferenceDocument(TypedDict):
    """What an untuned run came to. value: of the objective; null if it is not complete."""

    name: str
    title: str
    state: str
    value: float | None


class TrialDocument(TypedDict):
    """A trial. state: running, interrupted, complete, stopped, diverged or failed. value: of the objective.

    confirms: the trial that it trains again under another seed; null for a trial of the search.
    """

    number: int
    state: str
    value: float | None
    params: Params
    spread: float | None
    verdict: str
    evidence: str
    duration_s: float | None
    confirms: int | None


class RunDocument(TypedDict):
    """`sweep run`, `resume` and `extend`: how a sweep ended.

    answer: in sentences. seconds: of this process. lane_steps: that were trained; steps_shared: that trials took over.
    halted: why it cannot go on before a person has seen to something. recorded: whether MLflow has everything.
    """

    sweep: str
    trials: int
    confirmations: int
    best: BestDocument | None
    answer: Sequence[str]
    seconds: float
    noise: NoiseDocument | None
    ties: TiesDocument | None
    references: Sequence[ReferenceDocument]
    lane_steps: int
    steps_shared: int
    states: Mapping[str, int]
    interrupted: bool
    recorded: bool
    notes: Sequence[str]
    halted: str | None
    first_result_s: float | None
    mlflow: str | None


class SubmitDocument(TypedDict):
    """`sweep submit`, and `sweep resume` and `extend` of a service: what the service says of the sweep.

    Its other keys are those of the service's own schema, at /openapi.json. answer: in sentences, once it is over.
    """

    sweep: str
    id: str
    name: str
    owner: str
    state: str
    reason: str
    trials: Mapping[str, int]
    best: BestDocument | None
    answer: Sequence[str]


class ListedDocument(TypedDict):
    """A row of `sweep list`, whose document is a list of them. best: of the objective."""

    sweep: str
    state: str
    ended: int | None
    wanted: int | None
    metric: str | None
    best: float | None
    best_trial: int | None


class ShowDocument(TypedDict):
    """`sweep show`: a sweep with its spec and all trials. wanted: how many trials it is to have, as far as is known."""

    sweep: str
    state: str
    wanted: int
    states: Mapping[str, int]
    best: BestDocument | None
    noise: NoiseDocument | None
    ties: TiesDocument | None
    references: Sequence[ReferenceDocument]
    trials: Sequence[TrialDocument]
    spec: Mapping[str, Any]


class OffDocument(TypedDict):
    """What it costs to be off. cost: by how much worse the objective is; null where that is not known, or diverges.

    foreseen: from how many trials that were stopped or parked the cost is foreseen, 0 where it is measured; left: at
    which shares of a training these were left. share, behind: of the nearest of them, how far behind the best it was.
    """

    text: str
    too_high: bool
    factor: float | None
    x: float
    cost: float | None
    low: float | None
    high: float | None
    diverges: bool
    share: float | None
    behind: float | None
    foreseen: int
    left: Sequence[float] | None


class ValleyDocument(TypedDict):
    """The objective along one hyperparameter, the others at their best: mean, low and high at xs.

    chosen_x: the value of the best trial, from which the costs of being off are counted. best_x, se: the best place and
    its standard error, in se_unit: "decades", or the hyperparameter's own. interval: where it lies at 95 %. measured:
    the range of complete trials; beyond it the objective is foreseen from those that were stopped or parked. valleys:
    the best of each, where there are several in which the best may lie. within: the range within noise of the best.
    settled: whether the interval is hardly wider. begun: the range in which trials were begun. edge: low or high where
    the best lies at that end of the range; wider: one to search instead.
    """

    name: str
    log: bool
    rate: bool
    chosen_x: float
    best_x: float
    se: float
    se_unit: str
    interval: Sequence[float]
    measured: Sequence[float]
    valleys: Sequence[float]
    within: Sequence[float]
    settled: bool
    noise: float
    noise_known: bool
    diverged_from: float | None
    begun: Sequence[float] | None
    edge: str | None
    wider: Sequence[float] | None
    off: Sequence[OffDocument]
    xs: Sequence[float]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


class GainDocument(TypedDict):
    """What tuning gained over a reference; below 0 where that is better."""

    name: str
    title: str
    value: float
    gain: float
    hint: str


class HealthDocument(TypedDict):
    """How many of the trials were unhealthy, and in what way."""

    trials: int
    unhealthy: int
    sentence: str
    groups: Sequence[Mapping[str, Any]]
    lines: Sequence[str]


class AnswerDocument(TypedDict):
    """The answer of a sweep, of which `sentence` is the first of `sentences`."""

    sentence: str
    sentences: Sequence[str]
    state: str
    metric: str
    mode: str
    best: Mapping[str, Any] | None
    valley: ValleyDocument | None
    slices: Sequence[ValleyDocument]
    options: Sequence[Mapping[str, Any]]
    noise: NoiseDocument | None
    ties: TiesDocument | None
    gain: Sequence[GainDocument]
    importance: Mapping[str, float]
    health: HealthDocument


class StepDocument(TypedDict):
    """What to try next: what was seen, and an option or a command that does something about it."""

    why: str
    do: str


class ExplainDocument(TypedDict):
    """`sweep explain`: the answer, why this best, why each piece was trained, what was unhealthy, what to try next."""

    sweep: str
    answer: AnswerDocument
    why_best: Sequence[str]
    how: str
    chosen: Sequence[Mapping[str, Any]] | None
    unhealthy: Sequence[str]
    next: Sequence[StepDocument]


class DifferenceDocument(TypedDict):
    """By how much the second sweep is better, its 95 % interval, and the chance of as much between equals."""

    by: float
    low: float | None
    high: float | None
    p: float | None


class CompareDocument(TypedDict):
    """`sweep compare`. verdict: better, worse, noise, unknown, or that they cannot be compared."""

    verdict: str
    sentence: str
    difference: DifferenceDocument | None
    sweeps: Sequence[Mapping[str, Any]]
    fields: Sequence[Mapping[str, Any]]


class TopDocument(TypedDict):
    """`sweep best --top` and `--across`: the best trials, and the sweeps that have another objective."""

    metric: str
    mode: str
    sweeps: Sequence[Mapping[str, Any]]
    trials: Sequence[Mapping[str, Any]]
    left_out: Sequence[Mapping[str, Any]]
