"""Delete a sweep's runs in MLflow."""

from functools import partial

from espalier.sweeps.recording.experiments import all_experiments, search_runs
from espalier.sweeps.recording.names import SWEEP_TAG
from espalier.sweeps.recording.reachable import check_reachable
from espalier.sweeps.recording.retry import retry
from espalier.sweeps.recording.server import as_bad_input, open_client


def delete_runs(uri: str, sweep: str) -> int:
    """Delete the runs of a sweep and of its trials; return how many. `mlflow gc` frees their space.

    Raises BadInput if MLflow does not answer.
    """
    check_reachable(uri)
    with as_bad_input(uri):
        client = open_client(uri)
        runs = [*search_runs(client, all_experiments(client), f"tags.`{SWEEP_TAG}` = '{sweep}'")]
        for run in runs:
            retry(partial(client.delete_run, run.info.run_id))
    return len(runs)
