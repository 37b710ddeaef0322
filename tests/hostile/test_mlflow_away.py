"""MLflow is away for a while: training goes on, and nothing is missing or written twice when it is back."""

import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hostile.endings import check_the_end
from tests.hostile.harness import Sweep
from tests.hostile.processes import Process, descendants, wait_until

pytestmark = [pytest.mark.hostile, pytest.mark.slow]


class Server:
    """An MLflow server on a port of its own, which can be killed and started again."""

    def __init__(self, folder: Path):
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self.born: list[Process] = []

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        store = f"sqlite:///{self.folder / 'server.db'}"
        options = ["--backend-store-uri", store, "--artifacts-destination", str(self.folder / "artifacts")]
        options += ["--workers", "1", "--host", "127.0.0.1", "--port", str(self.port)]
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with open(self.folder / "log.txt", "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *options],
                env=os.environ | quiet | {"OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._answers, "the server answered")

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                return True
        except OSError:
            return False

    def kill(self) -> None:
        if self.process is None:
            return
        self.born += descendants(self.process.pid)
        self.process.kill()
        self.process.wait()
        for process in self.born:
            process.kill()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A running server."""
    server = Server(tmp_path / "server")
    server.start()
    yield server
    server.kill()


def test_a_server_that_is_killed_and_comes_back_has_everything_once(
    make_sweep: Callable[..., Sweep], server: Server
) -> None:
    sweep = make_sweep(tracking_uri=server.uri)
    driver = sweep.run()
    driver.wait_until(lambda: len(sweep.lines("report")) > 5, "it reported")
    server.kill()
    ends = len(sweep.lines("end"))
    driver.wait_until(lambda: len(sweep.lines("end")) >= ends + 4, "trials ended without the server")
    server.start()
    assert driver.document()["recorded"]
    check_the_end(sweep)


def test_a_server_that_stays_away_is_told_everything_by_a_resume(
    make_sweep: Callable[..., Sweep], server: Server
) -> None:
    sweep = make_sweep(tracking_uri=server.uri)
    driver = sweep.run()
    driver.wait_until(lambda: len(sweep.lines("report")) > 5, "it reported")
    server.kill()
    assert driver.wait() == 0, driver.said()
    assert "MLflow did not take everything" in driver.said()
    assert f"sweep resume {sweep.id}" in driver.said()
    assert '"recorded": false' in driver.out.read_text()
    server.start()
    assert sweep.resume().document()["recorded"]
    check_the_end(sweep)


def test_what_a_restarted_worker_repeats_while_the_server_is_away_is_logged_once(
    make_sweep: Callable[..., Sweep], server: Server
) -> None:
    sweep = make_sweep(tracking_uri=server.uri)
    driver = sweep.run()
    driver.wait_until(sweep.in_the_middle, "it was in the middle")
    server.kill()
    for worker in driver.workers():
        worker.kill()

    def repeated() -> bool:
        said = [(line["trial"], line["step"]) for line in sweep.lines("report")]
        return len(said) > len(set(said)) or bool(sweep.lines("close"))

    driver.wait_until(repeated, "a worker reported what the dead one had reported")
    server.start()
    assert driver.document()["recorded"]
    check_the_end(sweep)


def test_a_driver_killed_while_the_server_is_away_loses_no_record(
    make_sweep: Callable[..., Sweep], server: Server
) -> None:
    sweep = make_sweep(tracking_uri=server.uri)
    driver = sweep.run()
    driver.wait_until(sweep.in_the_middle, "it was in the middle")
    server.kill()
    reports = len(sweep.lines("report"))
    driver.wait_until(lambda: len(sweep.lines("report")) > reports + 4, "it went on without the server")
    driver.kill()
    refused = sweep.resume()
    assert refused.wait() == 2, refused.said()
    assert server.uri in refused.said()
    server.start()
    assert sweep.resume().document()["recorded"]
    check_the_end(sweep)
