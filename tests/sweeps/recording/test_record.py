"""The MLflow sink against real stores: what is said arrives, once, in the end, whatever breaks on the way."""

import base64
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED
from mlflow.tracking import MlflowClient

from espalier.core.errors import BadInput
from espalier.sweeps.recording.record import (
    STORY,
    SWEEP_TAG,
    TRIAL_TAG,
    Recorder,
    begins,
    check_reachable,
    default_uri,
    read_trial,
    record_once,
    tracking_of,
)
from espalier.sweeps.recording.spool import Spool
from tests.sweeps.answering import Quiet, serving

SWEEP = "warm-20260101-abcd"
POINT = {"lr_exponent": -2.0, "decay_points": [0.5, 0.75], "kind": "relu", "seed": 0}


@pytest.fixture
def home(tmp_path: Path, empty_store: Path) -> Path:
    """A home whose store has its tables."""
    return new_home(tmp_path / "home", empty_store)


def new_home(folder: Path, empty_store: Path) -> Path:
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    return folder


def recorder_at(home: Path, uri: str | None = None, **more: Any) -> Recorder:
    return Recorder(uri or default_uri(home), SWEEP, "warm", home / "sweeps" / SWEEP, **more)


# --- what a sweep says ------------------------------------------------------------------------------------------------


def say_open(recorder: Recorder) -> None:
    tags = {"espalier.data": "d1", "espalier.created": "2026-01-01"}
    params = {"task": "espalier.core.tasks.thermometer:Thermometer", "steps": 40}
    recorder.say("open", name=SWEEP, tags=tags, params=params, texts={"spec.yaml": "name: warm\n"})


def say_start(recorder: Recorder, trial: int) -> None:
    tags = {"espalier.status": "running"}
    recorder.say("start", trial=trial, name=f"trial {trial}", params=POINT, tags=tags)


def say_report(recorder: Recorder, trial: int, step: int) -> None:
    curve = [("train_loss", step - 5, 3.0 + trial), ("train_loss", step, 2.0 + trial)]
    recorder.say("report", trial=trial, step=step, points=[("valid_loss", step, 1.0 + step), *curve])


def say_end(recorder: Recorder, trial: int, status: str = "FINISHED") -> None:
    tags = {"espalier.status": "complete", "espalier.verdict": "healthy", "espalier.evidence": "all is well"}
    story = {"trial": trial, "program": "vmap", "device": "cpu", "members": [{"reports": [[40, {"valid_loss": 1.5}]]}]}
    said = {"tags": tags, "texts": {STORY: json.dumps(story)}}
    recorder.say("end", trial=trial, name=f"trial {trial}", step=40, status=status, **said)


def say_close(recorder: Recorder, folder: Path) -> None:
    figure = folder / "exponent.png"
    figure.write_bytes(b"a figure")
    said = {"values": {"trials": 2.0}, "tags": {"espalier.best_trial": 0}, "texts": {"trials.csv": "trial\n0\n"}}
    recorder.say("close", **said, files=[str(figure), str(folder / "was never drawn.png")], status="FINISHED")


def say_everything(recorder: Recorder, folder: Path) -> None:
    """Say what a sweep of two trials says, the second a branch of the first."""
    say_open(recorder)
    for trial in (0, 1):
        say_start(recorder, trial)
    for step in (10, 20, 30, 40):
        for trial in (0, 1):
            say_report(recorder, trial, step)
    recorder.say("tag", trial=1, tags={"espalier.trunk": "0", "espalier.fork_step": "20"})
    say_end(recorder, 0)
    say_end(recorder, 1, "FAILED")
    say_close(recorder, folder)


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


# --- what arrives -----------------------------------------------------------------------------------------------------


def test_everything_that_was_said_arrives(home: Path, tmp_path: Path) -> None:
    recorder = recorder_at(home)
    say_everything(recorder, tmp_path)
    assert recorder.close()
    assert_everything(recorded(default_uri(home)))


def test_every_run_is_found_by_its_identity(home: Path, tmp_path: Path) -> None:
    recorder = recorder_at(home)
    say_everything(recorder, tmp_path)
    assert recorder.close()
    client = MlflowClient(tracking_uri=default_uri(home))
    (experiment,) = [e.experiment_id for e in client.search_experiments() if e.name == "warm"]
    (child,) = client.search_runs([experiment], f"tags.`{SWEEP_TAG}` = '{SWEEP}' and tags.`{TRIAL_TAG}` = '1'")
    (parent,) = client.search_runs([experiment], f"tags.mlflow.runName = '{SWEEP}'")
    assert TRIAL_TAG not in parent.data.tags
    assert parent.data.tags[SWEEP_TAG] == SWEEP
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.info.run_name == "trial 1"


