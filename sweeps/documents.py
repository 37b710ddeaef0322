"""The JSON documents of the commands, as types: what `--json` prints, version VERSION.

Keys are added within a version, and neither removed nor given another meaning. `sweep schema COMMAND` prints them as
JSON Schema.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter
from typing_extensions import TypedDict

VERSION = 1
"""The version of all documents: their key `schema`. A list, of `sweep list`, has none."""

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

    share, behind: of a trial that was left there at a share of its training, how far behind the best it was.
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


class ValleyDocument(TypedDict):
    """The objective along one hyperparameter, the others at their best: mean, low and high at xs.

    best_x, se: the best place and its standard error, in se_unit: "decades", or the hyperparameter's own. interval:
    where it lies at 95 %. within: the range within noise of the best. settled: whether the interval is hardly wider.
    begun: the range in which trials were begun. edge: low or high where the best lies at that end of the range; wider:
    one to search instead.
    """

    name: str
    log: bool
    rate: bool
    best_x: float
    se: float
    se_unit: str
    interval: Sequence[float]
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


class FindingDocument(TypedDict):
    """A finding of a check. level: pass, note, warn or FAIL."""

    level: str
    what: str
    said: str


class CheckDocument(TypedDict):
    """`sweep check`: whether nothing fails, and each finding."""

    passed: bool
    findings: Sequence[FindingDocument]
    forecast: Mapping[str, Any] | None


class RangeDocument(TypedDict):
    """`sweep lr-range`. interval: of the exponents that are worth searching; null for none."""

    interval: Sequence[float] | None
    rules: Mapping[str, Any]
    exponents: Sequence[float]
    notes: Sequence[str]


class ExportDocument(TypedDict):
    """`sweep export`: what was written."""

    sweep: str
    path: str
    files: int
    size_bytes: int
    notes: Sequence[str]


class UnpackDocument(TypedDict):
    """`sweep unpack`: which sweep, and the home that has it now."""

    sweep: str
    home: str


class InitDocument(TypedDict):
    """`sweep init`: the files that were written, what is searched, and which commands come next."""

    files: Sequence[str]
    name: str
    searched: Sequence[str]
    notes: Sequence[str]


class ImportDocument(TypedDict):
    """`sweep import`: the fields of the spec, and what has no counterpart."""

    spec: Mapping[str, Any]
    notes: Sequence[str]


class SaidDocument(TypedDict):
    """`sweep stop`, `enqueue` and `delete`: what was done, in sentences."""

    sweep: str
    said: Sequence[str]


DOCUMENTS: Mapping[str, Any] = {
    "run": RunDocument,
    "resume": RunDocument,
    "extend": RunDocument,
    "list": Sequence[ListedDocument],
    "show": ShowDocument,
    "explain": ExplainDocument,
    "compare": CompareDocument,
    "best": TopDocument,
    "check": CheckDocument,
    "lr-range": RangeDocument,
    "export": ExportDocument,
    "unpack": UnpackDocument,
    "init": InitDocument,
    "import": ImportDocument,
    "stop": SaidDocument,
    "enqueue": SaidDocument,
    "delete": SaidDocument,
}
"""By command, the type of its document."""


def document_schema(command: str) -> dict[str, Any]:
    """Return the JSON Schema of what a command prints with --json.

    >>> document_schema("list")["type"], document_schema("show")["required"][:2]
    ('array', ['sweep', 'state'])
    """
    schema = TypeAdapter(DOCUMENTS[command]).json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"sweep-{command}-{VERSION}"} | schema


def versioned(document: object) -> object:
    """Return a document with its version in front; a list as it is.

    >>> versioned({"sweep": "names-1"}), versioned([1])
    ({'schema': 1, 'sweep': 'names-1'}, [1])
    """
    return {"schema": VERSION, **document} if isinstance(document, Mapping) else document
