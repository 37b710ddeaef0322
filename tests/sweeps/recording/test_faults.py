"""Requests and answers are lost before a real MLflow server, for each call that records: nothing is lost or doubled."""

import time
import uuid
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from espalier.sweeps.recording.models import fetch_model, register
from espalier.sweeps.recording.recorder import Recorder
from espalier.sweeps.recording.sender import SendPolicy
from espalier.sweeps.recording.single_run import record_once
from espalier.sweeps.recording.stories import read_trial
from tests.sweeps.faulty import FAULTS, LATE_S, Wrong, a_share, faulty, the_first
from tests.sweeps.recording.saying import (
    SOON,
    SWEEP,
    assert_everything,
    recorded,
    say_close,
    say_end,
    say_everything,
    say_open,
    say_report,
    say_start,
)

CALLS = (
    "experiments/get-by-name",
    "experiments/create",
    "runs/search",
    "runs/create",
    "runs/log-batch",
    "PUT",  # of an artifact
    "runs/update",
)
MODEL_CALLS = (
    "registered-models/search",
    "registered-models/create",
    "model-versions/search",
    "model-versions/create",
    "registered-models/alias",
    "runs/get",
    "PUT",
)
ALWAYS = [("model-versions/create", fault) for fault in ("answer", "late")]
GRAVE = ("runs/create",)


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that gives up before the proxy's late answers, and a store of its own for each test."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "7")  # somebody's shell: not obeyed, or runs would double


def cases(calls: tuple[str, ...]) -> list[object]:
    """Return each call with each fault, the grave ones always, the rest in the long run of tests."""
    return [
        pytest.param(call, fault, marks=() if call in GRAVE else pytest.mark.slow) for call in calls for fault in FAULTS
    ]


def recorded_through(server: str, wrong: Wrong, folder: Path, policy: SendPolicy = SOON) -> tuple[str, bool]:
    """Record a whole sweep in an experiment of its own; return its name, and what the recorder says of it."""
    name = f"warm-{uuid.uuid4().hex[:8]}"
    with faulty(server, wrong) as (uri, met):
        recorder = Recorder(uri, SWEEP, name, folder / name, policy)
        say_everything(recorder, folder)
        recorder.flush()
        complete = recorder.close()
        assert met.total() > met["none"], "nothing went wrong"
    time.sleep(LATE_S if met["late"] else 0)  # whatever comes late has come
    return name, complete


@pytest.mark.parametrize(("call", "fault"), cases(CALLS))
def test_whatever_happens_to_one_call_there_is_one_run_for_each_trial_with_all_that_was_said(
    call: str, fault: str, server: str, tmp_path: Path
) -> None:
    name, complete = recorded_through(server, the_first(call, fault), tmp_path)
    assert complete
    assert_everything(recorded(server, name))


def test_a_server_that_says_at_the_end_that_there_are_no_runs_is_asked_again(server: str, tmp_path: Path) -> None:
    name = f"warm-{uuid.uuid4().hex[:8]}"
    searches = the_first("runs/search", "nothing")
    closing = False
    with faulty(server, lambda method, path: searches(method, path) if closing else None) as (uri, met):
        recorder = Recorder(uri, SWEEP, name, tmp_path / name, SOON)
        say_everything(recorder, tmp_path)
        recorder.flush()
        closing = True
        assert recorder.close()
        assert met["nothing"] == 1
    assert_everything(recorded(server, name))
    assert not recorder.notes


@pytest.mark.parametrize("fault", [pytest.param(fault, marks=pytest.mark.slow) for fault in FAULTS])
def test_a_call_that_goes_wrong_for_a_while_arrives_in_the_end(fault: str, server: str, tmp_path: Path) -> None:
    name, complete = recorded_through(server, the_first("runs/create", fault, times=4), tmp_path)
    assert complete
    assert_everything(recorded(server, name))


# others than late end at once; and `{}` instead of a run stays in a cache of MLflow's own as long as the process lives
AT_ONCE = tuple(fault for fault in FAULTS if fault not in ("late", "nothing"))


@pytest.mark.early
@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 8))])
def test_a_quarter_of_all_requests_goes_wrong_and_sixteen_trials_have_sixteen_runs(
    seed: int, server: str, tmp_path: Path
) -> None:
    name = f"many-{uuid.uuid4().hex[:8]}"
    with faulty(server, a_share(0.25, seed, AT_ONCE)) as (uri, _):
        recorder = Recorder(uri, name, name, tmp_path / "spool", SOON)
        say_open(recorder)
        for trial in range(16):
            say_start(recorder, trial)
        recorder.flush(5.0)
        for trial in range(16):
            for step in (10, 20, 30, 40):
                say_report(recorder, trial, step)
            say_end(recorder, trial)
        say_close(recorder, tmp_path)
        complete = recorder.close()
    client = MlflowClient(tracking_uri=server)
    experiment = client.get_experiment_by_name(name)
    assert experiment
    runs = client.search_runs([experiment.experiment_id])
    assert complete, recorder.trouble
    assert len(runs) == 17
    assert {run.info.status for run in runs} == {"FINISHED"}
    children = {run.data.tags["espalier.trial"]: run for run in runs if "espalier.trial" in run.data.tags}
    assert children.keys() == {str(trial) for trial in range(16)}
    for run in children.values():
        assert len(client.get_metric_history(run.info.run_id, "valid_loss")) == 4
        assert len(client.get_metric_history(run.info.run_id, "train_loss")) == 8
        assert run.data.params and client.list_artifacts(run.info.run_id)