def test_the_configuration_of_a_trial_reads_back_from_its_params(home: Path) -> None:
    recorder = recorder_at(home)
    say_start(recorder, 0)
    assert recorder.close()
    params = recorded(default_uri(home))["0"]["params"]
    assert params.pop("kind") == "relu"
    assert {name: json.loads(text) for name, text in params.items()} == {k: v for k, v in POINT.items() if k != "kind"}


def test_many_params_and_many_points_are_no_trouble(home: Path) -> None:
    recorder = recorder_at(home)
    params = {f"option_{n}": n for n in range(230)}
    recorder.say("start", trial=0, name="trial 0", params=params, tags={})
    recorder.say("report", trial=0, step=5000, points=[("train_loss", step, 1.0 / (step + 1)) for step in range(2500)])
    assert recorder.close()
    run = recorded(default_uri(home))["0"]
    assert len(run["params"]) == 230
    assert run["metrics"]["train_loss"] == [(step, 1.0 / (step + 1)) for step in range(2500)]


def test_the_run_of_a_trial_is_told_to_whoever_asked(home: Path) -> None:
    told: list[tuple[int, str]] = []
    recorder = recorder_at(home, on_run=lambda trial, run: told.append((trial, run)))
    for trial in (0, 1):
        say_start(recorder, trial)
    assert recorder.close()
    client = MlflowClient(tracking_uri=default_uri(home))
    assert [(trial, client.get_run(run).data.tags[TRIAL_TAG]) for trial, run in told] == [(0, "0"), (1, "1")]


def test_values_that_are_not_finite_are_left_out(home: Path) -> None:
    recorder = recorder_at(home)
    say_start(recorder, 0)
    points = [("valid_loss", 10, math.nan), ("valid_loss", 20, 2.0), ("train_loss", 20, math.inf)]
    recorder.say("report", trial=0, step=20, points=points)
    recorder.say("end", trial=0, name="trial 0", step=20, tags={}, texts={}, status="FAILED")
    recorder.say("close", values={"best": math.inf, "trials": 1.0}, tags={}, texts={}, files=[], status="FINISHED")
    assert recorder.close()
    found = recorded(default_uri(home))
    assert found["0"]["metrics"] == {"valid_loss": [(20, 2.0)]}
    assert found["parent"]["metrics"] == {"trials": [(0, 1.0)]}


def test_the_last_values_that_an_older_version_spooled_are_no_metrics_of_their_own(home: Path) -> None:
    recorder = recorder_at(home)
    say_start(recorder, 0)
    values = {"final_valid_loss": 1.5}
    recorder.say("end", trial=0, name="trial 0", step=20, values=values, tags={}, texts={}, status="FINISHED")
    assert recorder.close()
    assert recorded(default_uri(home))["0"]["metrics"] == {}


def test_a_trial_that_ends_before_it_was_seen_to_start_has_a_run(home: Path) -> None:
    recorder = recorder_at(home)
    say_open(recorder)
    say_end(recorder, 7, "FAILED")
    assert recorder.close()
    assert recorded(default_uri(home))["7"]["status"] == "FAILED"


def test_two_sweeps_of_one_name_share_an_experiment_and_nothing_else(home: Path, tmp_path: Path) -> None:
    for sweep in (SWEEP, "warm-20260102-0000"):
        recorder = Recorder(default_uri(home), sweep, "warm", home / "sweeps" / sweep)
        say_everything(recorder, tmp_path)
        assert recorder.close()
    client = MlflowClient(tracking_uri=default_uri(home))
    assert [e.name for e in client.search_experiments()].count("warm") == 1
    assert_everything(recorded(default_uri(home)))


# --- nothing twice ----------------------------------------------------------------------------------------------------


def test_a_spool_that_is_sent_again_changes_nothing(home: Path, tmp_path: Path) -> None:
    recorder = recorder_at(home)
    say_everything(recorder, tmp_path)
    assert recorder.close()
    before = recorded(default_uri(home))
    recorder.spool.mark.unlink()
    assert recorder_at(home).close()
    assert recorded(default_uri(home)) == before
    assert_everything(before)


@pytest.mark.parametrize("sent", range(0, 15, 3))
def test_a_process_that_dies_between_sending_and_noting_so_sends_nothing_twice(
    sent: int, home: Path, tmp_path: Path
) -> None:
    recorder = recorder_at(home)
    say_everything(recorder, tmp_path)
    assert recorder.close()
    lines = recorder.spool.path.read_bytes().splitlines(keepends=True)
    recorder.spool.mark.write_text(str(sum(map(len, lines[:sent]))))
    assert recorder_at(home).close()
    assert_everything(recorded(default_uri(home)))


