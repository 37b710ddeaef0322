"""The command on sweeps that are unknown, damaged, lost, of another version, or diverged."""

import json
import math
import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow.tracking import MlflowClient

from espalier.sweeps.recording.tracking_uri import default_uri
from espalier.sweeps.results.parent_run import ParentRun
from espalier.sweeps.search.store import SweepStore
from espalier.sweeps.spec.spec import load_spec
from tests.sweeps.cli.refusals import Sweep, complaint
from tests.sweeps.made import THERMOMETER, spec_with

pytestmark = pytest.mark.usefixtures("no_ray")


def test_a_sweep_is_shown_as_json_that_any_reader_takes(sweep: Sweep, tmp_path: Path) -> None:
    study = SweepStore.open(str(tmp_path / "home" / "optuna.journal")).create("warm-1-a", spec_with(), {}).study
    trial = study.ask()
    trial.report(math.nan, 10)
    trial.report(2.5, 20)
    (shown,) = json.loads(sweep("show", "warm", "--json").stdout, parse_constant=pytest.fail)["trials"]
    assert shown["reports"] == {"10": None, "20": 2.5}


def test_a_sweep_that_nobody_drives_shows_no_trial_as_running_and_where_it_is_recorded(
    sweep: Sweep, tmp_path: Path
) -> None:
    store = SweepStore.open(str(tmp_path / "home" / "optuna.journal"))
    record = store.create("left-1", spec_with(), {"created": "2026-01-01T00:00:00Z"})
    record.study.ask()
    record.set_parent(ParentRun("3", "c" * 32, "left-2"))
    said = sweep("show", "left-1").stdout
    assert "left-1: interrupted; trials: 1 interrupted, of" in said and "running" not in said
    assert "experiment left-2" in said
    shown = json.loads(sweep("show", "left-1", "--json").stdout)
    assert (shown["states"], shown["experiment"]) == ({"interrupted": 1}, "left-2")
    (row,) = json.loads(sweep("list", "--json").stdout)
    assert row["ended"] == 0


def test_points_are_added_to_a_sweep_and_shown_until_they_have_a_trial(sweep: Sweep, tmp_path: Path) -> None:
    store = SweepStore.open(str(tmp_path / "home" / "optuna.journal"))
    store.create("warm-1-a", spec_with(space={"lr": {"low": 1e-4, "high": 0.1, "log": True}}), {"created": "2026"})
    said = sweep("enqueue", "warm", "{lr: 0.001}", "{lr: 1e-2}").stdout
    assert said.startswith("added 2 points to warm-1-a; it takes them when it goes on: sweep resume warm-1-a")
    assert "added    2 points without a trial" in sweep("show", "warm").stdout
    assert "point 1.lr: 5 lies outside 0.0001 ... 0.1" in complaint(sweep("enqueue", "warm", "{lr: 5}"))
    assert "point 2, line 2, column 1: not valid YAML" in complaint(sweep("enqueue", "warm", "{lr: 0.01}", "{lr"))
    assert "unknown sweep 'cold'" in complaint(sweep("enqueue", "cold", "{lr: 0.01}"))
    assert "--from: warm-1-a has no complete trial" in complaint(sweep("enqueue", "warm", "--from", "warm"))


def test_a_sweep_that_another_version_wrote_hides_no_other(sweep: Sweep, tmp_path: Path) -> None:
    store = SweepStore.open(str(tmp_path / "home" / "optuna.journal"))
    for name in ("old-1-a", "warm-1-a"):
        study = store.create(name, spec_with(), {}).study
        if name == "old-1-a":
            study.set_user_attr("spec", study.user_attrs["spec"] | {"replicates": 1001, "colour": "red"})
    rows = {row["sweep"]: row for row in json.loads(sweep("list", "--json").stdout)}
    assert (rows["old-1-a"]["state"], rows["warm-1-a"]["state"]) == ("unreadable", "interrupted")
    assert "sweep show old-1-a" in sweep("list").stdout
    for command in ("show", "best", "resume"):
        result = sweep(command, "old-1-a")
        assert result.exit_code == 2
        assert "old-1-a: another version wrote its spec: replicates: " in result.stderr
        assert "colour" in result.stderr


@pytest.mark.parametrize("command", ["show", "best", "resume"])
def test_an_unknown_sweep_is_refused(sweep: Sweep, command: str) -> None:
    said = complaint(sweep(command, "names"))
    assert "unknown sweep 'names'" in said
    assert "none here" in said


