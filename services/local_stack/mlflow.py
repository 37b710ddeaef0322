"""MLflow's tracking server: behind a login, its records in PostgreSQL, its artifacts through it in a bucket."""

import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from espalier.services.database.external import upgrade_mlflow, upgrade_mlflow_logins
from espalier.services.local_stack.postgres import Postgres
from espalier.services.local_stack.process import LOOPBACK, Daemon, Place, python, write_secret
from espalier.services.local_stack.s3 import S3

ADMIN = "admin"
LOGIN_KEPT_S = 300  # a login is hashed for 200 ms; without a memory that is done for each request


@dataclass(frozen=True)
class MLflow:
    """A server on loopback with one worker: more of them make every request wait 43 ms (no TCP_NODELAY)."""

    place: Place
    postgres: Postgres
    s3: S3

    @property
    def port(self) -> int:
        return self.place.port("mlflow")

    @property
    def address(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def env(self) -> dict[str, str]:
        """Return what a driver and a service need to find it and to log in."""
        return {
            "MLFLOW_TRACKING_URI": self.address,
            "MLFLOW_TRACKING_USERNAME": ADMIN,
            "MLFLOW_TRACKING_PASSWORD": self.place.secret("mlflow"),
        }

    def start(self) -> None:
        """Bring its tables to this version and start it; PostgreSQL and the bucket run already."""
        daemon = Daemon(self.place, "mlflow")
        if daemon.process:
            return
        with ThreadPoolExecutor() as pool:  # each imports MLflow in a process of its own, for seconds
            logins = pool.submit(upgrade_mlflow_logins, self.postgres.url("mlflow_auth"))
            upgrade_mlflow(self.postgres.url("mlflow"))
            logins.result()
        settings = self.place.path / "mlflow-login.ini"
        write_secret(
            settings,
            "[mlflow]\n"
            "default_permission = NO_PERMISSIONS\n"
            f"database_uri = {self.postgres.url('mlflow_auth')}\n"
            f"admin_username = {ADMIN}\n"
            f"admin_password = {self.place.secret('mlflow')}\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
            f"auth_cache_ttl_seconds = {LOGIN_KEPT_S}\n",
        )
        secret = {
            "MLFLOW_BACKEND_STORE_URI": self.postgres.url("mlflow"),
            "MLFLOW_AUTH_CONFIG_PATH": str(settings),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": self.place.secret("mlflow-forms"),
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
        """End it. Nothing if it does not run."""
        Daemon(self.place, "mlflow").stop()
