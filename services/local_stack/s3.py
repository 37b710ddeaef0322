"""S3, by moto's server: one bucket for artifacts.

It keeps objects in memory. So it records every request in `s3.requests` and replays them when it starts.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from espalier.core.errors import BadInput
from espalier.services.local_stack.process import LOOPBACK, Daemon, StateFolder, listens, python

BUCKET, REGION = "artifacts", "us-east-1"


@dataclass(frozen=True)
class S3:
    """A bucket on loopback. Any process that knows the port can use it: moto checks no passwords."""

    state: StateFolder

    @property
    def port(self) -> int:
        return self.state.port("s3")

    @property
    def address(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def bucket(self) -> str:
        """The bucket's URL."""
        return f"s3://{BUCKET}"

    def env(self) -> dict[str, str]:
        """Return the environment variables that a client needs."""
        return {
            "MLFLOW_S3_ENDPOINT_URL": self.address,
            "AWS_ACCESS_KEY_ID": "espalier",
            "AWS_SECRET_ACCESS_KEY": self.state.secret("s3"),
            "AWS_DEFAULT_REGION": REGION,
        }

    def start(self) -> None:
        """Start it, with its bucket and the objects that it held before. Raises BadInput if moto is not installed."""
        if find_spec("moto") is None:
            raise BadInput("moto, which serves as S3, is not installed; pip install 'moto[server]'")
        daemon, notes = Daemon(self.state, "s3"), self.state.path / "s3.requests"
        if daemon.process:
            return
        notes.touch(mode=0o600)
        notice = {"MOTO_ENABLE_RECORDING": "true", "MOTO_RECORDER_FILEPATH": str(notes)}
        daemon.start(python("moto.server", "-H", LOOPBACK, "-p", str(self.port)), notice, lambda: listens(self.port))
        if notes.stat().st_size:
            import httpx

            httpx.post(f"{self.address}/moto-api/recorder/replay-recording", timeout=600).raise_for_status()
        else:
            self.client().create_bucket(Bucket=BUCKET)

    def client(self) -> Any:
        """Return a boto3 client for it."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.address,
            region_name=REGION,
            aws_access_key_id="espalier",
            aws_secret_access_key=self.state.secret("s3"),
        )

    def stop(self) -> None:
        """Stop it. Does nothing if it does not run."""
        Daemon(self.state, "s3").stop()
