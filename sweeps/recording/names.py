"""Names of a sweep's records in MLflow: tags, artifacts, aliases, statuses; and MLflow's limits."""

import re
from collections.abc import Collection, Mapping

SWEEP_TAG, TRIAL_TAG, STEP_TAG, KIND_TAG = "espalier.sweep", "espalier.trial", "espalier.step", "espalier.kind"
BIRTH_TAG = "espalier.birth"  # see Owner in recording/experiments.py
PARENT_TAG = "mlflow.parentRunId"  # makes MLflow show a run below its parent
ONCE_TAG = "espalier.record"  # a random identity, to find a run that is no trial after a lost answer
DESCRIPTION_TAG = "mlflow.note.content"  # the text at the top of MLflow's page of a run
BEST_TAG = "espalier.best_trial"  # of a sweep's own run: the number of its best trial, or "none"
EXTENDED_TAG = "espalier.extended"  # of a sweep's own run: how it was extended, as of when its end was recorded
CHAMPION = "champion"  # the alias of a model's best version, and the folder of its files among the run's artifacts
VERDICT_TAG, STATUS_TAG = "espalier.verdict", "espalier.status"  # of a trial
NAME_TAG = "mlflow.runName"  # setting it renames a run
VIEW_TAG = "mlflow.sharedViewState."  # of an experiment: begins the names of views that an address may name
RUNG = "rung_"  # how the names of metrics begin that are scores at rungs
STORY = "trial.json"  # a child run's artifact: every report, the curve and the ratios of each replicate
CODE = "code"  # the folder of the recorded code among the artifacts of the sweep's own run
LINKS = "{links}"  # in a description: where the links stand, for which MLflow gives the ids
REPORT = "report.html"  # the report of a sweep among the artifacts of its own run
FIGURES = "figures"  # the folder of the figures among the artifacts of the sweep's own run
RUN_STATUS: Mapping[str, str] = {
    "complete": "FINISHED",
    "stopped": "FINISHED",
    "diverged": "FAILED",
    "failed": "FAILED",
}
"""The status of a trial's run by the state of the trial."""
ENDED = ("FINISHED", "FAILED")

# https://mlflow.org/docs/latest/api_reference/rest-api.html#request-limits
METRICS_PER_BATCH, PARAMS_PER_BATCH = 800, 100  # 1000 entries a batch, 100 params and 100 tags among them
TAG_CHARACTERS, PARAM_CHARACTERS, NAME_CHARACTERS = 5000, 6000, 250
DATASET_CHARACTERS, DIGEST_CHARACTERS = 500, 36


def mlflow_name(name: str) -> str:
    """Return the nearest name that MLflow takes for a metric or a param: one that might be a file's.

    >>> [mlflow_name(name) for name in ("valid_accuracy@5", "../valid//loss/", "", "..")]
    ['valid_accuracy_5', 'valid/loss', '_', '_']
    """
    parts = re.sub(r"[^\w\-. /:]", "_", name[:NAME_CHARACTERS]).split("/")
    return "/".join(part for part in parts if part not in ("", ".", "..")) or "_"


def decay_name(place: int) -> str:
    """Return the name of the param that has a decay point. place: from 0.

    >>> decay_name(0), decay_name(1)
    ('decay_point', 'decay_point_2')
    """
    return f"decay_point_{place + 1}" if place else "decay_point"


def checks_of(name: str) -> str:
    """Return the name of the experiment for checks and range tests.

    >>> checks_of("names")
    'names-checks'
    """
    return f"{name}-checks"


def list_trials(trials: Collection[int | None], most: int = 3) -> str:
    """Return trials as a phrase; None stands for the sweep's own run. most: how many are named.

    >>> list_trials({3, None}), list_trials(set(range(2000)))
    ('trial 3 and the sweep itself', 'trials 0, 1, 2 and 1997 more')
    """
    numbers = sorted(t for t in trials if t is not None)
    first = ", ".join(map(str, numbers[:most]))
    first += f" and {len(numbers) - most} more" if len(numbers) > most else ""
    parts = [f"trial{'s' if len(numbers) > 1 else ''} {first}"] if numbers else []
    return " and ".join(parts + ["the sweep itself"] * (None in trials))
