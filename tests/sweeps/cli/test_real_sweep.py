"""What a real sweep leaves behind, as the commands show it."""

import csv
import io
import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow.tracking import MlflowClient
from PIL import Image

from espalier.sweeps.recording.names import STORY
from espalier.sweeps.recording.tracking_uri import default_uri
from espalier.sweeps.spec.yaml12 import read as parse_yaml
from tests.sweeps.cli.refusals import Sweep, complaint
from tests.sweeps.cli.stored import runs_of, trials_of
from tests.sweeps.made import read_best

pytestmark = pytest.mark.usefixtures("no_ray")


@pytest.mark.early
def test_json_is_one_document_on_stdout_and_the_display_is_on_stderr(small_sweep: Any) -> None:
    assert small_sweep.said.stdout.count("\n") == 1
    document = small_sweep.document
    assert {"sweep", "trials", "best", "seconds", "lane_steps", "steps_shared"} <= set(document)
    assert set(document["best"]) == {"trial", "params", "valid_loss"}
    assert re.fullmatch(r"small-\d{8}-[0-9a-f]{4}", document["sweep"])
    assert document["trials"] == 9
    assert document["recorded"] is True
    assert document["interrupted"] is False
    assert small_sweep.id in small_sweep.said.stderr
    parent, _ = runs_of(small_sweep)  # a line of the display comes five times a second: a sweep may end before
    assert parent.data.tags["espalier.program"].startswith("vmap (many lanes")
    assert "Traceback" not in small_sweep.said.stderr
    assert "Warning" not in small_sweep.said.stderr
    assert "recording waits" not in small_sweep.said.stderr


def test_the_commands_that_come_next_are_said(small_sweep: Any) -> None:
    said = small_sweep.said.stderr
    assert f"sweep ui --home {small_sweep.home}" in said
    assert f"&viewStateShareKey={small_sweep.id}" in said
    assert f"sweep report {small_sweep.id} --home {small_sweep.home} --open" in said
    assert f"sweep best {small_sweep.id} --home {small_sweep.home} > best.yaml" in said
    assert "sweep rerun best.yaml" in said


def test_some_trials_diverge_and_the_sweep_goes_on(small_sweep: Any) -> None:
    assert small_sweep.document["states"] == {"complete": 6, "diverged": 3}
    for trial in trials_of(small_sweep):
        diverged = trial.params["lr_exponent"] == 38
        assert trial.state.name == ("FAIL" if diverged else "COMPLETE")
        assert trial.user_attrs["status"] == ("diverged" if diverged else "complete")
        assert (trial.user_attrs["verdict"] == "diverged") is diverged


def test_every_trial_is_in_optuna_and_in_mlflow_once_and_none_is_running(small_sweep: Any) -> None:
    parent, children = runs_of(small_sweep)
    trials = trials_of(small_sweep)
    assert [trial.number for trial in trials] == list(range(9)) == sorted(children)
    assert len({tuple(sorted(trial.params.items())) for trial in trials}) == 9
    assert parent.info.status == "FINISHED"
    for trial in trials:
        child = children[trial.number]
        assert child.info.status == ("FINISHED" if trial.state.name == "COMPLETE" else "FAILED")
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert child.data.tags["espalier.status"] == trial.user_attrs["status"]
        assert trial.user_attrs["mlflow_run"] == child.info.run_id
        assert float(child.data.params["lr_exponent"]) == trial.params["lr_exponent"]


def test_the_steps_that_trunks_share_are_trained_once(small_sweep: Any) -> None:
    document = small_sweep.document
    assert document["steps_shared"] > 0
    assert document["lane_steps"] + document["steps_shared"] >= 6 * 60  # and the few steps of those that diverged
    assert document["lane_steps"] < 6 * 60


def test_a_child_has_the_values_of_its_trial_at_every_report(small_sweep: Any) -> None:
    client = MlflowClient(tracking_uri=default_uri(small_sweep.home))
    _, children = runs_of(small_sweep)
    for trial in trials_of(small_sweep):
        run = children[trial.number].info.run_id
        history = {point.step: point.value for point in client.get_metric_history(run, "valid_loss")}
        assert history == trial.intermediate_values
        if trial.state.name == "COMPLETE":
            assert sorted(history) == [12, 24, 36, 48, 60]
            assert children[trial.number].data.metrics["valid_loss"] == trial.value
            curve = [point.step for point in client.get_metric_history(run, "train_loss")]
            assert len(curve) == len(set(curve)) > 10
            assert client.get_metric_history(run, "update_ratio")
        assert STORY in [item.path for item in client.list_artifacts(run)]


def test_the_parent_has_the_table_the_best_file_the_spec_and_the_figures(small_sweep: Any, tmp_path: Path) -> None:
    client = MlflowClient(tracking_uri=default_uri(small_sweep.home))
    parent, _ = runs_of(small_sweep)
    place = Path(client.download_artifacts(parent.info.run_id, "", str(tmp_path)))
    assert parse_yaml((place / "spec.yaml").read_text(), "s")["name"] == "small"
    table = list(csv.DictReader(io.StringIO((place / "trials.csv").read_text())))
    assert [(int(row["trial"]), row["state"]) for row in table] == [
        (trial.number, trial.user_attrs["status"]) for trial in trials_of(small_sweep)
    ]
    assert read_best(str(place / "best.yaml"))[0].trial == small_sweep.document["best"]["trial"]
    assert small_sweep.id in (place / "report.html").read_text()
    for figure in ("valley.png", "map.png", "curves.png", "ratios.png"):
        with Image.open(place / "figures" / figure) as image:
            assert image.format == "PNG"
            assert image.width >= 600
    assert parent.data.tags["espalier.best_trial"] == str(small_sweep.document["best"]["trial"])
    for name in ("espalier.data", "espalier.code", "espalier.version.torch", "espalier.version.python"):
        assert parent.data.tags[name]
    assert parent.data.metrics["best_valid_loss"] == small_sweep.document["best"]["valid_loss"]


