"""MLflow's tracking server: behind a login, its records in PostgreSQL, its artifacts through it in a bucket."""

import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from espalier.services.database.external import upgrade_mlflow, upgrade_mlflow_logins
from espalier.services.local_stack.postgres import Postgres
from espalier.services.local_stack.process import LOOPBACK, Daemon, StateFolder, python, write_secret
from espalier.services.local_stack.s3 import S3

ADMIN = "admin"
LOGIN_KEPT_S = 300  # to check a login takes 200 ms of hashing; without this cache every request would pay that


@dataclass(frozen=True)
class MLflow:
    """A server on loopback with one worker process: with more, every request takes 43 ms longer (no TCP_NODELAY)."""

    state: StateFolder
    postgres: Postgres
    s3: S3

    @property
    def port(self) -> int:
        return self.state.port("mlflow")

    @property
    def address(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def env(self) -> dict[str, str]:
        """Return the environment variables with its address and login."""
        return {
            "MLFLOW_TRACKING_URI": self.address,
            "MLFLOW_TRACKING_USERNAME": ADMIN,
            "MLFLOW_TRACKING_PASSWORD": self.state.secret("mlflow"),
        }

    def start(self) -> None:
        """Upgrade its tables and start it. PostgreSQL and the bucket must run already."""
        daemon = Daemon(self.state, "mlflow")
        if daemon.process:
            return
        with ThreadPoolExecutor() as pool:  # each imports MLflow in a process of its own, for seconds
            logins = pool.submit(upgrade_mlflow_logins, self.postgres.url("mlflow_auth"))
            upgrade_mlflow(self.postgres.url("mlflow"))
            logins.result()
        settings = self.state.path / "mlflow-login.ini"
        write_secret(
            settings,
            "[mlflow]\n"
            "default_permission = NO_PERMISSIONS\n"
            f"database_uri = {self.postgres.url('mlflow_auth')}\n"
            f"admin_username = {ADMIN}\n"
            f"admin_password = {self.state.secret('mlflow')}\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
            f"auth_cache_ttl_seconds = {LOGIN_KEPT_S}\n",
        )
        secret = {
            "MLFLOW_BACKEND_STORE_URI": self.postgres.url("mlflow"),
            "MLFLOW_AUTH_CONFIG_PATH": str(settings),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": self.state.secret("mlflow-forms"),
            **self.s3.env(),
        }
        calm = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        daemon.start(self._command(), secret | calm, self._answers)

    def _command(self) -> list[str]:
        hosts = ",".join(f"{name}:{self.port}" for name in (LOOPBACK, "localhost"))
        options = {
            "--app-name": "basic-auth",
            "--artifacts-destination": self.s3.bucket,
            "--workers": "1",
            "--host": LOOPBACK,
            "--port": str(self.port),
            "--allowed-hosts": hosts,
        }
        return python("mlflow", "server", *[word for option in options.items() for word in option])

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.address}/health", timeout=5).close()
            return True
        except OSError:
            return False

    def stop(self) -> None:
        """Stop it. Does nothing if it does not run."""
        Daemon(self.state, "mlflow").stop()
