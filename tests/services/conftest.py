"""A service with everything real but the training: its jobs are tests/services/scripted.py."""

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from espalier.services import tokens
from espalier.services.clusters.local import LocalCluster
from espalier.services.database import schema
from espalier.services.database.store import Store
from espalier.services.http.app import build
from espalier.services.queue import Queue
from espalier.services.settings import Settings
from espalier.sweeps.address import sqlite_url
from tests.services.running import make_real_sweep, postgres_server, stack
from tests.services.serving import served
from tests.sweeps.conftest import small_sweep

collect_ignore = ["isolation/hostile_task.py"]  # its archive has what it imports

__all__ = ["make_real_sweep", "postgres_server", "small_sweep", "stack"]

SCRIPT = (sys.executable, str(Path(__file__).with_name("scripted.py")))
SPEC: dict[str, Any] = {
    "name": "quick",
    "task": "espalier.core.tasks.names:Names",
    "trials": 4,
    "budget": {"steps": 100},
    "space": {"lr_exponent": {"low": -2.0, "high": 0.0}},
}


def spec(name: str = "quick", **more: Any) -> dict[str, Any]:
    """Return a spec that the service takes."""
    return SPEC | {"name": name} | more


def until(happened: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """Wait for something; fail with what it was."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := happened():
            return found
        time.sleep(0.05)
    pytest.fail(f"it never came: {what}")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("SCRIPTED_STARTS", str(tmp_path / "starts"))
    return Settings(home=tmp_path / "home", tick_s=0.05, requests_per_minute=1_000_000)  # pyright: ignore[reportCallIssue]


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The service's database before anybody is known: a copy takes less time than its migrations."""
    path = tmp_path_factory.mktemp("database") / "service.db"
    made = Store(sqlite_url(path))
    schema.upgrade(made)
    made.engine.dispose()
    return path


@pytest.fixture
def store(settings: Settings, empty_database: Path) -> Iterator[Store]:
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copy(empty_database, settings.home / "service.db")
    made = Store(settings.database)
    yield made
    made.engine.dispose()


@pytest.fixture
def cluster(settings: Settings) -> LocalCluster:
    return LocalCluster(settings.home / "jobs", SCRIPT, ["SCRIPTED_STARTS"])


@pytest.fixture
def starts(tmp_path: Path) -> Callable[[], list[str]]:
    """Which sweeps' jobs began, in that order."""
    return lambda: (tmp_path / "starts").read_text().split() if (tmp_path / "starts").exists() else []


@pytest.fixture
def queue(store: Store, cluster: LocalCluster, settings: Settings) -> Queue:
    return Queue(store, cluster, settings, time.time, "test")


@pytest.fixture
def token(store: Store) -> Callable[..., dict[str, str]]:
    """Make a token; return the header that carries it."""

    def make(owner: str = "ada", role: str = "submit", days: float | None = None) -> dict[str, str]:
        with store.session() as session:
            return {"Authorization": f"Bearer {tokens.create(session, owner, role, time.time(), days)}"}

    return make


@pytest.fixture
def client(store: Store, cluster: LocalCluster, settings: Settings) -> Iterator[httpx.Client]:
    """The service, looking after its queue; strangers are strangers, since it is not bound to this machine."""
    app = build(settings, loopback=False, cluster=cluster)
    with served(app) as address, httpx.Client(base_url=address, timeout=30) as made:
        yield made


@pytest.fixture(autouse=True)
def _no_job_outlives_its_test(settings: Settings, cluster: LocalCluster) -> Iterator[None]:
    yield
    for place in (settings.home / "jobs").glob("*"):
        cluster.stop(place.name)
