"""Scripts that log to MLflow by themselves: what they log are their results, in the trial's one run."""

import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from espalier.core.foreign.cohort import ProcessCohort
from espalier.core.foreign.folder import Assignment
from espalier.core.foreign.launch import CommandLauncher, FunctionLauncher, environment
from espalier.core.foreign.results import NotYet
from espalier.core.training.events import Ended, Event
from espalier.sweeps.recording.names import BEST_TAG, TRIAL_TAG
from espalier.sweeps.recording.records import SweepClosed, TrialEnded, TrialReported, TrialStarted
from espalier.sweeps.recording.runs import Target
from espalier.sweeps.recording.tracking_uri import default_uri
from espalier.sweeps.recording.trial_runs import TrialRuns
from tests.core.foreign.made import assignment, cohort
from tests.ports import free_port
from tests.sweeps.faulty import faulty, the_first
from tests.sweeps.recording.saying import SWEEP, mlflow_server, recorder_at, say_open

DESCENT = """
    import sys
    import mlflow

    lr = float(sys.argv[sys.argv.index("--lr") + 1])
    with mlflow.start_run():
        mlflow.log_params({"lr": f"{lr:.3f}", "seed": 42})
        x = 1.0
        for step in range(1, 41):
            x -= lr * x
            if step % 10 == 0:
                mlflow.log_metric("train_loss", abs(x), step=step)
                mlflow.log_metrics({"valid_loss": x * x, "accuracy": 0.5}, step=step)
"""
ITS_DATA = """
        import numpy
        mlflow.log_input(mlflow.data.from_numpy(numpy.ones((3, 2)), name="mine"))
"""
UNSTEPPED = """
    import mlflow

    mlflow.log_metric("valid_loss", 3.0)
    mlflow.log_metric("valid_loss", 2.0)
"""
ENDLESS = """
    import time
    import mlflow

    with mlflow.start_run():
        mlflow.log_metric("valid_loss", 1.0, step=10)
        mlflow.log_metric("valid_loss", 2.0, step=20)
        time.sleep(600)
"""
REPEATED = """
    import mlflow

    for value in (3.0, 2.0, 1.0):
        mlflow.log_metric("valid_loss", value, step=40)
"""
FUNCTION = """
    import mlflow

    def train(config, report):
        for step in (10, 20):
            mlflow.log_metric("valid_loss", config.lr * step, step=step)
"""
AFTERWARDS = """
    import mlflow

    with mlflow.start_run():
        mlflow.log_metric("valid_loss", 3.0, step=10)
        with mlflow.start_run(nested=True):
            mlflow.log_metric("fold_loss", 7.0, step=10)
    mlflow.log_metric("valid_loss", 1.0, step=40)
"""
ELSEWHERE = """
    import mlflow

    mlflow.set_experiment("mine")
    mlflow.log_metric("valid_loss", 1.0, step=10)
"""


def runs_at(uri: str) -> TrialRuns:
    return TrialRuns(Target(uri, SWEEP, "warm", shared=True))


def scripted(folder: Path, source: str, runs: TrialRuns, *trials: Assignment) -> ProcessCohort:
    """Return the cohort of trials of a script that logs to MLflow."""
    (folder / "script.py").write_text(textwrap.dedent(source))
    command = [sys.executable, "script.py", "${args}"]
    launcher = CommandLauncher(command, str(folder), {**environment(), **runs.environment}, 5.0)
    return cohort(folder, launcher, trials or [assignment("3/0")], lambda: None, attach=runs.attach)


def ends(events: Sequence[Event]) -> list[Ended]:
    return [event for event in events if isinstance(event, Ended)]


def all_runs(uri: str, experiment: str = "warm") -> list[Run]:
    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    assert found
    return list(client.search_runs([found.experiment_id]))


