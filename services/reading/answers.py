"""The models of the service's answers: a sweep in its present state, a trial."""

from dataclasses import asdict

from pydantic import BaseModel, Field

from espalier.services.database.tables import State, timestamp
from espalier.sweeps.results.formatting import finite
from espalier.sweeps.results.reference_result import ReferenceResult
from espalier.sweeps.results.trial_result import TrialResult
from espalier.sweeps.spec.space import Point


class TrialCounts(BaseModel):
    """How many trials are in each state."""

    wanted: int
    ended: int
    running: int = 0
    interrupted: int = Field(0, description="begun, and not over when the sweep stopped: a resume goes on with them")
    complete: int = 0
    stopped: int = 0
    diverged: int = 0
    failed: int = 0


class Best(BaseModel):
    """The best complete trial so far."""

    trial: int
    params: Point
    metric: str
    value: float


class NoiseOfSeed(BaseModel):
    """The noise of another seed: the standard deviation of the objective of one configuration."""

    sd: float
    degrees: int = Field(description="degrees of freedom of the estimate")
    source: str = Field(examples=["3 confirmations"])


class TiesWithBest(BaseModel):
    """The trials that cannot be told from the best at 95 %, the best of them first."""

    trials: list[int]
    within: float = Field(description="how much worse than the best they may be")
    ranges: dict[str, tuple[float, float]] = Field(
        description="of each searched number, the least and the greatest value among them and the best"
    )


class ReferenceRow(BaseModel):
    """What an untuned run came to, beside the trials."""

    name: str = Field(examples=["adamw"])
    title: str = Field(examples=["AdamW at 0.001 with a cosine"])
    state: str
    value: float | None = Field(description="its objective; null if it is not complete")
    evidence: str = ""
    hint: str = Field("", description="how a sweep trains by it")
    reports: dict[int, float | None] = Field({}, description="the objective by step; null for NaN and infinity")


class MLflowPlace(BaseModel):
    """A sweep in MLflow: the page of its run, its experiment, and a filter for the experiment's search box."""

    url: str = Field(examples=["https://mlflow.example.org"])
    page: str | None = Field(
        None,
        description="the page of the sweep's own run, which lists those of its trials; null until it is recorded",
        examples=["https://mlflow.example.org/#/experiments/3/runs/0123456789abcdef?workflowType=machine_learning"],
    )
    experiment: str = Field(examples=["names"])
    filter: str = Field(examples=["tags.`espalier.sweep` = 'names-20261121-1a2b3c4d'"])


class Sweep(BaseModel):
    """A sweep in its present state."""

    id: str = Field(examples=["names-20261121-a1b2"])
    name: str = Field(examples=["names"])
    owner: str = Field(examples=["ada"])
    state: State
    reason: str = Field("", description="why it stopped or failed")
    position: int | None = Field(None, description="how many sweeps wait before it, while it is queued")
    attempt: int = Field(0, description="how often it was started again")
    created: str = Field(description="RFC 3339")
    changed: str = Field(description="RFC 3339")
    seconds: float = Field(description="how long it has run")
    hours: float = Field(description="how long it may run")
    gpus: float = Field(description="GPUs that it is counted with while it runs")
    progress: float = Field(description="the share of its trials that have ended")
    trials: TrialCounts
    extended: dict[str, float] | None = Field(
        None,
        description="how much it trains in all, by the unit of its budget, if it was given more than its spec says",
    )
    searched: list[str] = Field(description="the hyperparameters that its trials may differ in")
    metric: str = Field("valid_loss", description="the objective")
    mode: str = Field("min", description="min or max: which values of the objective are better")
    best: Best | None = None
    noise: NoiseOfSeed | None = Field(None, description="null while no configuration was trained under two seeds")
    ties: TiesWithBest | None = Field(None, description="null while the noise is unknown")
    references: list[ReferenceRow] = Field([], description="what an untuned run comes to, of those that have ended")
    links: dict[str, str]
    mlflow: MLflowPlace


class Trial(BaseModel):
    """One trial of a sweep."""

    number: int
    state: str
    value: float | None
    params: Point
    spread: float | None = None
    verdict: str = ""
    evidence: str = ""
    duration_s: float | None = None
    step: int | None = Field(None, description="the last step that it reported")
    latest: float | None = Field(None, description="the objective at that step")
    ended: str | None = None
    mlflow_run: str = Field("", description="the id of its run, once MLflow has it")
    scores: dict[int, float] = Field(
        {}, description="its score at each rung, by step, where the search stops or parks trials"
    )
    confirms: int | None = Field(
        None, description="the trial that it trains once more under another seed; null for a trial of the search"
    )


def reference_view(reference: ReferenceResult) -> ReferenceRow:
    """Return one reference."""
    return ReferenceRow(**finite(asdict(reference)))


def trial_view(trial: TrialResult) -> Trial:
    """Return one trial."""
    fields = finite(asdict(trial))
    reports = fields.pop("reports")
    step = max(reports, default=None)
    latest = None if step is None else reports[step]
    return Trial(**fields | {"ended": timestamp(trial.ended), "step": step, "latest": latest})
