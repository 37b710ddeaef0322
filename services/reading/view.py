"""A submission as an answer: its state, its progress, the best trial so far."""

import time
from collections.abc import Mapping
from typing import Any

from espalier.services.database.tables import State, Submission, timestamp
from espalier.services.reading.answers import Best, MLflowPlace, NoiseOfSeed, Sweep, TiesWithBest, TrialCounts
from espalier.services.reading.trials import Sweeps, trials_of
from espalier.sweeps.address import no_secret
from espalier.sweeps.recording.names import SWEEP_TAG
from espalier.sweeps.results import trial_result as results
from espalier.sweeps.results.formatting import finite
from espalier.sweeps.results.noise import estimate_noise, find_ties
from espalier.sweeps.results.trial_result import TrialResult


def sweep_view(submission: Submission, sweeps: Sweeps, position: int | None) -> Sweep:
    """Return a sweep in its present state."""
    spec, state = submission.spec, State(submission.state)
    begun = submission.attempt or state != State.QUEUED
    settled = submission.changed if state.over else None
    trials = trials_of(submission, sweeps, settled) if begun else []
    objective = {"metric": "valid_loss", "mode": "min"} | dict(spec.get("objective") or {})
    best = results.best_trial(trials, objective["mode"])
    names = searched_names(spec)
    noise = estimate_noise(trials, objective["mode"], int(spec.get("replicates") or 1))
    ties = noise and find_ties(trials, objective["mode"], noise, names, int(spec.get("replicates") or 1))
    counted = results.counts(trials)
    ended = sum(count for kind, count in counted.items() if kind not in results.UNFINISHED)
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
        progress=min(1.0, round(ended / submission.trials, 4)) if submission.trials else 0.0,  # some are open-ended
        trials=TrialCounts(wanted=submission.trials, ended=ended, **counted),
        extended=submission.extended,
        searched=names,
        metric=objective["metric"],
        mode=objective["mode"],
        mlflow=_mlflow_place(submission, sweeps),
        best=best and _best(best, objective["metric"]),
        noise=noise and NoiseOfSeed(**vars(noise)),
        ties=ties and TiesWithBest(trials=[*ties.trials], within=ties.within, ranges=dict(ties.ranges)),
        references=sweeps.references(submission.sweep) if begun else [],
        links={"self": here} | {name: f"{here}/{name}" for name in ("trials", "best", "logs", "events", "report")},
    )


def _mlflow_place(submission: Submission, sweeps: Sweeps) -> MLflowPlace:
    return MLflowPlace(
        url=no_secret(sweeps.mlflow_url(submission.owner, submission.sweep)),
        page=sweeps.page(submission.sweep),
        experiment=sweeps.experiment(submission.sweep, submission.name),
        filter=f"tags.`{SWEEP_TAG}` = '{submission.sweep}'",
    )


def searched_names(spec: Mapping[str, Any]) -> list[str]:
    """Return the names of the searched hyperparameters, in the order of the spec."""
    return [name for name, domain in (spec.get("space") or {}).items() if isinstance(domain, Mapping | list)]


def _best(trial: TrialResult, metric: str) -> Best:
    return Best(trial=trial.number, params=finite(dict(trial.params)), metric=metric, value=trial.value or 0.0)