def test_a_trial_that_has_ended_is_recorded_while_another_waits_and_a_crash_then_loses_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("espalier.sweeps.recording.record.SEND_LATEST_S", 1000.0)
    monkeypatch.setattr(
        "espalier.sweeps.recording.record.SENDING_SHARE", 1e-9
    )  # so that every pass is too dear to be taken often
    recorder = recorder_at(home)
    say_open(recorder)
    for trial in (0, 1):
        say_start(recorder, trial)
    recorder.flush()
    for trial in (1, 0):
        say_report(recorder, trial, 10)
    say_end(recorder, 0)
    until = time.monotonic() + 60
    while recorded(default_uri(home))["0"]["status"] != "FINISHED" and time.monotonic() < until:
        time.sleep(0.1)
    seen, waiting = recorded(default_uri(home)), recorder.spool.pending()[0]
    assert seen["0"]["status"] == "FINISHED" and "valid_loss" not in seen["1"]["metrics"]
    assert [line["trial"] for line in waiting] == [1, 0, 0], "the mark is before the first line that waits"
    shutil.copytree(recorder.spool.path.parent, home / "sweeps" / "copy")
    assert Recorder(default_uri(home), SWEEP, "warm", home / "sweeps" / "copy").close()
    after = recorded(default_uri(home))
    assert after["0"] == seen["0"] and after["1"]["metrics"]["valid_loss"] == [(10, 11.0)]
    assert recorder.close()
    assert recorded(default_uri(home)) == after