def test_what_a_script_logs_are_its_reports_in_a_run_that_the_recorder_completes(home: Path, tmp_path: Path) -> None:
    recorder = recorder_at(home, shared=True)
    say_open(recorder)
    (end,) = ends(list(scripted(tmp_path, DESCENT + ITS_DATA, runs_at(default_uri(home))).train()))
    assert (end.status, end.step) == ("complete", 40)
    assert [step for step, _ in end.reports] == [step for step, _ in end.curve] == [10, 20, 30, 40]
    assert end.reports[0][1] == pytest.approx({"valid_loss": 0.9**20, "train_loss": 0.9**10, "accuracy": 0.5})
    recorder.record(TrialStarted(3, "a name", {}, {"espalier.status": "running"}))
    recorder.record(TrialReported(3, 40, []))
    recorder.record(TrialStarted(3, "a name", {"lr": 0.1, "seed": 0, "hidden": 7}, {}))
    recorder.record(TrialEnded(3, "a name", 40, {"espalier.status": "complete"}, {}, "FAILED"))
    recorder.record(SweepClosed({}, {BEST_TAG: 3}, {}, [], "FINISHED"))
    assert recorder.close({3})
    assert not recorder.spool.refusals()
    run, parent = sorted(all_runs(default_uri(home)), key=lambda run: run.info.run_name == SWEEP)
    assert run.info.run_name == "a name" and run.info.status == "FAILED"
    assert run.data.params == {"lr": "0.100", "seed": "42", "hidden": "7"}
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    (its,) = run.inputs.dataset_inputs
    sweeps = {each.dataset.name: each.dataset for each in parent.inputs.dataset_inputs}
    assert its.dataset.name == "mine" and its.dataset.digest and sweeps["mine"] == its.dataset
    assert {*sweeps} == {"mine", "warm"}  # and that with which the sweep began
    history = MlflowClient(default_uri(home)).get_metric_history(run.info.run_id, "valid_loss")
    assert sorted(point.step for point in history) == [10, 20, 30, 40]


@pytest.mark.slow
def test_a_trial_that_trains_again_has_the_same_run_and_new_results(home: Path, tmp_path: Path) -> None:
    for lr in (0.1, 0.1):
        (end,) = ends(
            list(scripted(tmp_path, DESCENT, runs_at(default_uri(home)), assignment("3/0", {"lr": lr})).train())
        )
        assert [step for step, _ in end.reports] == [10, 20, 30, 40]
        (tmp_path / "trials" / "3-0" / "end.json").unlink()
    assert len(all_runs(default_uri(home))) == 1


@pytest.mark.slow
def test_values_without_steps_are_counted(home: Path, tmp_path: Path) -> None:
    (end,) = ends(list(scripted(tmp_path, UNSTEPPED, runs_at(default_uri(home))).train()))
    assert list(end.reports) == [(0, {"valid_loss": 3.0}), (1, {"valid_loss": 2.0})]


@pytest.mark.slow
def test_a_step_that_is_logged_twice_counts_once_and_is_named(home: Path, tmp_path: Path) -> None:
    trials = scripted(tmp_path, REPEATED, runs_at(default_uri(home)))
    (end,) = ends(list(trials.train()))
    assert end.status == "complete" and end.reports[-1] == (40, {"valid_loss": 1.0})
    (note,) = trials.take_notes()
    assert "valid_loss was logged more than once at step 40" in note


@pytest.mark.slow
def test_a_script_is_stopped_by_a_signal(home: Path, tmp_path: Path) -> None:
    trials = scripted(tmp_path, ENDLESS, runs_at(default_uri(home)))
    events: list[Event] = []
    while not trials.done:
        events += trials.turn()
        if any(event.step == 10 for event in events):
            trials.stop("3/0", "it is behind")
    (end,) = ends(events)
    assert (end.status, end.evidence) == ("stopped", "it is behind")


