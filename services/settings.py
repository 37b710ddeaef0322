"""The settings of the service, from environment variables whose names have units."""

from ipaddress import ip_network
from pathlib import Path

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from espalier.core.errors import BadInput, within
from espalier.sweeps.address import sqlite_url

DEVICES = Path("/dev")


class Settings(BaseSettings):
    """Settings from variables that begin with SWEEP_; errors name the variable."""

    model_config = SettingsConfigDict(env_prefix="SWEEP_", extra="ignore", frozen=True, allow_inf_nan=False)

    home: Path = Field(Path("sweep-data"), description="the folder of sweeps; all nodes of the cluster see it there")
    database_url: str = Field("", description="owners, tokens and submissions; empty: an sqlite file in the home")
    ray_address: str = Field("", description="http://HEAD:8265 of Ray's job server; empty: processes on this machine")
    mlflow_url: str = Field("", description="where people browse MLflow; empty: MLFLOW_TRACKING_URI, or the home's")
    ray_job_cpus: float = Field(1.0, ge=0, description="cores that Ray sets aside for a sweep's driver")
    running_per_owner: int = Field(2, ge=1, description="sweeps of one owner that run at once")
    running_total: int = Field(8, ge=1, description="sweeps that run at once")
    archive_mib: float = Field(50.0, gt=0, description="MiB of an uploaded code archive, packed")
    unpacked_mib: float = Field(200.0, gt=0, description="MiB of an uploaded code archive, unpacked")
    spec_kib: float = Field(256.0, gt=0, description="KiB of a spec")
    hours: float = Field(24.0, gt=0, description="hours that a sweep may run where its submission names none")
    gpus_at_once: float = Field(1.0, ge=0, description="GPUs that a sweep with gpus: auto is counted with")
    requests_per_minute: int = Field(1200, ge=1, description="requests a minute of one token, or of one stranger")
    tick_s: float = Field(1.0, gt=0, description="seconds between two looks at the queue")
    head_s: float = Field(15.0, gt=0, description="seconds for the headers of a request, and a body that none reads")
    body_s: float = Field(600.0, gt=0, description="seconds for the body of a request")
    piece_s: float = Field(20.0, gt=0, description="seconds between two pieces of a body")
    quiet_s: float = Field(15.0, ge=0, description="seconds after which a stream without events sends a comment")
    streams_per_owner: int = Field(16, ge=1, description="streams, logs and best files that one owner reads at once")
    connections: int = Field(1000, ge=1, description="connections that are held open at once")
    trusted_proxies: str = Field("", description="addresses and networks, by commas, whose X-Forwarded-For is believed")
    job_variables: str = Field("", description="names of more variables, by commas, that jobs on this machine get")
    job_uids: str = Field("2000000000-2000065535", description="user ids of owners, where the service runs as root")
    job_attempts: int = Field(3, ge=1, description="how often a sweep whose job died is started in all")

    @field_validator("home")
    @classmethod
    def _expanded(cls, value: Path) -> Path:
        return value.expanduser()

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: str) -> str:
        for word in filter(None, value.split(",")):
            try:
                ip_network(word.strip())
            except ValueError as error:
                raise ValueError("give addresses or networks such as 10.1.0.0/16, separated by commas") from error
        return value

    @field_validator("job_uids")
    @classmethod
    def _user_ids(cls, value: str) -> str:
        first, dash, last = value.partition("-")
        if not (dash and first.isdecimal() and last.isdecimal() and 1000 <= int(first) <= int(last) < 2**32 - 1):
            raise ValueError("give FIRST-LAST, from 1000 on")
        return value

    @property
    def uids(self) -> range:
        """The range of owners' user ids."""
        first, _, last = self.job_uids.partition("-")
        return range(int(first), int(last) + 1)

    @property
    def gpus_of_auto(self) -> float:
        """GPUs that a sweep with gpus: auto is counted with: none where jobs run on this machine, and it has none."""
        named = "gpus_at_once" in self.model_fields_set
        return self.gpus_at_once if named or self.ray_address or machine_has_gpu() else 0.0

    @property
    def database(self) -> str:
        """The URL of the service's own database."""
        return self.database_url or sqlite_url(self.home.absolute() / "service.db")


def machine_has_gpu() -> bool:
    """Whether this machine may have a GPU of NVIDIA or AMD; WSL shows any as dxg."""
    return any(next(DEVICES.glob(name), None) for name in ("nvidia[0-9]*", "kfd", "dxg"))


def read_settings() -> Settings:
    """Return the settings of this process. Raises BadInput that names a wrong variable."""
    try:
        return Settings()  # pyright: ignore[reportCallIssue]
    except ValidationError as error:
        first = error.errors()[0]
        variable = "SWEEP_" + "_".join(str(part) for part in first["loc"]).upper()
        raise BadInput(f"{variable}: {within(first['msg'])}; {first['input']!r} arrived") from error