def test_what_could_not_be_recorded_is_said_and_recorded_later(server: str, tmp_path: Path) -> None:
    always = the_first("runs/log-batch", "500", times=10**6)
    name, complete = recorded_through(server, always, tmp_path, SendPolicy(interval_s=0.1, closing_s=1.0))
    assert not complete
    recorder = Recorder(server, SWEEP, name, tmp_path / name, SOON)
    assert recorder.close()
    assert_everything(recorded(server, name))


@pytest.mark.parametrize(
    "fault", [pytest.param(fault, marks=() if fault == "answer" else pytest.mark.slow) for fault in FAULTS]
)
def test_what_is_recorded_at_once_is_one_run(fault: str, server: str) -> None:
    name = f"once-{uuid.uuid4().hex[:8]}"
    with faulty(server, the_first("runs/create", fault)) as (uri, _):
        run = record_once(uri, name, "check", {"espalier.kind": "check"}, {"loss": [(1, 2.0)]}, {"a.txt": "a"}, [])
    time.sleep(LATE_S if fault == "late" else 0)
    client = MlflowClient(tracking_uri=server)
    experiment = client.get_experiment_by_name(name)
    assert experiment
    found = [r.info.run_id for r in client.search_runs([experiment.experiment_id]) if r.info.status == "FINISHED"]
    assert found == [run]
    if fault != "late":  # one that came after the client gave up cannot be told from one that is still to come
        assert len(client.search_runs([experiment.experiment_id])) == 1


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        pytest.param(call, fault, marks=() if (call, fault) in ALWAYS else pytest.mark.slow)
        for call in MODEL_CALLS
        for fault in FAULTS
        if (call, fault) not in {("runs/get", "nothing"), ("PUT", "nothing"), ("PUT", "garbage")}
    ],
)
def test_a_model_that_is_registered_has_one_version(call: str, fault: str, server: str, tmp_path: Path) -> None:
    sweep = f"sweep-{uuid.uuid4().hex[:8]}"
    recorder = Recorder(server, sweep, sweep, tmp_path / "spool", SOON)
    say_open(recorder)
    say_start(recorder, 0)
    say_end(recorder, 0)
    assert recorder.close()
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "weights.pt").write_bytes(b"weights")
    with faulty(server, the_first(call, fault)) as (uri, _):
        version = register(uri, sweep, sweep, 0, tmp_path / "files", {})
    time.sleep(LATE_S if fault == "late" else 0)
    assert register(server, sweep, sweep, 0, tmp_path / "files", {}) == version
    found = MlflowClient(tracking_uri=server).search_model_versions(f"name = '{sweep}'")
    assert [str(v.version) for v in found] == [version]
    (tmp_path / "there").mkdir()
    with faulty(server, the_first("GET", fault)) as (uri, _):
        if fault not in ("nothing", "500", "429", "garbage"):  # the first request there asks for health
            assert fetch_model(uri, sweep, "champion", tmp_path / "there", "")["version"] == version
    assert read_trial(server, sweep, 0)["program"] == "vmap"


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 8))])
def test_a_quarter_of_all_requests_is_lost_and_a_model_goes_there_and_back(
    seed: int, server: str, tmp_path: Path
) -> None:
    sweep = f"sweep-{uuid.uuid4().hex[:8]}"
    (tmp_path / "files").mkdir()
    for name in ("weights.pt", "best.yaml", "weights-2.pt"):
        (tmp_path / "files" / name).write_text(name)
    with faulty(server, a_share(0.25, seed, ("request", "answer"))) as (uri, _):
        recorder = Recorder(uri, sweep, sweep, tmp_path / "spool", SOON)
        say_open(recorder)
        say_start(recorder, 0)
        say_end(recorder, 0)
        recorder.flush()
        assert recorder.close()
        version = register(uri, sweep, sweep, 0, tmp_path / "files", {})
        assert fetch_model(uri, sweep, "champion", tmp_path / "there", "")["version"] == version
        assert {f.name for f in (tmp_path / "there").rglob("*") if f.is_file()} == {
            "weights.pt",
            "best.yaml",
            "weights-2.pt",
        }
        assert read_trial(uri, sweep, 0)
        record_once(uri, sweep, "check", {"espalier.kind": "check"}, {"loss": [(1, 2.0)]}, {"a.txt": "a"}, [])