@pytest.mark.parametrize("command", ["show", "best", "resume"])
def test_an_unknown_sweep_is_refused_with_the_nearest(sweep: Sweep, command: str, small_sweep: Any) -> None:
    said = complaint(sweep(command, "smal", "--home", str(small_sweep.home)))
    assert "unknown sweep 'smal'; did you mean 'small'" in said


@pytest.mark.parametrize("trial", [99, -1])
def test_a_trial_that_is_not_there_is_refused(sweep: Sweep, small_sweep: Any, trial: int) -> None:
    said = complaint(sweep("best", "small", "--trial", str(trial), "--home", str(small_sweep.home)))
    assert f"--trial {trial}" in said


@pytest.mark.slow
def test_a_sweep_whose_trials_all_diverge_says_so_and_suggests_lower_exponents(
    in_process: Any, sweep: Sweep, tmp_path: Path
) -> None:
    fields = dict(THERMOMETER) | {"space": {"lr_exponent": {"low": 1, "high": 3}}, "schedule": "constant", "trials": 4}
    Path("s.yaml").write_text(yaml.safe_dump(fields | {"budget": {"steps": 50, "batch_size": 11}}))
    ran = in_process("run", "s.yaml", "--home", str(tmp_path / "home"), folder=tmp_path)
    said = ran.stdout + ran.stderr
    assert ran.returncode == 1
    assert "Traceback" not in said
    assert "4 diverged" in said
    assert "every trial diverged: search lower exponents" in said
    suggestion = re.search(r"--set (\S+='[^']*')", said)
    assert suggestion
    space = load_spec("s.yaml", shlex.split(suggestion[1])).space
    assert space.lr_exponent.low < space.lr_exponent.high <= 3
    (row,) = json.loads(sweep("list", "--json").stdout)
    assert (row["state"], row["ended"], row["best"]) == ("finished", 4, None)
    assert "no complete trial" in complaint(sweep("best", "warm"))
    client = MlflowClient(tracking_uri=default_uri(tmp_path / "home"))
    experiment = client.get_experiment_by_name("warm")
    assert experiment
    statuses = Counter(run.info.status for run in client.search_runs([experiment.experiment_id]))
    assert statuses == {"FINISHED": 1, "FAILED": 4}


@pytest.mark.parametrize("damage", ["gone", "empty", "zeros"])
def test_sweeps_whose_journal_is_lost_are_listed_and_their_ids_are_not_taken_again(
    damage: str, sweep: Sweep, tmp_path: Path
) -> None:
    folder = tmp_path / "home" / "sweeps" / "tiny-1"
    folder.mkdir(parents=True)
    (folder / "spool.jsonl").write_text('{"op": "pause", "time": 1}\n')
    journal = tmp_path / "home" / "optuna.journal"
    if damage != "gone":
        journal.write_bytes(b"" if damage == "empty" else b"\0" * 999)
    assert re.search(r"tiny-1 +lost +why: sweep show tiny-1", sweep("list").stdout)
    for command in ("show", "best", "resume"):
        said = complaint(sweep(command, "tiny-1"))
        assert f"tiny-1: {journal} does not know it" in said and str(folder) in said
    Path("s.yaml").write_text(yaml.safe_dump(dict(THERMOMETER)))
    said = complaint(sweep("run", "s.yaml", "--id", "tiny-1"))
    assert f"--id tiny-1: {folder} has the records of a sweep" in said and "give another id" in said
    assert (folder / "spool.jsonl").read_text().startswith('{"op"')


WARNS = """
import os, sys, warnings
from espalier.sweeps.cli import process
def main(**_):
    warnings.warn("old", FutureWarning)
    print(os.environ.get("PYTHONWARNINGS"), file=sys.stderr)

process.main = main
process.command()
"""


@pytest.mark.parametrize(
    ("wish", "passed_on"),
    [("error", None), ("e::FutureWarning,ignore::ImportWarning", "ignore::ImportWarning"), ("always", "always")],
)
def test_warnings_that_would_be_raised_are_shown(wish: str, passed_on: str | None) -> None:
    """Ray and MLflow warn: with PYTHONWARNINGS=error Ray's processes do not start, and nothing is recorded."""
    done = subprocess.run(
        [sys.executable, "-c", WARNS], env=os.environ | {"PYTHONWARNINGS": wish}, capture_output=True, text=True
    )
    assert done.returncode == 0 and "FutureWarning: old" in done.stderr, done.stderr
    assert done.stderr.splitlines()[-1] == str(passed_on)
