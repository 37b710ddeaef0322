"""The recorded code of a sweep among the artifacts of its own run."""

import tempfile
from contextlib import suppress
from pathlib import Path

from espalier.core.errors import BadInput
from espalier.sweeps.address import no_secret, sqlite_file
from espalier.sweeps.recording.experiments import Owner, all_experiments
from espalier.sweeps.recording.names import CODE, TRIAL_TAG
from espalier.sweeps.recording.reachable import check_reachable
from espalier.sweeps.recording.server import download_file, open_client
from espalier.sweeps.recording.store import is_filled


def fetch_archive(uri: str, sweep: str, digest: str) -> bytes:
    """Return the archive of a sweep's code from MLflow. Raises BadInput if it is not there.

    Other sweeps may have had its id. The archive is known by its digest.
    """
    store = sqlite_file(uri)
    if store is not None and not is_filled(store):
        raise BadInput(f"{store} is not there")
    check_reachable(uri, reading=True)
    with tempfile.TemporaryDirectory() as folder:
        try:
            client = open_client(uri)
            runs = Owner(sweep).runs(client, all_experiments(client))
            parents = [run for run in runs if TRIAL_TAG not in run.data.tags]
            *others, last = [f"{parent.info.artifact_uri}/{CODE}/{digest}.zip" for parent in parents]
            for address in others:
                with suppress(Exception):
                    return Path(download_file(uri, address, folder)).read_bytes()
            return Path(download_file(uri, last, folder)).read_bytes()
        except Exception as error:
            reason = str(error).split("\n")[0]
            raise BadInput(f"{sweep} has no artifact {CODE}/{digest}.zip in {no_secret(uri)}: {reason}") from error
