"""A home to record in, and a server."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.shared import shared_by_all
from tests.sweeps.recording.saying import free_port, mlflow_server, new_home


@pytest.fixture
def home(tmp_path: Path, empty_store: Path) -> Path:
    """A home whose store has its tables."""
    return new_home(tmp_path / "home", empty_store)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[str]:
    """A real MLflow server, one for all workers of xdist."""

    @contextmanager
    def started(home: Path) -> Iterator[str]:
        shutil.copy(empty_store, home / "mlflow.db")
        port = free_port()
        with mlflow_server(home, port):
            yield f"http://127.0.0.1:{port}"

    with shared_by_all(tmp_path_factory, "server", started) as address:
        yield address