def test_who_waits_has_all_sent_that_was_said_by_then_and_not_what_is_said_meanwhile(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("espalier.sweeps.recording.record.SEND_LATEST_S", 1000.0)
    monkeypatch.setattr("espalier.sweeps.recording.record.SENDING_SHARE", 1e-9)
    recorder = recorder_at(home, on_run=lambda trial, run: say_report(recorder, trial, 10))
    say_open(recorder)
    for trial in (0, 1):
        say_start(recorder, trial)
    recorder.flush()
    assert [line["op"] for line in recorder.spool.pending()[0]] == ["report", "report"]
    recorder.flush()
    assert not recorder.spool.pending()[0]
    found = recorded(default_uri(home))
    assert all(found[trial]["metrics"]["valid_loss"] == [(10, 11.0)] for trial in ("0", "1"))
    assert recorder.close()


def test_events_that_are_replayed_later_are_recorded_once(home: Path, tmp_path: Path) -> None:
    recorder = recorder_at(home)
    say_everything(recorder, tmp_path)
    assert recorder.close()
    time.sleep(0.01)  # so that what is said again has another time
    again = recorder_at(home)
    say_open(again)
    say_start(again, 0)
    for step in (10, 20, 30, 40):
        say_report(again, 0, step)
    assert again.close()
    found = recorded(default_uri(home))
    assert found["0"]["metrics"] == EXPECTED_CURVE
    assert set(found) == {"parent", "0", "1"}


def test_an_end_that_is_told_again_is_recorded_once(home: Path, tmp_path: Path) -> None:
    recorder = recorder_at(home)
    say_everything(recorder, tmp_path)
    assert recorder.close()
    time.sleep(0.01)
    again = recorder_at(home)
    say_end(again, 0)
    say_close(again, tmp_path)
    assert again.close()
    assert_everything(recorded(default_uri(home)))


def test_a_trial_that_is_trained_again_from_its_checkpoint_adds_only_what_is_new(home: Path) -> None:
    recorder = recorder_at(home)
    say_open(recorder)
    say_start(recorder, 0)
    for step in (10, 20):
        say_report(recorder, 0, step)
    recorder.say("pause")
    assert recorder.close()
    again = recorder_at(home)
    say_open(again)
    say_start(again, 0)
    for step in (20, 30, 40):
        say_report(again, 0, step)
    say_end(again, 0)
    assert again.close()
    assert recorded(default_uri(home))["0"]["metrics"] == EXPECTED_CURVE


# --- a server that fails ----------------------------------------------------------------------------------------------

CALLS = ("create_run", "log_batch", "log_text", "set_terminated", "update_run", "search_runs", "log_artifact")


@contextmanager
def failing_at(call: int, does_it: bool) -> Iterator[None]:
    """Lose the n-th answer of the server, which has done what was asked or not."""
    count = iter(range(10**6))
    before = {name: getattr(MlflowClient, name) for name in CALLS}

    def frail(name: str) -> Callable[..., Any]:
        def method(*arguments: Any, **named: Any) -> Any:
            fails = next(count) == call
            if fails and not does_it:
                raise ConnectionError("the request was lost")
            answer = before[name](*arguments, **named)
            if fails:
                raise ConnectionError("the answer was lost")
            return answer

        return method

    for name in CALLS:
        setattr(MlflowClient, name, frail(name))
    try:
        yield
    finally:
        for name, method in before.items():
            setattr(MlflowClient, name, method)


@settings(max_examples=12)
@given(st.integers(0, 24), st.booleans())
def test_an_answer_that_is_lost_loses_nothing_and_doubles_nothing(
    tmp_path_factory: pytest.TempPathFactory, empty_store: Path, call: int, does_it: bool
) -> None:
    folder = tmp_path_factory.mktemp("lost")
    home = new_home(folder / "home", empty_store)
    with failing_at(call, does_it):
        recorder = recorder_at(home)
        say_everything(recorder, folder)
        recorder.flush()  # in trouble, if the lost answer was one of these
        assert recorder.close()
    assert_everything(recorded(default_uri(home)))


def test_a_record_that_mlflow_refuses_does_not_hold_up_the_rest_and_is_not_taken_for_recorded(
    home: Path, tmp_path: Path
) -> None:
    recorder = recorder_at(home)
    say_open(recorder)
    say_start(recorder, 0)
    recorder.say("report", trial=0, step=5, points=[("valid_accuracy@5", 5, 0.5)])  # MLflow takes no @ in a name
    for step in (10, 20, 30, 40):
        say_report(recorder, 0, step)
    recorder.say("tag", trial=0, tags={"x" * 300: "a name too long"})
    say_end(recorder, 0)
    assert not recorder.close()
    assert recorded(default_uri(home))["0"]["metrics"].items() >= EXPECTED_CURVE.items()
    (refusal,) = recorder.spool.refusals()
    assert refusal["trial"] == "0" and refusal["what"].startswith("tag xxx")
    assert any(str(recorder.spool.refused) in note for note in recorder.notes)
    again = recorder_at(home)
    assert not again.close() and len(again.spool.refusals()) == 1


def say_half(recorder: Recorder) -> None:
    """Record two trials up to their second report."""
    say_open(recorder)
    for trial in (0, 1):
        say_start(recorder, trial)
    for step in (10, 20):
        for trial in (0, 1):
            say_report(recorder, trial, step)
    recorder.flush()


def test_a_run_that_somebody_deleted_while_its_trial_trained_is_recorded_again_whole(
    home: Path, tmp_path: Path
) -> None:
    recorder = recorder_at(home)
    say_half(recorder)
    client = MlflowClient(tracking_uri=default_uri(home))
    experiment = client.get_experiment_by_name("warm")
    assert experiment
    (run,) = client.search_runs([experiment.experiment_id], f"tags.`{TRIAL_TAG}` = '1'")
    client.delete_run(run.info.run_id)
    for step in (30, 40):
        for trial in (0, 1):
            say_report(recorder, trial, step)
    recorder.say("tag", trial=1, tags={"espalier.trunk": "0", "espalier.fork_step": "20"})
    say_end(recorder, 1, "FAILED")
    say_end(recorder, 0)
    say_close(recorder, tmp_path)
    assert recorder.close()
    assert_everything(recorded(default_uri(home)))


@pytest.mark.parametrize("when", ["before", "while it runs", "while it runs, and its name again"])
def test_a_deleted_experiment_has_its_place_taken_by_another_and_nothing_is_lost(
    when: str, home: Path, tmp_path: Path
) -> None:
    client = MlflowClient(tracking_uri=default_uri(home))
    names = ["warm", "warm-2"] if when.endswith("again") else ["warm"]
    if when == "before":
        client.delete_experiment(client.create_experiment("warm"))
    recorder, told = recorder_at(home), []
    recorder.on_parent = lambda *of_the_sweep: told.append(of_the_sweep)
    say_open(recorder)
    for trial in (0, 1):
        say_start(recorder, trial)
    for step in (10, 20, 30, 40):
        for trial in (0, 1):
            say_report(recorder, trial, step)
        if step < 30:
            recorder.send_until(lambda: not recorder.spool.pending(1)[0], 30.0)
            while recorder.spool.pending(1)[0]:  # it was in trouble
                time.sleep(0.05)
        if when != "before" and names and step in (10, 20):
            experiment = client.get_experiment_by_name(names.pop(0))
            assert experiment
            client.delete_experiment(experiment.experiment_id)
    recorder.say("tag", trial=1, tags={"espalier.trunk": "0", "espalier.fork_step": "20"})
    say_end(recorder, 0)
    say_end(recorder, 1, "FAILED")
    say_close(recorder, tmp_path)
    assert recorder.close()
    place = "warm-3" if when.endswith("again") else "warm-2"
    assert_everything(recorded(default_uri(home), place))
    assert any(f"recorded in experiment {place}" in note for note in recorder.notes)
    assert told[-1][2] == place
    assert read_trial(default_uri(home), SWEEP, 1)["program"] == "vmap"
    assert recorder_at(home).close()  # and a resume goes on there
    assert_everything(recorded(default_uri(home), place))


def runs_anywhere(uri: str) -> list[Run]:
    """Return the sweep's runs in all experiments."""
    client = MlflowClient(tracking_uri=uri)
    places = [experiment.experiment_id for experiment in client.search_experiments()]
    return client.search_runs(places, f"tags.`{SWEEP_TAG}` = '{SWEEP}'")


@pytest.mark.parametrize("when", ["while it runs", "before the end", "before a resume"])
def test_a_deleted_experiment_that_is_restored_leaves_one_run_for_each_trial(
    when: str, home: Path, tmp_path: Path
) -> None:
    client = MlflowClient(tracking_uri=default_uri(home))
    recorder = recorder_at(home)
    say_half(recorder)
    experiment = client.get_experiment_by_name("warm")
    assert experiment
    client.delete_experiment(experiment.experiment_id)
    for step in (30, 40):
        for trial in (0, 1):
            say_report(recorder, trial, step)
        if step == 30:
            recorder.wake()
            while not client.get_experiment_by_name("warm-2") or recorder.spool.pending(1)[0]:  # it was in trouble
                time.sleep(0.05)
        if (when, step) in (("while it runs", 30), ("before the end", 40)):
            client.restore_experiment(experiment.experiment_id)
    recorder.say("tag", trial=1, tags={"espalier.trunk": "0", "espalier.fork_step": "20"})
    say_end(recorder, 0)
    say_end(recorder, 1, "FAILED")
    say_close(recorder, tmp_path)
    assert recorder.close()
    if when == "before a resume":
        client.restore_experiment(experiment.experiment_id)
    again = recorder_at(home, place=recorder.place)
    assert again.close()
    assert len(runs_anywhere(default_uri(home))) == 3
    assert_everything(recorded(default_uri(home), "warm-2"))
    assert any("recorded in experiment warm-2" in note for note in again.notes)


@pytest.mark.parametrize("taken", [False, True], ids=["renamed", "renamed, its name taken by another"])
def test_an_experiment_that_was_renamed_keeps_its_sweep(taken: bool, home: Path, tmp_path: Path) -> None:
    client = MlflowClient(tracking_uri=default_uri(home))
    recorder = recorder_at(home)
    say_everything(recorder, tmp_path)
    assert recorder.close() and recorder.place
    client.rename_experiment(recorder.place, "cold")
    if taken:
        client.create_experiment("warm")
    again = recorder_at(home, place=recorder.place)
    assert again.close()
    assert len(runs_anywhere(default_uri(home))) == 3
    assert_everything(recorded(default_uri(home), "cold"))
    assert again.notes == ["recorded in experiment cold, not in warm: the sweep's runs are there"]


def test_an_experiment_of_another_server_that_has_the_same_id_gets_no_runs(home: Path, tmp_path: Path) -> None:
    client = MlflowClient(tracking_uri=default_uri(home))
    other = client.create_experiment("other")
    for place in (other, "98765"):
        recorder = recorder_at(home, place=place)
        say_everything(recorder, tmp_path)
        assert recorder.close()
        assert_everything(recorded(default_uri(home)))
        assert len(runs_anywhere(default_uri(home))) == 3


def test_what_cannot_be_written_is_not_marked_as_sent(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("espalier.sweeps.recording.record.CLOSING_S", 1.0)

    def refuse(*arguments: Any, **named: Any) -> Any:
        raise MlflowException("you may not", error_code=PERMISSION_DENIED)

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "create_run", refuse)
        recorder = recorder_at(home)
        say_everything(recorder, tmp_path)
        assert not recorder.close()
    assert recorder.spool.sent == 0 and "you may not" in str(recorder.trouble)
    assert recorder_at(home).close()
    assert_everything(recorded(default_uri(home)))


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


@pytest.mark.slow
def test_what_is_said_while_the_server_is_down_arrives_when_it_is_up(home: Path, tmp_path: Path) -> None:
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    recorder = recorder_at(home, uri)
    say_open(recorder)
    for trial in (0, 1):
        say_start(recorder, trial)
    recorder.flush()
    assert recorder.trouble
    with mlflow_server(home, port):
        for step in (10, 20):
            for trial in (0, 1):
                say_report(recorder, trial, step)
        settle(recorder)
        assert recorded(uri)["0"]["metrics"]["valid_loss"] == [(10, 11.0), (20, 21.0)]
    for step in (30, 40):
        for trial in (0, 1):
            say_report(recorder, trial, step)
    recorder.say("tag", trial=1, tags={"espalier.trunk": "0", "espalier.fork_step": "20"})
    say_end(recorder, 0)
    say_end(recorder, 1, "FAILED")
    recorder.flush()
    assert recorder.trouble
    with mlflow_server(home, port):
        say_close(recorder, tmp_path)
        settle(recorder)
        assert recorder.close()
        assert_everything(recorded(uri))
        assert read_trial(uri, SWEEP, 1)["program"] == "vmap"


def settle(recorder: Recorder) -> None:
    """Let the recorder notice that its server is back."""
    for _ in range(300):
        recorder.wake()
        if not recorder.spool.pending(1)[0]:
            return
        time.sleep(0.1)


def test_a_sweep_that_ends_waits_a_while_for_a_server_that_is_away(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("espalier.sweeps.recording.record.CLOSING_S", 300.0)
    port = free_port()
    recorder = recorder_at(home, f"http://127.0.0.1:{port}")
    say_open(recorder)
    say_end(recorder, 7)
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(recorder.close, 300.0)
        while recorder.trouble is None:  # it has been tried in vain
            assert not closing.done()
            time.sleep(0.05)
        with mlflow_server(home, port):
            assert closing.result()
            assert recorded(f"http://127.0.0.1:{port}")["7"]["status"] == "FINISHED"


def test_while_the_server_is_down_saying_returns_and_closing_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("espalier.sweeps.recording.record.CLOSING_S", 1.0)
    recorder = recorder_at(tmp_path, f"http://127.0.0.1:{free_port()}")
    say_everything(recorder, tmp_path)
    recorder.flush()
    assert recorder.trouble
    assert "\n" not in recorder.trouble
    assert not recorder.close()
    assert len(recorder.spool.pending()[0]) == 15


MAKE = """
import sys
from pathlib import Path
from espalier.sweeps.recording.record import Recorder
recorder = Recorder(sys.argv[1], "warm", "warm", Path(sys.argv[2]))
recorder.say("open", name="warm", tags={}, params={}, texts={})
print(recorder.close(300.0))
"""


def test_a_store_whose_making_was_killed_is_made_anew(tmp_path: Path) -> None:
    """MLflow's tables take seconds to make; half of them cannot be opened again."""
    home = tmp_path / "home"
    home.mkdir()
    command = [sys.executable, "-c", MAKE, default_uri(home), str(home / "sweeps")]
    unmade = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}  # else there is one to copy
    process = subprocess.Popen(command, env=unmade, stdout=subprocess.PIPE, text=True, start_new_session=True)
    part = home / "mlflow.db.part"
    while not (part.exists() and part.stat().st_size > 100_000):
        assert process.poll() is None
        time.sleep(0.002)
    process.kill()
    process.communicate()
    assert not (home / "mlflow.db").exists()
    done = subprocess.run(command, env=unmade, stdout=subprocess.PIPE, text=True, timeout=300)
    assert done.stdout == "True\n"
    assert not part.exists()
    (experiment,) = [e for e in MlflowClient(tracking_uri=default_uri(home)).search_experiments() if e.name == "warm"]
    assert experiment.artifact_location == (home / "mlartifacts" / "warm").as_uri()


def test_a_new_store_is_a_copy_of_an_empty_one_made_in_the_same_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's experiment "Default" has its artifacts below the directory where its store was made."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    asked = []
    search = MlflowClient.search_experiments
    monkeypatch.setattr(MlflowClient, "search_experiments", lambda self: asked.append(self) or search(self))
    for number, (folder, made) in enumerate([("here", 1), ("here", 1), ("there", 2)]):
        (tmp_path / folder).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / folder)
        home = tmp_path / f"home{number}"
        home.mkdir()
        record_once(default_uri(home), "tests", "one", {}, {"loss": [(1, 2.0)]}, {}, [])
        assert len(asked) == made
        found = {e.name: e.artifact_location for e in search(MlflowClient(tracking_uri=default_uri(home)))}
        assert found.keys() == {"Default", "tests"}
        assert Path(urlsplit(found["Default"]).path).is_relative_to(tmp_path / folder)
        assert len(MlflowClient(tracking_uri=default_uri(home)).search_runs(["1"])) == 1
    assert len(list((tmp_path / "cache/espalier/mlflow").glob("*.db"))) == 2


