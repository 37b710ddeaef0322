"""A sweep's runs: one for each trial, found again wherever somebody has moved or deleted them."""

import time
from pathlib import Path

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from espalier.sweeps.recording.names import BIRTH_TAG, SWEEP_TAG, TRIAL_TAG
from espalier.sweeps.recording.recorder import Recorder
from espalier.sweeps.recording.records import SweepPaused, TrialTagged
from espalier.sweeps.recording.stories import read_trial
from espalier.sweeps.recording.tracking_uri import default_uri
from tests.sweeps.recording.saying import (
    SOON,
    SWEEP,
    assert_everything,
    recorded,
    recorder_at,
    say_close,
    say_end,
    say_everything,
    say_half,
    say_open,
    say_report,
    say_start,
)


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


def test_the_run_of_a_trial_is_handed_out_once(home: Path) -> None:
    recorder = recorder_at(home)
    for trial in (0, 1):
        say_start(recorder, trial)
    assert recorder.close()
    links = [(link.trial, link.run) for link in recorder.take_links()]
    assert recorder.take_links() == []
    client = MlflowClient(tracking_uri=default_uri(home))
    assert [(trial, client.get_run(run).data.tags[TRIAL_TAG]) for trial, run in links] == [(0, "0"), (1, "1")]


def test_two_sweeps_of_one_name_share_an_experiment_and_nothing_else(home: Path, tmp_path: Path) -> None:
    for sweep in (SWEEP, "warm-20260102-0000"):
        recorder = Recorder(default_uri(home), sweep, "warm", home / "sweeps" / sweep)
        say_everything(recorder, tmp_path)
        assert recorder.close()
    client = MlflowClient(tracking_uri=default_uri(home))
    assert [e.name for e in client.search_experiments()].count("warm") == 1
    assert_everything(recorded(default_uri(home)))


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
    recorder.record(TrialTagged(1, {"espalier.trunk": "0", "espalier.fork_step": "20"}))
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
    recorder = recorder_at(home)
    say_open(recorder)
    for trial in (0, 1):
        say_start(recorder, trial)
    for step in (10, 20, 30, 40):
        for trial in (0, 1):
            say_report(recorder, trial, step)
        if step < 30:
            recorder.flush()
            while recorder.spool.pending(1)[0]:  # it was in trouble
                time.sleep(0.05)
        if when != "before" and names and step in (10, 20):
            experiment = client.get_experiment_by_name(names.pop(0))
            assert experiment
            client.delete_experiment(experiment.experiment_id)
    recorder.record(TrialTagged(1, {"espalier.trunk": "0", "espalier.fork_step": "20"}))
    say_end(recorder, 0)
    say_end(recorder, 1, "FAILED")
    say_close(recorder, tmp_path)
    assert recorder.close()
    place = "warm-3" if when.endswith("again") else "warm-2"
    assert_everything(recorded(default_uri(home), place))
    assert any(f"recorded in experiment {place}" in note for note in recorder.notes)
    assert recorder.parent and recorder.parent.experiment == place
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
    recorder.record(TrialTagged(1, {"espalier.trunk": "0", "espalier.fork_step": "20"}))
    say_end(recorder, 0)
    say_end(recorder, 1, "FAILED")
    say_close(recorder, tmp_path)
    assert recorder.close()
    if when == "before a resume":
        client.restore_experiment(experiment.experiment_id)
    again = recorder_at(home, experiment_id=recorder.feedback.experiment_id)
    assert again.close()
    assert len(runs_anywhere(default_uri(home))) == 3
    assert_everything(recorded(default_uri(home), "warm-2"))
    assert any("recorded in experiment warm-2" in note for note in again.notes)


@pytest.mark.parametrize("taken", [False, True], ids=["renamed", "renamed, its name taken by another"])
def test_an_experiment_that_was_renamed_keeps_its_sweep(taken: bool, home: Path, tmp_path: Path) -> None:
    client = MlflowClient(tracking_uri=default_uri(home))
    recorder = recorder_at(home)
    say_everything(recorder, tmp_path)
    assert recorder.close() and recorder.feedback.experiment_id
    client.rename_experiment(recorder.feedback.experiment_id, "cold")
    if taken:
        client.create_experiment("warm")
    again = recorder_at(home, experiment_id=recorder.feedback.experiment_id)
    assert again.close()
    assert len(runs_anywhere(default_uri(home))) == 3
    assert_everything(recorded(default_uri(home), "cold"))
    assert again.notes == ["recorded in experiment cold, not in warm: the sweep's runs are there"]


def test_an_experiment_of_another_server_that_has_the_same_id_gets_no_runs(home: Path, tmp_path: Path) -> None:
    client = MlflowClient(tracking_uri=default_uri(home))
    other = client.create_experiment("other")
    for place in (other, "98765"):
        recorder = recorder_at(home, experiment_id=place)
        say_everything(recorder, tmp_path)
        assert recorder.close()
        assert_everything(recorded(default_uri(home)))
        assert len(runs_anywhere(default_uri(home))) == 3


@pytest.mark.parametrize("births", [("", "b2"), ("b1", "b2"), ("b1", "")])
@pytest.mark.parametrize("shared", [False, True])
def test_a_sweep_takes_no_runs_of_an_earlier_one_with_its_id(
    births: tuple[str, str], shared: bool, home: Path, tmp_path: Path
) -> None:
    first = recorder_at(home, birth=births[0], shared=shared)
    say_everything(first, tmp_path)
    assert first.close()
    before = {run.info.run_id: (dict(run.data.tags), run.info.status) for run in runs_anywhere(default_uri(home))}
    later = Recorder(default_uri(home), SWEEP, "warm", tmp_path / "later", SOON, shared=shared, birth=births[1])
    say_open(later)
    say_start(later, 0)
    later.wait_for_runs({0}, 30)
    (link,) = later.take_links()
    assert link.trial == 0 and link.run not in before
    later.record(SweepPaused())
    assert later.close()
    runs = {run.info.run_id: (dict(run.data.tags), run.info.status) for run in runs_anywhere(default_uri(home))}
    assert {run: runs[run] for run in before} == before
    assert {tags.get(BIRTH_TAG, "") for run, (tags, _) in runs.items() if run not in before} == {births[1]}
    again = recorder_at(home, birth=births[0], shared=shared)  # and the earlier one goes on with its own
    assert again.close() and len(runs_anywhere(default_uri(home))) == len(runs) == 5
    assert {link.run for link in again.take_links()} < before.keys()