def test_the_best_is_the_best_of_the_trials(small_sweep: Any) -> None:
    best = small_sweep.document["best"]
    complete = {trial.number: trial.value for trial in trials_of(small_sweep) if trial.value is not None}
    assert best["valid_loss"] == min(complete.values()) == complete[best["trial"]]


def test_list_and_show_tell_of_the_sweep(sweep: Sweep, small_sweep: Any) -> None:
    home = ("--home", str(small_sweep.home))
    (row,) = json.loads(sweep("list", "--json", *home).stdout)
    assert (row["sweep"], row["state"], row["ended"], row["wanted"]) == (small_sweep.id, "finished", 9, 9)
    assert row["best_trial"] == small_sweep.document["best"]["trial"]
    assert small_sweep.id in sweep("list", *home).stdout
    for name in ("small", small_sweep.id):
        shown = json.loads(sweep("show", name, "--json", *home).stdout)
        assert shown["best"] == small_sweep.document["best"]
        assert shown["states"] == {"complete": 6, "diverged": 3}
        assert len(shown["trials"]) == 9
    said = sweep("show", "small", *home).stdout
    assert f"{small_sweep.id}: finished" in said
    assert default_uri(small_sweep.home) in said
    assert said.count("diverged") > 3
    assert len(sweep("show", "small", "--top", "2", *home).stdout.splitlines()) < len(said.splitlines())


def test_a_home_comes_from_the_option_or_the_environment(
    sweep: Sweep, small_sweep: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert small_sweep.id not in sweep("list").stdout
    monkeypatch.setenv("SWEEP_HOME", str(small_sweep.home))
    assert small_sweep.id in sweep("list").stdout


def test_the_best_configuration_reruns_to_the_same_number(sweep: Sweep, small_sweep: Any) -> None:
    pulled = sweep("best", "small", "--home", str(small_sweep.home))
    assert pulled.exit_code == 0
    Path("best.yaml").write_text(pulled.stdout)
    result = sweep("rerun", "best.yaml")
    assert result.exit_code == 0
    assert result.stdout == f"reproduced: valid_loss {small_sweep.document['best']['valid_loss']:.5f}, bit for bit\n"


def test_any_complete_trial_reruns_to_the_same_number(sweep: Sweep, small_sweep: Any) -> None:
    worst = max((t for t in trials_of(small_sweep) if t.value is not None), key=lambda t: t.value)
    pulled = sweep("best", "small", "--trial", str(worst.number), "--home", str(small_sweep.home))
    Path("best.yaml").write_text(pulled.stdout)
    assert f"reproduced: valid_loss {worst.value:.5f}, bit for bit" in sweep("rerun", "best.yaml").stdout


def test_a_rerun_that_differs_says_where_and_what_is_different_around_it(sweep: Sweep, small_sweep: Any) -> None:
    pulled = yaml.safe_load(sweep("best", "small", "--home", str(small_sweep.home)).stdout)
    pulled["reports"][0][2][1]["valid_loss"] += 1e-6
    pulled["made_with"] |= {"torch": "1.13.0", "data": "0123456789abcdef"}
    Path("best.yaml").write_text(yaml.safe_dump(pulled))
    result = sweep("rerun", "best.yaml")
    assert result.exit_code == 1
    assert "not reproduced: step 36: valid_loss is" in result.stdout
    assert "torch: 1.13.0 then" in result.stdout
    assert "data: 0123456789abcdef then" in result.stdout


def test_a_diverged_trial_cannot_be_pulled(sweep: Sweep, small_sweep: Any) -> None:
    diverged = next(t.number for t in trials_of(small_sweep) if t.value is None)
    said = complaint(sweep("best", "small", "--trial", str(diverged), "--home", str(small_sweep.home)))
    assert f"--trial {diverged}" in said
    assert "complete" in said


def test_resuming_a_sweep_that_has_ended_changes_nothing(sweep: Sweep, small_sweep: Any, tmp_path: Path) -> None:
    copied = type(small_sweep)(tmp_path / "copy", small_sweep.spec_file, small_sweep.said)
    shutil.copytree(small_sweep.home, copied.home)
    client = MlflowClient(tracking_uri=default_uri(copied.home))

    def everything() -> Any:
        parent, children = runs_of(copied)
        runs = {"parent": parent} | children
        counts = {
            key: {name: len(client.get_metric_history(run.info.run_id, name)) for name in run.data.metrics}
            for key, run in runs.items()
        }
        return {key: (run.info.status, run.data.metrics) for key, run in runs.items()}, counts

    before = everything()
    result = sweep("resume", "small", "--json", "--home", str(copied.home))
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert (document["trials"], document["best"]) == (9, small_sweep.document["best"])
    assert everything() == before
    assert Counter(trial.state.name for trial in trials_of(copied)) == {"COMPLETE": 6, "FAIL": 3}
