"""Upgrade the tables of other programs, MLflow and Optuna.

Several processes may do so at once: one works under a lock in the database, and the others wait.
"""

import os
import subprocess
import sys

from espalier.core.errors import BadInput
from espalier.sweeps.address import no_secret
from espalier.sweeps.search import database
from espalier.sweeps.search.storage import upgrade_storage


def upgrade_optuna(url: str) -> None:
    """Create or upgrade Optuna's tables. Raises BadInput for a database that cannot be reached or refuses the login."""
    upgrade_storage(url)


def upgrade_mlflow(uri: str) -> None:
    """Create or upgrade MLflow's tables, by `mlflow db upgrade`. Raises BadInput like `upgrade_optuna`."""
    _run("tables of mlflow", uri, ["mlflow", "db", "upgrade"])


def upgrade_mlflow_logins(uri: str) -> None:
    """Create or upgrade the tables of MLflow's logins. Raises BadInput like `upgrade_optuna`."""
    _run("tables of mlflow's logins", uri, ["mlflow.server.auth", "db", "upgrade", "--url"])


def _run(what: str, uri: str, command: list[str]) -> None:
    """Run a command on a database, with the password in the environment: command lines are public."""
    name = "the database of MLflow"
    url = database.parsed(uri, name)
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "ERROR"}
    bare = url._replace(password=None)
    if url.password and url.get_backend_name() != "postgresql":
        raise BadInput(f"{name}: {no_secret(uri)}: only PostgreSQL can be upgraded here with a password")
    if url.password:
        quiet["PGPASSWORD"] = url.password  # read by libpq
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
