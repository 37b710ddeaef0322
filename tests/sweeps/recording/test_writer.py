"""What is said arrives in MLflow, each thing once, within the limits that MLflow has."""

import json
import math
import time
from pathlib import Path

import pytest

from espalier.sweeps.recording.records import (
    SweepClosed,
    SweepPaused,
    TrialEnded,
    TrialReported,
    TrialStarted,
    TrialTagged,
    to_json,
)
from espalier.sweeps.recording.tracking_uri import default_uri
from tests.sweeps.recording.saying import (
    EXPECTED_CURVE,
    POINT,
    assert_everything,
    recorded,
    recorder_at,
    say_close,
    say_end,
    say_everything,
    say_open,
    say_report,
    say_start,
)


def test_everything_that_was_said_arrives(home: Path, tmp_path: Path) -> None:
    recorder = recorder_at(home)
    say_everything(recorder, tmp_path)
    assert recorder.close()
    assert_everything(recorded(default_uri(home)))


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
    recorder.record(TrialStarted(0, "trial 0", params, {}))
    recorder.record(TrialReported(0, 5000, [("train_loss", step, 1.0 / (step + 1)) for step in range(2500)]))
    assert recorder.close()
    run = recorded(default_uri(home))["0"]
    assert len(run["params"]) == 230
    assert run["metrics"]["train_loss"] == [(step, 1.0 / (step + 1)) for step in range(2500)]


def test_values_that_are_not_finite_are_left_out(home: Path) -> None:
    recorder = recorder_at(home)
    say_start(recorder, 0)
    points = [("valid_loss", 10, math.nan), ("valid_loss", 20, 2.0), ("train_loss", 20, math.inf)]
    recorder.record(TrialReported(0, 20, points))
    recorder.record(TrialEnded(0, "trial 0", 20, {}, {}, "FAILED"))
    recorder.record(SweepClosed({"best": math.inf, "trials": 1.0}, {}, {}, [], "FINISHED"))
    assert recorder.close()
    found = recorded(default_uri(home))
    assert found["0"]["metrics"] == {"valid_loss": [(20, 2.0)]}
    assert found["parent"]["metrics"] == {"trials": [(0, 1.0)]}


def test_the_last_values_that_an_older_version_spooled_are_no_metrics_of_their_own(home: Path) -> None:
    recorder = recorder_at(home)
    say_start(recorder, 0)
    end = TrialEnded(0, "trial 0", 20, {}, {}, "FINISHED")
    of_before = json.loads(to_json(end, 1)) | {"values": {"final_valid_loss": 1.5}}
    with open(recorder.spool.path, "a") as file:
        file.write(json.dumps(of_before) + "\n")
    assert recorder.close()
    assert recorded(default_uri(home))["0"]["metrics"] == {}


def test_a_trial_that_ends_before_it_was_seen_to_start_has_a_run(home: Path) -> None:
    recorder = recorder_at(home)
    say_open(recorder)
    say_end(recorder, 7, "FAILED")
    assert recorder.close()
    assert recorded(default_uri(home))["7"]["status"] == "FAILED"


@pytest.mark.parametrize("seen_between", [True, False])
def test_a_trial_is_called_what_it_became(home: Path, seen_between: bool) -> None:
    """A trunk begins without a decay point, and gets one when it goes on as a branch."""
    recorder = recorder_at(home)
    say_open(recorder)
    recorder.record(TrialStarted(3, "0.168 · #3", {"lr_exponent": -0.77}, {}))
    if seen_between:
        recorder.flush()
    recorder.record(TrialStarted(3, "0.168 · decay .83 · #3", {"lr_exponent": -0.77, "decay_point": 0.83}, {}))
    say_end(recorder, 3)
    assert recorder.close()
    assert recorded(default_uri(home))["3"]["name"] == "0.168 · decay .83 · #3"


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
    recorder.record(SweepPaused())
    assert recorder.close()
    again = recorder_at(home)
    say_open(again)
    say_start(again, 0)
    for step in (20, 30, 40):
        say_report(again, 0, step)
    say_end(again, 0)
    assert again.close()
    assert recorded(default_uri(home))["0"]["metrics"] == EXPECTED_CURVE


def test_a_record_that_mlflow_refuses_does_not_hold_up_the_rest_and_is_not_taken_for_recorded(
    home: Path, tmp_path: Path
) -> None:
    recorder = recorder_at(home)
    say_open(recorder)
    say_start(recorder, 0)
    recorder.record(TrialReported(0, 5, [("valid_accuracy@5", 5, 0.5)]))  # MLflow takes no @ in a name
    for step in (10, 20, 30, 40):
        say_report(recorder, 0, step)
    recorder.record(TrialTagged(0, {"x" * 300: "a name too long"}))
    say_end(recorder, 0)
    assert not recorder.close()
    assert recorded(default_uri(home))["0"]["metrics"].items() >= EXPECTED_CURVE.items()
    (refusal,) = recorder.spool.refusals()
    assert refusal["trial"] == "0" and refusal["what"].startswith("tag xxx")
    assert any(str(recorder.spool.refused) in note for note in recorder.notes)
    again = recorder_at(home)
    assert not again.close() and len(again.spool.refusals()) == 1


def test_a_pause_leaves_no_run_running_and_a_start_takes_it_up_again(home: Path) -> None:
    recorder = recorder_at(home)
    say_open(recorder)
    for trial in (0, 1, 2):
        say_start(recorder, trial)
    say_end(recorder, 0)
    recorder.record(SweepPaused())
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