# --- interrupted ------------------------------------------------------------------------------------------------------


def test_a_pause_leaves_no_run_running_and_a_start_takes_it_up_again(home: Path) -> None:
    recorder = recorder_at(home)
    say_open(recorder)
    for trial in (0, 1, 2):
        say_start(recorder, trial)
    say_end(recorder, 0)
    recorder.say("pause")
    assert recorder.close()
    found = recorded(default_uri(home))
    statuses = {"parent": "KILLED", "0": "FINISHED", "1": "KILLED", "2": "KILLED"}
    assert {key: run["status"] for key, run in found.items()} == statuses
    assert all(run["ended"] for run in found.values())

    again = recorder_at(home)
    say_open(again)
    say_start(again, 1)
    again.flush()
    statuses |= {"parent": "RUNNING", "1": "RUNNING"}
    assert {key: run["status"] for key, run in recorded(default_uri(home)).items()} == statuses
    assert again.close()


def test_a_line_that_a_crash_tore_is_cut_off(home: Path, tmp_path: Path) -> None:
    recorder = recorder_at(home)
    say_open(recorder)
    say_start(recorder, 0)
    assert recorder.close()
    with open(recorder.spool.path, "ab") as file:
        file.write(b'{"op": "end", "time": 17, "trial": 0, "na')
    again = recorder_at(home)
    say_end(again, 0)
    assert again.close()
    assert recorded(default_uri(home))["0"]["status"] == "FINISHED"
    lines = again.spool.path.read_bytes().splitlines()
    assert [json.loads(line)["op"] for line in lines] == ["open", "start", "end"]


