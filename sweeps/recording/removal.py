"""Delete a sweep's runs in MLflow."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from espalier.sweeps.recording.experiments import Owner, all_experiments, forget_view, search_runs
from espalier.sweeps.recording.names import PARENT_TAG
from espalier.sweeps.recording.reachable import check_reachable
from espalier.sweeps.recording.retry import retry
from espalier.sweeps.recording.server import as_bad_input, open_client

if TYPE_CHECKING:
    from espalier.sweeps.recording.server import MlflowClient, Run


def delete_runs(uri: str, sweep: str, birth: str | None = None) -> int:
    """Delete the runs of a sweep and of its trials, what is nested in them, and its view; return how many runs.

    `mlflow gc` frees their space. birth: of the sweep, see Owner.

    Raises BadInput if MLflow does not answer.
    """
    check_reachable(uri)
    with as_bad_input(uri):
        client = open_client(uri)
        runs = [*Owner(sweep, birth).runs(client, all_experiments(client))]
        runs += _nested(client, runs)
        for run in runs:
            retry(partial(client.delete_run, run.info.run_id))
        for experiment in {run.info.experiment_id for run in runs}:
            forget_view(client, experiment, sweep)
    return len(runs)


def _nested(client: "MlflowClient", runs: "Sequence[Run]") -> "list[Run]":
    """Return the runs, of scripts, that are nested in some runs, at any depth, and are none of these."""
    known = {run.info.run_id for run in runs}
    experiments = sorted({run.info.experiment_id for run in runs})
    others = [*search_runs(client, experiments, f"tags.`{PARENT_TAG}` LIKE '%'")] if experiments else []
    nested: list[Run] = []
    while more := [run for run in others if run.info.run_id not in known and run.data.tags[PARENT_TAG] in known]:
        nested += more
        known |= {run.info.run_id for run in more}
    return nested