@pytest.mark.slow
@pytest.mark.parametrize("later", ["", ", synchronous=False"])
def test_a_function_is_told_its_run_and_what_it_logs_at_last_arrives(home: Path, tmp_path: Path, later: str) -> None:
    runs = runs_at(default_uri(home))
    source = FUNCTION.replace(", step=step", f", step=step{later}").replace("(10, 20)", "range(10, 60)")
    (tmp_path / "train.py").write_text(textwrap.dedent(source))
    env = {**environment(), **runs.environment}
    launcher = FunctionLauncher(f"{tmp_path / 'train.py'}:train", str(tmp_path), env, 5.0, forks=True)
    trials = cohort(tmp_path, launcher, [assignment("3/0")], lambda: None, attach=runs.attach)
    (end,) = ends(list(trials.train()))
    launcher.close()
    assert end.status == "complete" and end.reports[-1] == (59, pytest.approx({"valid_loss": 5.9}))


@pytest.mark.slow
def test_a_script_with_an_experiment_of_its_own_fails_with_the_words_of_mlflow(home: Path, tmp_path: Path) -> None:
    (end,) = ends(list(scripted(tmp_path, ELSEWHERE, runs_at(default_uri(home))).train()))
    assert end.status == "failed" and "experiment" in end.evidence


@pytest.mark.slow
def test_a_script_may_name_the_experiment_of_its_sweep(home: Path, tmp_path: Path) -> None:
    (end,) = ends(list(scripted(tmp_path, ELSEWHERE.replace("mine", "warm"), runs_at(default_uri(home))).train()))
    assert end.status == "complete", end.evidence


@pytest.mark.slow
def test_what_is_logged_after_the_run_has_ended_is_moved_into_it(home: Path, tmp_path: Path) -> None:
    (end,) = ends(list(scripted(tmp_path, AFTERWARDS, runs_at(default_uri(home))).train()))
    assert (10, {"valid_loss": 3.0}) in list(end.reports) and end.reports[-1][1]["valid_loss"] == 1.0
    (run,) = [run for run in all_runs(default_uri(home)) if TRIAL_TAG in run.data.tags]
    (nested,) = [each for each in all_runs(default_uri(home)) if "fold_loss" in each.data.metrics]
    assert nested.data.tags["mlflow.parentRunId"] == run.info.run_id  # which the script nests by itself
    assert run.data.metrics == {"valid_loss": 1.0} and len(all_runs(default_uri(home))) == 2


def test_a_trial_waits_for_a_server_that_does_not_answer(tmp_path: Path) -> None:
    runs = runs_at(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(NotYet):
        runs.attach(assignment("3/0"))
    trials = scripted(tmp_path, DESCENT, runs)
    assert trials.turn() == [] and not trials.done


def test_comparisons_log_into_runs_of_their_own(home: Path) -> None:
    runs = runs_at(default_uri(home))
    readers = [runs.attach(assignment("whole")) for _ in range(2)]
    assert len({reader.run_id for reader in readers}) == len(all_runs(default_uri(home), "warm-checks")) == 2


@pytest.mark.slow
def test_a_trial_survives_a_server_that_is_away_for_some_seconds(home: Path, tmp_path: Path) -> None:
    port = free_port()
    slowly = DESCENT.replace("x -= lr * x", "x -= lr * x; __import__('time').sleep(0.2)")
    trials = scripted(tmp_path, slowly, runs_at(f"http://127.0.0.1:{port}"))
    events: list[Event] = []
    with mlflow_server(home, port):
        while not any(event.step == 10 for event in events):
            events += trials.turn()
    begin = time.monotonic()
    while time.monotonic() - begin < 5:
        events += trials.turn()
    assert not ends(events)
    with mlflow_server(home, port):
        events += trials.train()
    (end,) = ends(events)
    assert end.status == "complete" and [step for step, _ in end.reports] == [10, 20, 30, 40]


@pytest.mark.slow
def test_lost_answers_cost_no_run_and_no_result(server: str, tmp_path: Path) -> None:
    with faulty(server, the_first("runs/create", "answer")) as (address, met):
        runs = TrialRuns(Target(address, "lost-1", "lost", shared=True))
        (end,) = ends(list(scripted(tmp_path, DESCENT, runs).train()))
    assert met["answer"] == 1 and end.status == "complete"
    assert len(all_runs(server, "lost")) == 1
