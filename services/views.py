"""What the service shows of a sweep: its submission, and what Optuna's storage knows of its trials."""

import math
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, Field

from core.errors import BadInput
from services.store import State, Submission, timestamp
from sweeps import record, results, search
from sweeps.address import no_secret, without_login
from sweeps.home import Home
from sweeps.results import TrialResult

SETTLED_S, LASTING_S = 5.0, 60.0  # trials of a sweep that is over are read again once a minute
FRESH_S = 1.0  # many clients that poll one sweep cost as much as one


class TrialCounts(BaseModel):
    """How many trials are where."""

    wanted: int
    ended: int
    running: int = 0
    complete: int = 0
    stopped: int = 0
    diverged: int = 0
    failed: int = 0


class Best(BaseModel):
    """The best complete trial so far."""

    trial: int
    params: dict[str, Any]
    metric: str
    value: float


class MLflowPlace(BaseModel):
    """Where MLflow has a sweep: the page of its run, an experiment, and a filter for that one's search box."""

    url: str = Field(examples=["https://mlflow.example.org"])
    page: str | None = Field(
        None,
        description="the page of the sweep's own run, which lists those of its trials; null until it is recorded",
        examples=["https://mlflow.example.org/#/experiments/3/runs/0123456789abcdef0123456789abcdef"],
    )
    experiment: str = Field(examples=["names"])
    filter: str = Field(examples=["tags.`espalier.sweep` = 'names-20261121-1a2b3c4d'"])


class Sweep(BaseModel):
    """A sweep, as it is now."""

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
    searched: list[str] = Field(description="the hyperparameters that its trials may differ in")
    mode: str = Field("min", description="min or max: which values of the objective are better")
    best: Best | None = None
    links: dict[str, str]
    mlflow: MLflowPlace


class Trial(BaseModel):
    """One trial of a sweep."""

    number: int
    state: str
    value: float | None
    params: dict[str, Any]
    spread: float | None = None
    verdict: str = ""
    evidence: str = ""
    duration_s: float | None = None
    step: int | None = Field(None, description="the last step that it reported")
    latest: float | None = Field(None, description="the objective at that step")
    ended: str | None = None
    mlflow_run: str = Field("", description="the id of its run, once MLflow has it")


class Sweeps:
    """Reads the trials of sweeps, each at most once a second."""

    def __init__(self, home: Home, mlflow_url: str = ""):
        self.home = home
        self.mlflow_url = mlflow_url or record.tracking_of(None, home.path, None)
        self.storage = search.open_storage(home.storage)
        self._known: dict[str, tuple[float, list[TrialResult]]] = {}
        self._pages: dict[str, str] = {}
        self._lock = threading.Lock()

    def trials(self, sweep: str, over_since: float | None = None) -> list[TrialResult]:
        """Return the trials of a sweep; none before its driver has begun.

        over_since: when it ended, in seconds since 1970: what was read well after that changes no more.
        """
        with self._lock:
            when, found = self._known.get(sweep, (-math.inf, []))
            settled = over_since is not None and when > over_since + SETTLED_S
            if time.time() - when < (LASTING_S if settled else FRESH_S):
                return found
            try:
                study = search.load(self.storage, sweep)
                found = search.trial_results(study)
                if (parent := search.parent_of(study)) and self.mlflow_url.startswith(("http://", "https://")):
                    self._pages[sweep] = f"{without_login(self.mlflow_url)}/#/experiments/{parent[0]}/runs/{parent[1]}"
            except (KeyError, BadInput):  # one that has not begun, one that another version wrote
                found = []
            if len(self._known) > 10_000:
                self._known.clear()
                self._pages.clear()
            self._known[sweep] = (time.time(), found)
            return found

    def page(self, sweep: str) -> str | None:
        """Return where people see a sweep whose trials were read, if MLflow is a server and has it."""
        return self._pages.get(sweep)

    def ended(self, sweep: str) -> list[TrialResult]:
        """Return the trials that have ended, in the order in which they did: a list that only grows."""
        over = [t for t in self.trials(sweep) if t.state != "running" and t.ended is not None]
        return sorted(over, key=lambda t: (t.ended, t.number))


def sweep_view(submission: Submission, spec: Mapping[str, Any], sweeps: Sweeps, position: int | None) -> Sweep:
    """Return a sweep as it is now."""
    state = State(submission.state)
    begun = submission.attempt or state != State.QUEUED
    trials = sweeps.trials(submission.sweep, submission.changed if state.over else None) if begun else []
    objective = {"metric": "valid_loss", "mode": "min"} | dict(spec.get("objective") or {})
    best = results.best_trial(trials, objective["mode"])
    counted = results.counts(trials)
    ended = sum(count for kind, count in counted.items() if kind != "running")
    here = f"/v1/sweeps/{submission.sweep}"
    return Sweep(
        id=submission.sweep,
        name=submission.name,
        owner=submission.owner,
        state=state,
        reason=submission.reason,
        position=position,
        attempt=submission.attempt,
        created=timestamp(submission.created) or "",
        changed=timestamp(submission.changed) or "",
        seconds=round(submission.seconds(time.time()), 3),
        hours=submission.hours,
        gpus=submission.gpus,
        progress=round(ended / submission.trials, 4) if submission.trials else 0.0,
        trials=TrialCounts(wanted=submission.trials, ended=ended, **counted),
        searched=[name for name, domain in (spec.get("space") or {}).items() if isinstance(domain, Mapping | list)],
        mode=objective["mode"],
        mlflow=MLflowPlace(
            url=no_secret(sweeps.mlflow_url),
            page=sweeps.page(submission.sweep),
            experiment=submission.name,
            filter=f"tags.`{record.SWEEP_TAG}` = '{submission.sweep}'",
        ),
        best=best and _best(best, objective["metric"]),
        links={"self": here} | {name: f"{here}/{name}" for name in ("trials", "best", "logs", "events")},
    )


def _best(trial: TrialResult, metric: str) -> Best:
    return Best(trial=trial.number, params=results.finite(dict(trial.params)), metric=metric, value=trial.value or 0.0)


def trial_view(trial: TrialResult) -> Trial:
    """Return one trial."""
    fields = results.finite(asdict(trial))
    reports = fields.pop("reports")
    step = max(reports, default=None)
    latest = None if step is None else reports[step]
    return Trial(**fields | {"ended": timestamp(trial.ended), "step": step, "latest": latest})
