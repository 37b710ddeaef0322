"""Whatever breaks on the way, what is said arrives once in the end, and what could not be sent waits."""

import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED
from mlflow.tracking import MlflowClient

from espalier.sweeps.recording.names import TRIAL_TAG
from espalier.sweeps.recording.recorder import Recorder
from espalier.sweeps.recording.records import TrialTagged
from espalier.sweeps.recording.sender import SendPolicy
from espalier.sweeps.recording.stories import read_trial
from espalier.sweeps.recording.tracking_uri import default_uri
from tests.sweeps.faulty import faulty
from tests.sweeps.recording.saying import (
    SWEEP,
    assert_everything,
    free_port,
    mlflow_server,
    new_home,
    recorded,
    recorder_at,
    say_close,
    say_end,
    say_everything,
    say_open,
    say_report,
    say_start,
)
from tests.tiers import examples

RARELY = SendPolicy(max_wait_s=1000.0, sending_share=1e-9)  # every pass is too dear to be taken often


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
    recorder = recorder_at(home, policy=RARELY)
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
    assert [line.trial for line in waiting] == [1, 0, 0], "the mark is before the first line that waits"
    shutil.copytree(recorder.spool.path.parent, home / "sweeps" / "copy")
    assert Recorder(default_uri(home), SWEEP, "warm", home / "sweeps" / "copy").close()
    after = recorded(default_uri(home))
    assert after["0"] == seen["0"] and after["1"]["metrics"]["valid_loss"] == [(10, 11.0)]
    assert recorder.close()
    assert recorded(default_uri(home)) == after


def test_who_waits_has_all_sent_that_was_said_by_then_and_not_what_is_said_meanwhile(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_run = MlflowClient.create_run

    def create_and_say(*arguments: Any, **named: Any) -> Run:
        run = create_run(*arguments, **named)
        if trial := run.data.tags.get(TRIAL_TAG):
            say_report(recorder, int(trial), 10)
        return run

    monkeypatch.setattr(MlflowClient, "create_run", create_and_say)
    recorder = recorder_at(home, policy=RARELY)
    say_open(recorder)
    for trial in (0, 1):
        say_start(recorder, trial)
    recorder.flush()
    assert [line.record.op for line in recorder.spool.pending()[0]] == ["report", "report"]
    recorder.flush()
    assert not recorder.spool.pending()[0]
    found = recorded(default_uri(home))
    assert all(found[trial]["metrics"]["valid_loss"] == [(10, 11.0)] for trial in ("0", "1"))
    assert recorder.close()


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


@examples(12)
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


def test_what_cannot_be_written_is_not_marked_as_sent(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def refuse(*arguments: Any, **named: Any) -> Any:
        raise MlflowException("you may not", error_code=PERMISSION_DENIED)

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "create_run", refuse)
        recorder = recorder_at(home, policy=SendPolicy(interval_s=0.1, closing_s=1.0))
        say_everything(recorder, tmp_path)
        assert not recorder.close()
    assert recorder.spool.sent == 0 and "you may not" in str(recorder.trouble)
    assert recorder_at(home).close()
    assert_everything(recorded(default_uri(home)))


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
    recorder.record(TrialTagged(1, {"espalier.trunk": "0", "espalier.fork_step": "20"}))
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


def test_a_sweep_that_ends_waits_a_while_for_a_server_that_is_away(home: Path, server: str) -> None:
    is_away = True
    with (
        faulty(server, lambda method, path: "request" if is_away else None) as (uri, _),
        ThreadPoolExecutor(1) as pool,
    ):
        recorder = recorder_at(home, uri, SendPolicy(interval_s=0.1, closing_s=300.0))
        say_open(recorder)
        say_end(recorder, 7)
        closing = pool.submit(recorder.close, (), 300.0)
        while recorder.trouble is None:  # it has been tried in vain
            assert not closing.done()
            time.sleep(0.05)
        is_away = False
        assert closing.result()
    assert recorded(server)["7"]["status"] == "FINISHED"


def test_while_the_server_is_down_saying_returns_and_closing_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = recorder_at(
        tmp_path, f"http://127.0.0.1:{free_port()}", policy=SendPolicy(interval_s=0.1, closing_s=1.0)
    )
    say_everything(recorder, tmp_path)
    recorder.flush()
    assert recorder.trouble
    assert "\n" not in recorder.trouble
    assert not recorder.close()
    assert len(recorder.spool.pending()[0]) == 15
