"""Runs that the process of a trial makes beside the one that it was given.

A script that has ended its run and logs on makes another: so does one that evaluates after Hugging Face's Trainer has
trained. What they hold belongs to the trial's run. Runs that a script nests by itself stay as they are.
"""

import json
import os
from typing import TYPE_CHECKING

from espalier.sweeps.recording.names import PARENT_TAG

if TYPE_CHECKING:
    from espalier.sweeps.recording.server import MlflowClient, Run

CONTEXT = "MLFLOW_RUN_CONTEXT"  # the tags of every run that a process makes, as JSON
OF_RUN = "espalier.of_run"  # such a tag: the run of the trial
MOST = 1000  # metrics that MLflow takes at once


def context(run_id: str) -> str:
    """Return the value of CONTEXT for a process, with what the user has in it."""
    try:
        tags = dict(json.loads(os.environ.get(CONTEXT, "{}")))
    except (ValueError, TypeError):
        tags = {}
    return json.dumps({**tags, OF_RUN: run_id})


def gather(client: "MlflowClient", run_id: str) -> None:
    """Move into the run of a trial what its process, which has ended, has logged beside it.

    A run with metrics alone is deleted then; one with params or artifacts is nested in the trial's.
    """
    experiment = client.get_run(run_id).info.experiment_id
    for run in client.search_runs([experiment], f"tags.`{OF_RUN}` = '{run_id}'"):
        if PARENT_TAG not in run.data.tags:
            _gather(client, run, run_id)


def _gather(client: "MlflowClient", run: "Run", run_id: str) -> None:
    other = run.info.run_id
    points = [point for name in run.data.metrics for point in client.get_metric_history(other, name)]
    for begin in range(0, len(points), MOST):
        client.log_batch(run_id, metrics=points[begin : begin + MOST])
    if run.data.params or client.list_artifacts(other):
        client.set_tag(other, PARENT_TAG, run_id)
    else:
        client.delete_run(other)
