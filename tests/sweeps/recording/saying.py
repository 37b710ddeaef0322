"""What a small sweep of two trials says, the stores and servers it is said to, and what must arrive there."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlflow.tracking import MlflowClient

from espalier.sweeps.recording.names import STORY, SWEEP_TAG, TRIAL_TAG
from espalier.sweeps.recording.recorder import Recorder
from espalier.sweeps.recording.records import (
    SweepClosed,
    SweepOpened,
    TrialEnded,
    TrialReported,
    TrialStarted,
    TrialTagged,
)
from espalier.sweeps.recording.sender import SendPolicy
from espalier.sweeps.recording.tracking_uri import default_uri

SOON = SendPolicy(interval_s=0.1)  # one that tries again soon
SWEEP = "warm-20260101-abcd"


POINT = {"lr_exponent": -2.0, "decay_points": [0.5, 0.75], "kind": "relu", "seed": 0}


def new_home(folder: Path, empty_store: Path) -> Path:
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    return folder


def recorder_at(home: Path, uri: str | None = None, policy: SendPolicy = SOON, **more: Any) -> Recorder:
    return Recorder(uri or default_uri(home), SWEEP, "warm", home / "sweeps" / SWEEP, policy, **more)


def say_open(recorder: Recorder) -> None:
    tags = {"espalier.data": "d1", "espalier.created": "2026-01-01"}
    params = {"task": "espalier.core.tasks.thermometer:Thermometer", "steps": 40}
    view, data = {"orderByAsc": True}, [{"name": "warm", "digest": "d1", "source": "thermometer.py:Thermometer"}]
    recorder.record(SweepOpened(SWEEP, tags, params, {"spec.yaml": "name: warm\n"}, view, data))


def say_start(recorder: Recorder, trial: int) -> None:
    recorder.record(TrialStarted(trial, f"trial {trial}", POINT, {"espalier.status": "running"}))


def say_report(recorder: Recorder, trial: int, step: int) -> None:
    curve = [("train_loss", step - 5, 3.0 + trial), ("train_loss", step, 2.0 + trial)]
    recorder.record(TrialReported(trial, step, [("valid_loss", step, 1.0 + step), *curve]))


def say_end(recorder: Recorder, trial: int, status: str = "FINISHED") -> None:
    tags = {"espalier.status": "complete", "espalier.verdict": "healthy", "espalier.evidence": "all is well"}
    story = {"trial": trial, "program": "vmap", "device": "cpu", "members": [{"reports": [[40, {"valid_loss": 1.5}]]}]}
    recorder.record(TrialEnded(trial, f"trial {trial}", 40, tags, {STORY: json.dumps(story)}, status))


def say_close(recorder: Recorder, folder: Path) -> None:
    figure = folder / "exponent.png"
    figure.write_bytes(b"a figure")
    tags, texts = {"espalier.best_trial": 0}, {"trials.csv": "trial\n0\n"}
    files = [str(figure), str(folder / "was never drawn.png")]
    recorder.record(SweepClosed({"trials": 2.0}, tags, texts, files, "FINISHED"))


def say_everything(recorder: Recorder, folder: Path) -> None:
    """Say what a sweep of two trials says, the second a branch of the first."""
    say_open(recorder)
    for trial in (0, 1):
        say_start(recorder, trial)
    for step in (10, 20, 30, 40):
        for trial in (0, 1):
            say_report(recorder, trial, step)
    recorder.record(TrialTagged(1, {"espalier.trunk": "0", "espalier.fork_step": "20"}))
    say_end(recorder, 0)
    say_end(recorder, 1, "FAILED")
    say_close(recorder, folder)


def say_half(recorder: Recorder) -> None:
    """Record two trials up to their second report."""
    say_open(recorder)
    for trial in (0, 1):
        say_start(recorder, trial)
    for step in (10, 20):
        for trial in (0, 1):
            say_report(recorder, trial, step)
    recorder.flush()


def files_of(client: MlflowClient, run: str, folder: str | None = None) -> list[str]:
    found = []
    for item in client.list_artifacts(run, folder):
        found += files_of(client, run, item.path) if item.is_dir else [item.path]
    return sorted(found)


def recorded(uri: str, name: str = "warm") -> dict[str, Any]:
    """Return all that a store has of the sweep, by trial; a run that is there twice is an error."""
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return {}
    found: dict[str, Any] = {}
    for run in client.search_runs([experiment.experiment_id], f"tags.`{SWEEP_TAG}` = '{SWEEP}'"):
        key = run.data.tags.get(TRIAL_TAG, "parent")
        assert key not in found, f"trial {key} has two runs"
        history = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
        found[key] = {
            "status": run.info.status,
            "name": run.info.run_name,
            "ended": run.info.end_time is not None,
            "params": dict(run.data.params),
            "tags": {name: value for name, value in run.data.tags.items() if name.startswith("espalier.")},
            "metrics": {name: sorted((m.step, m.value) for m in points) for name, points in history.items()},
            "files": files_of(client, run.info.run_id),
            "data": [each.dataset.digest for each in run.inputs.dataset_inputs],
            "views": [tag for tag in experiment.tags if tag.endswith(SWEEP)],
        }
    return found


EXPECTED_CURVE = {
    "valid_loss": [(step, 1.0 + step) for step in (10, 20, 30, 40)],
    "train_loss": [(5, 3.0), (10, 2.0), (15, 3.0), (20, 2.0), (25, 3.0), (30, 2.0), (35, 3.0), (40, 2.0)],
}


def assert_everything(found: dict[str, Any]) -> None:
    """Hold a store to what `say_everything` said."""
    assert set(found) == {"parent", "0", "1"}
    assert {key: run["status"] for key, run in found.items()} == {"parent": "FINISHED", "0": "FINISHED", "1": "FAILED"}
    assert all(run["ended"] for run in found.values())
    assert found["0"]["metrics"] == EXPECTED_CURVE
    assert found["1"]["metrics"]["valid_loss"] == EXPECTED_CURVE["valid_loss"]
    assert found["1"]["tags"]["espalier.trunk"] == "0"
    assert found["parent"]["metrics"] == {"trials": [(0, 2.0)]}
    assert found["parent"]["files"] == ["figures/exponent.png", "spec.yaml", "trials.csv"]
    assert found["0"]["files"] == [STORY]
    assert (found["parent"]["data"], len(found["parent"]["views"])) == (["d1"], 1)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def mlflow_server(home: Path, port: int) -> Iterator[None]:
    """A real server on a store, which answers when the block begins and is gone after it."""
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    place = ["--backend-store-uri", default_uri(home), "--artifacts-destination", (home / "served").as_uri()]
    address = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command = [sys.executable, "-m", "mlflow", "server", *place, *address]
    with open(home / "server.log", "ab") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        for _ in range(600):
            assert server.poll() is None, (home / "server.log").read_text()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        yield
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)
