"""The recorded code of a sweep among the artifacts of its own run."""

import tempfile
from functools import partial
from pathlib import Path

from espalier.core.errors import BadInput
from espalier.sweeps.address import no_secret, sqlite_file
from espalier.sweeps.recording.experiments import all_experiments, search_runs
from espalier.sweeps.recording.names import CODE, SWEEP_TAG, TRIAL_TAG
from espalier.sweeps.recording.reachable import check_reachable
from espalier.sweeps.recording.retry import retry
from espalier.sweeps.recording.server import download_file, open_client
from espalier.sweeps.recording.store import is_filled


def fetch_archive(uri: str, sweep: str, digest: str) -> bytes:
    """Return the archive of a sweep's code from MLflow. Raises BadInput if it is not there."""
    store = sqlite_file(uri)
    if store is not None and not is_filled(store):
        raise BadInput(f"{store} is not there")
    check_reachable(uri, reading=True)
    with tempfile.TemporaryDirectory() as folder:
        try:
            client = open_client(uri)
            runs = search_runs(client, all_experiments(client), f"tags.`{SWEEP_TAG}` = '{sweep}'")
            (parent,) = [run.info.run_id for run in runs if TRIAL_TAG not in run.data.tags]
            artifacts = retry(partial(client.get_run, parent)).info.artifact_uri
            return Path(download_file(uri, f"{artifacts}/{CODE}/{digest}.zip", folder)).read_bytes()
        except Exception as error:
            reason = str(error).split("\n")[0]
            raise BadInput(f"{sweep} has no artifact {CODE}/{digest}.zip in {no_secret(uri)}: {reason}") from error