@contextmanager
def spool_in(folder: Path) -> Iterator[Spool]:
    spool = Spool(folder)
    try:
        yield spool
    finally:
        spool._file.close()


def tag_line(trial: int) -> dict[str, Any]:
    return {"op": "tag", "time": 1, "trial": trial, "tags": {}}


def test_a_spool_keeps_what_was_said_in_order_and_what_was_sent(tmp_path: Path) -> None:
    with spool_in(tmp_path) as spool:
        for n in range(7):
            spool.append(tag_line(n))
        lines, place = spool.pending(3)
        assert [line["trial"] for line in lines] == [0, 1, 2]
        spool.done(place)
    with spool_in(tmp_path) as again:
        assert [line["trial"] for line in again.pending()[0]] == [3, 4, 5, 6]
        assert [line["trial"] for line in again.said("tag")] == list(range(7))


@given(st.binary(max_size=40))
def test_whatever_a_crash_leaves_at_the_end_of_a_spool_the_lines_before_it_are_read(
    tmp_path_factory: pytest.TempPathFactory, rest: bytes
) -> None:
    folder = tmp_path_factory.mktemp("torn")
    with spool_in(folder) as spool:
        spool.append(tag_line(1))
    with open(folder / "spool.jsonl", "ab") as file:
        file.write(rest.replace(b"\n", b"."))
    with spool_in(folder) as spool:
        spool.append(tag_line(2))
        assert [line["trial"] for line in spool.pending()[0]] == [1, 2]


