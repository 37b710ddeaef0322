"""The tables of other programs, MLflow's and Optuna's, brought to this version.

Each may be run by several processes at once: one works under a lock in the database, the others wait, then find nothing
to do.
"""

import os
import subprocess
import sys

from espalier.core.errors import BadInput
from espalier.sweeps.address import no_secret
from espalier.sweeps.search import database
from espalier.sweeps.search.storage import upgrade_storage


def upgrade_optuna(url: str) -> None:
    """Make or upgrade Optuna's tables. Raises BadInput for a database that cannot be reached or refuses the login."""
    upgrade_storage(url)


def upgrade_mlflow(uri: str) -> None:
    """Make or upgrade MLflow's tables, by `mlflow db upgrade`. Raises BadInput as `upgrade_optuna` does."""
    _run("tables of mlflow", uri, ["mlflow", "db", "upgrade"])


def upgrade_mlflow_logins(uri: str) -> None:
    """Make or upgrade the tables of MLflow's logins. Raises BadInput as `upgrade_optuna` does."""
    _run("tables of mlflow's logins", uri, ["mlflow.server.auth", "db", "upgrade", "--url"])


def _run(what: str, uri: str, command: list[str]) -> None:
    """Run a command on a database whose password stays out of the command line, which everybody can read."""
    name = "the database of MLflow"
    url = database.parsed(uri, name)
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "ERROR"}
    bare = url._replace(password=None)
    if url.password and url.get_backend_name() != "postgresql":
        raise BadInput(f"{name}: {no_secret(uri)}: only PostgreSQL can be upgraded here with a password")
    if url.password:
        quiet["PGPASSWORD"] = url.password  # libpq reads it
    with database.as_bad_input(uri, name), database.advisory_lock(url, what):
        done = subprocess.run(
            [sys.executable, "-m", *command, bare.render_as_string(hide_password=False)],
            env=os.environ | quiet,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise BadInput(f"{name}: {no_secret(uri)} cannot be upgraded: {no_secret(last)}")