def test_a_full_spool_drops_points_but_no_start_and_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("espalier.sweeps.recording.spool.MOST_BYTES", 1000)
    with spool_in(tmp_path) as spool:
        for step in range(100):
            spool.append({"op": "report", "time": 1, "trial": 0, "step": step, "points": [["loss", step, 1.0]]})
        end = {"name": "trial 0", "step": 100, "tags": {}, "texts": {}, "status": "FINISHED"}
        spool.append({"op": "end", "time": 1, "trial": 0} | end)
        kept = [line["op"] for line in spool.pending()[0]]
    assert kept[-1] == "end"
    assert 0 < kept.count("report") < 100
    assert spool.dropped == 100 - kept.count("report")


# --- reading ----------------------------------------------------------------------------------------------------------


def test_the_story_of_a_trial_reads_back(home: Path, tmp_path: Path) -> None:
    recorder = recorder_at(home)
    say_everything(recorder, tmp_path)
    from_spool = recorder.stories([0, 1])
    assert recorder.close()
    assert read_trial(default_uri(home), SWEEP, 1) == from_spool[1]
    assert from_spool[0]["members"] == [{"reports": [[40, {"valid_loss": 1.5}]]}]


def test_a_story_whose_spool_is_gone_comes_from_mlflow(home: Path, tmp_path: Path) -> None:
    recorder = recorder_at(home)
    say_everything(recorder, tmp_path)
    assert recorder.close()
    shutil.rmtree(recorder.spool.path.parent)
    again = recorder_at(home)
    assert again.stories([1])[1]["program"] == "vmap"
    assert again.close()


def test_a_trial_that_is_not_recorded_is_refused_by_name(home: Path) -> None:
    with pytest.raises(BadInput, match=f"trial 5 of {SWEEP} has no run in sqlite:///"):
        read_trial(default_uri(home), SWEEP, 5)
    recorder = recorder_at(home)
    say_start(recorder, 5)
    assert recorder.close()
    with pytest.raises(BadInput, match=f"trial 5 of {SWEEP} has no artifact {STORY}"):
        read_trial(default_uri(home), SWEEP, 5)


# --- reachable --------------------------------------------------------------------------------------------------------


def test_the_store_of_a_home_is_reachable(tmp_path: Path) -> None:
    check_reachable(default_uri(tmp_path))


@contextmanager
def answering(status: int | None) -> Iterator[str]:
    """A server that gives every request one answer; None: one that is no HTTP."""

    class Handler(Quiet):
        def do_GET(self) -> None:
            if status is None:
                self.wfile.write(b"hello, this is not HTTP\r\n\r\n")
            else:
                self.send_response(status)
                self.end_headers()

    with serving(Handler) as uri:
        yield uri


def test_a_server_that_answers_is_reachable() -> None:
    with answering(200) as uri:
        check_reachable(uri)
        check_reachable(uri + "/")


@pytest.mark.parametrize("status", [404, 500, None])
def test_a_server_that_is_no_mlflow_is_refused(status: int | None) -> None:
    with answering(status) as uri, pytest.raises(BadInput, match=f"tracking_uri: {uri} does not answer"):
        check_reachable(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:1",
        "http://nowhere.invalid:5000",
        "http://",
        "http://[",
        "http://127.0.0.1:port",
        "https://127.0.0.1:99999",
        "htp://127.0.0.1:5000",
        "127.0.0.1:5000",
        "localhost",
        "",
        "sqlite:////nowhere/at/all/mlflow.db",
        "postgresql://nobody@127.0.0.1:1/nothing",
    ],
)
def test_an_unreachable_address_is_refused_with_what_would_work(uri: str) -> None:
    with pytest.raises(BadInput) as refused:
        check_reachable(uri)
    said = str(refused.value)
    assert said.startswith("tracking_uri:")
    assert uri in said
    assert "\n" not in said


@contextmanager
def asking_for_a_login(password: str) -> Iterator[str]:
    """A server whose health everybody may ask for, and all else who logs in as joe with this password."""

    class Handler(Quiet):
        def do_GET(self) -> None:
            known = "Basic " + base64.b64encode(f"joe:{password}".encode()).decode()
            self.send_response(200 if self.path == "/health" or self.headers["Authorization"] == known else 401)
            self.end_headers()

    with serving(Handler) as uri:
        yield uri


def test_a_server_that_asks_for_a_login_lets_in_who_has_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with asking_for_a_login("s%e:cret") as uri:
        check_reachable(uri.replace("://", "://joe:s%25e%3Acret@"))
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "joe")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s%e:cret")
        check_reachable(uri)
        monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
        (tmp_path / ".mlflow").mkdir()
        (tmp_path / ".mlflow" / "credentials").write_text("[mlflow]\nmlflow_tracking_password = s%e:cret\n")
        check_reachable(uri)


@pytest.mark.parametrize("user", ["joe", None])
def test_a_refused_login_says_which_variables_to_set(
    user: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    if user:
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", user)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong-one")
    with asking_for_a_login("secret") as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(BadInput) as refused:
            check_reachable(uri)
    who = "the login" if user else "a visitor without a login"
    ask = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    assert str(refused.value) == f"MLFLOW_TRACKING_URI: {uri} refuses {who} (401); {ask}"


def test_a_record_goes_where_the_spec_says_else_where_the_environment_does_else_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = default_uri(tmp_path), "http://there:5000"
    assert tracking_of(None, tmp_path) == here
    monkeypatch.setenv("MLFLOW_TRACKING_URI", there)
    assert tracking_of(None, tmp_path) == there
    assert tracking_of("http://spec:5000", tmp_path) == "http://spec:5000"


def test_a_sweep_stays_where_its_record_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_home = begins(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://there:5000")
    at_a_server = begins(tmp_path)
    assert tracking_of(None, tmp_path, at_home) == default_uri(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5999")  # the same one by another name
    assert tracking_of(None, tmp_path, at_a_server) == "http://localhost:5999"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert tracking_of(None, tmp_path, at_a_server) == "http://there:5000"


def test_what_a_sweep_notes_of_a_server_has_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://joe:secret@there:5000")
    assert begins(tmp_path) == "http://joe:***@there:5000"


def test_the_default_store_is_the_one_in_the_home(tmp_path: Path) -> None:
    assert default_uri(tmp_path) == f"sqlite:///{tmp_path / 'mlflow.db'}"
