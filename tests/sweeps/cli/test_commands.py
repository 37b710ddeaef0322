"""The command, as a person types it: what it says of bad input, its help, and what a real sweep leaves behind."""

import csv
import errno
import io
import json
import math
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import yaml
from click.testing import Result
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from PIL import Image

from espalier.sweeps.best_file import read_best
from espalier.sweeps.cli.app import main
from espalier.sweeps.cohorts import ENGINE
from espalier.sweeps.recording.names import STORY, SWEEP_TAG, TRIAL_TAG
from espalier.sweeps.recording.tracking_uri import default_uri
from espalier.sweeps.results.parent_run import ParentRun
from espalier.sweeps.search.store import SweepStore
from espalier.sweeps.spec.spec import load_spec
from espalier.sweeps.spec.yaml12 import read as parse_yaml
from tests.sweeps.made import THERMOMETER, best_fields, best_text, spec_with

Sweep = Callable[..., Result]
ROOT = Path(__file__).resolve().parents[3]


pytestmark = pytest.mark.usefixtures("no_ray")


def complaint(result: Result) -> str:
    """Return the one message of a command that refused its input."""
    assert result.exit_code == 2, result.output + repr(result.exception)
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    (said,) = [line for line in result.stderr.splitlines() if line.startswith("sweep: ")]
    assert result.stderr.endswith(said + "\n")
    return said


def refused_run(sweep: Sweep, *arguments: str, **changed: Any) -> str:
    """Return why a spec is refused; nothing may have been begun."""
    Path("s.yaml").write_text(yaml.safe_dump(dict(THERMOMETER) | changed))
    said = complaint(sweep("run", "s.yaml", *arguments))
    assert json.loads(sweep("list", "--json").stdout) == []
    return said


# --- bad input: the spec ----------------------------------------------------------------------------------------------


def test_a_missing_file_is_refused(sweep: Sweep) -> None:
    said = complaint(sweep("run", "nowhere.yaml"))
    assert "nowhere.yaml: cannot be read: No such file" in said
    assert "give a sweep's YAML file" in said


def test_invalid_yaml_is_refused_with_its_place(sweep: Sweep) -> None:
    Path("s.yaml").write_text("name: a\ntrials: [1\n")
    assert re.search(r"s\.yaml, line \d+, column \d+: not valid YAML", complaint(sweep("run", "s.yaml")))


FIELDS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "an unknown key": ({"trails": 8}, ["trails", "unknown", "did you mean 'trials'"]),
    "an unknown key within": ({"budget": {"stepz": 8}}, ["budget.stepz", "unknown", "did you mean 'steps'"]),
    "low above high": (
        {"space": {"lr_exponent": {"low": 0, "high": -3}}},
        ["space.lr_exponent", "0", "-3", "must not"],
    ),
    "a late decay point": (
        {"space": {"decay_points": [0.5, 1.5]}},
        ["space.decay_points", "1.5", "less than or equal to 1"],
    ),
    "an early decay point": (
        {"space": {"decay_points": {"low": -0.2, "high": 0.5}}},
        ["space.decay_points.low", "-0.2", "greater than or equal to 0"],
    ),
    "zero trials": ({"trials": 0}, ["trials", "0 arrived", "greater than or equal to 1"]),
    "no trials by word": ({"trials": "none"}, ["trials", "none", "integer"]),
}


@pytest.mark.parametrize(("changed", "words"), FIELDS.values(), ids=FIELDS.keys())
def test_a_wrong_field_is_refused(sweep: Sweep, changed: dict[str, Any], words: list[str]) -> None:
    said = refused_run(sweep, **changed)
    assert all(word in said for word in words), said


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("trials=0", ["trials", "0 arrived"]),
        ("trails=8", ["trails", "did you mean 'trials'"]),
        ("budget.steps", ["--set budget.steps", "FIELD=VALUE"]),
        ("trials=[1", ["--set trials", "not valid YAML"]),
        ("task_options.scael=1", ["task_options.scael", "did you mean 'scale'"]),
        ("task_options.scale=0", ["task_options.scale", "0", "not positive"]),
    ],
)
def test_a_wrong_override_is_refused(sweep: Sweep, assignment: str, words: list[str]) -> None:
    said = refused_run(sweep, "--set", assignment)
    assert all(word in said for word in words), said


def test_an_unknown_hyperparameter_is_refused_with_all_that_are_known(sweep: Sweep) -> None:
    said = refused_run(sweep, space={"lr_exponent": -2, "learning_rate": 0.1})
    assert "unknown hyperparameter 'learning_rate' in space" in said
    assert all(name in said for name in (*ENGINE, "scale"))


@pytest.mark.parametrize(
    "changed",
    [
        {"space": {"lr_exponent": -1, "nothing_of_that_name": [1, 2]}},
        {"task_options": {"nothing_of_that_name": 1}},
        {"task": "nothing_of_that_name:Task"},
        {"watchers": ["nothing_of_that_name:Watcher"]},
    ],
)
def test_what_a_spec_names_is_there_before_a_sweep_is_announced(sweep: Sweep, changed: dict[str, Any]) -> None:
    Path("s.yaml").write_text(yaml.safe_dump(dict(THERMOMETER) | changed))
    refused = sweep("run", "s.yaml")
    assert refused.exit_code == 2 and "nothing_of_that_name" in refused.stderr
    assert [line[:7] for line in refused.stderr.splitlines()] == ["sweep: "]


def test_a_metric_that_the_task_does_not_report_is_refused(sweep: Sweep) -> None:
    said = refused_run(sweep, objective={"metric": "valid_accuracy", "mode": "max"})
    assert "objective.metric" in said
    assert "valid_accuracy" in said
    assert "valid_loss" in said


# --- bad input: the task ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("nowhere_at_all.tasks:Mine", ["nowhere_at_all.tasks", "cannot import", "No module named"]),
        ("espalier.core.tasks.thermometer:Thermomter", ["no class 'Thermomter'", "did you mean 'Thermometer'"]),
        ("core.tasks.thermometer", ["core.tasks.thermometer", "package.module:Class"]),
        ("nowhere.py:Mine", ["no file", "nowhere.py"]),
        ("espalier.core.tasks.thermometer:UNKNOWN", ["no class 'UNKNOWN'"]),
    ],
)
def test_a_task_that_cannot_be_found_is_refused(sweep: Sweep, task: str, words: list[str]) -> None:
    said = refused_run(sweep, task=task)
    assert said.startswith("sweep: task:")
    assert all(word in said for word in words), said


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("class Mine(:\n    pass\n", ["SyntaxError", "cannot import"]),
        ("import nothing_of_that_name\n", ["nothing_of_that_name", "cannot import"]),
        ("1 / 0\n", ["ZeroDivisionError", "cannot import"]),
        ("", ["no class 'Mine'"]),
    ],
)
def test_a_task_file_that_does_not_run_is_refused(sweep: Sweep, source: str, words: list[str]) -> None:
    Path("mine.py").write_text(source)
    said = refused_run(sweep, task="mine.py:Mine")
    assert said.startswith("sweep: task:")
    assert all(word in said for word in words), said


WHOLE = """
import torch
from torch import nn
from espalier.core.task import Data, Task


class Mine(Task):
    def model(self):
        return nn.Linear(2, 3)

    def loss(self, model, batch):
        x, y = batch
        return nn.functional.cross_entropy(model(x), y)

    def data(self):
        x, y = torch.randn(20, 2, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 3
        return Data((x, y), (x[:5], y[:5]))
"""

MODEL, LOSS, DATA = "nn.Linear(2, 3)", "nn.functional.cross_entropy(model(x), y)", "Data((x, y), (x[:5], y[:5]))"
TASKS: dict[str, tuple[str, str, list[str]]] = {
    "a class without loss()": ("def loss", "def lose", ["no loss()", "model(), loss() and data()"]),
    "a class without model()": ("def model", "def modle", ["no model()", "model(), loss() and data()"]),
    "a class without data()": ("def data", "def date", ["no data()", "model(), loss() and data()"]),
    "parameters cut off from the loss": (LOSS, f"{LOSS}.detach()", ["no parameter would ever change", "detach"]),
    "parameters times zero": (LOSS, f"{LOSS} * 0", ["no parameter would ever change"]),
    "a loss of the data alone": (LOSS, "x.mean()", ["no parameter would ever change"]),
    "frozen parameters": (MODEL, f"{MODEL}.requires_grad_(False)", ["no parameter", "gradient"]),
    "no parameters": (MODEL, "nn.ReLU()", ["no parameter"]),
    "a model that is none": (MODEL, '"a model"', ["model() returned str", "torch.nn.Module"]),
    "a model that cannot be made": (MODEL, "nn.Linear(2, -3)", ["model()", "RuntimeError"]),
    "a model of no size yet": (MODEL, "nn.LazyLinear(3)", ["parameters without a shape", "write the sizes"]),
    "a loss of each example": (LOSS, LOSS.replace("y)", "y, reduction='none')"), ["shape", "one number"]),
    "a loss that cannot be computed": (LOSS, "model(y)", ["loss", "cannot be computed"]),
    "no data": (DATA, "Data((x[:0], y[:0]), (x, y))", ["training split is empty", "at least one"]),
    "no validation data": (DATA, "Data((x, y), (x[:0], y[:0]))", ["validation split is empty", "at least one"]),
    "data of one class": (DATA, "Data((x, y * 0), (x, y))", ["one class", "at least two"]),
    "tensors that disagree": (DATA, "Data((x, y[:7]), (x, y))", ["training split", "[7, 20]", "must agree"]),
    "data of another kind": (DATA, "[x, y]", ["data() must return core.task.Data"]),
    "data that cannot be had": (DATA, "open('nowhere.csv')", ["data()", "nowhere.csv"]),
    "a task that cannot be made": (
        "    def model",
        "    def __init__(self):\n        raise OSError('no disk')\n\n    def model",
        ["no disk"],
    ),
}


@pytest.mark.parametrize(("before", "after", "words"), TASKS.values(), ids=TASKS.keys())
def test_a_task_that_cannot_be_trained_is_refused(sweep: Sweep, before: str, after: str, words: list[str]) -> None:
    assert WHOLE.count(before) == 1
    Path("mine.py").write_text(WHOLE.replace(before, after))
    said = refused_run(sweep, task="mine.py:Mine")
    assert said.startswith("sweep: task")
    assert all(word in said for word in words), said


@pytest.mark.slow
def test_a_task_that_breaks_while_it_trains_fails_its_trials_and_is_told_in_one_line(
    in_process: Any, sweep: Sweep, tmp_path: Path
) -> None:
    """A class that is not there, of an example that no check has looked at."""
    assert WHOLE.count(DATA) == 1
    Path("mine.py").write_text(WHOLE.replace(f"return {DATA}", f"y[19] = -1\n        return {DATA}"))
    fields = {"name": "odd", "task": "mine.py:Mine", "trials": 3, "budget": {"steps": 60, "batch_size": 2}}
    Path("s.yaml").write_text(yaml.safe_dump(fields))
    ran = in_process("run", "s.yaml", "--home", str(tmp_path / "home"), folder=tmp_path)
    assert ran.returncode == 1
    assert "Traceback" not in ran.stdout + ran.stderr
    why = "IndexError: Target -1 is out of bounds. (mine.py, line 13), at step 4"
    assert f"failed: {why} (3 trials)" in ran.stderr + ran.stdout
    (row,) = json.loads(sweep("list", "--json").stdout)
    assert (row["state"], row["ended"]) == ("finished", 3)
    files = sorted((tmp_path / "home" / "sweeps").glob("odd-*/errors/*.txt"))
    assert [file.name for file in files] == ["trial-0.txt", "trial-1.txt", "trial-2.txt"]
    file = files[0]
    assert file.read_text().startswith("Traceback")
    trials = SweepStore.open(str(tmp_path / "home" / "optuna.journal")).find("odd").study.get_trials()
    assert {trial.user_attrs["evidence"] for trial in trials} == {why}


@pytest.mark.parametrize("program", ["vmap", "compiled"])
def test_a_program_that_the_model_cannot_run_by_is_refused(sweep: Sweep, program: str) -> None:
    Path("mine.py").write_text(WHOLE.replace(MODEL, f"nn.Sequential({MODEL}, nn.Dropout())"))
    said = refused_run(sweep, task="mine.py:Mine", resources={"program": program})
    assert said.startswith(f"sweep: resources.program: {program}: the model cannot run in many lanes")
    assert "random" in said and "write plain, or auto" in said


def test_machine_code_that_the_model_cannot_have_is_refused(sweep: Sweep) -> None:
    Path("mine.py").write_text(WHOLE.replace(MODEL, f"nn.Sequential({MODEL}, nn.Dropout())"))
    said = refused_run(sweep, task="mine.py:Mine", resources={"program": "native"})
    assert said.startswith("sweep: resources.program: native: the model has no machine code")
    assert "write auto" in said


def test_a_task_whose_metrics_cannot_be_computed_is_refused(sweep: Sweep) -> None:
    Path("mine.py").write_text(
        WHOLE + "\n    def metrics(self, model, batch):\n        return {'accuracy': batch[7]}\n"
    )
    said = refused_run(sweep, task="mine.py:Mine")
    assert "task: metrics()" in said
    assert "IndexError" in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["0 words", "at least ten"]),
        ("one two three", ["3 words", "at least ten"]),
        ("a aa aaa\n" * 9, ["single letter 'a'", "one class", "two are needed"]),
        (None, ["cannot read", "No such file", "one word a line"]),
    ],
    ids=["empty", "short", "one class", "missing"],
)
def test_a_data_file_of_nothing_to_learn_is_refused(sweep: Sweep, text: str | None, words: list[str]) -> None:
    if text is not None:
        Path("words.txt").write_text(text)
    said = refused_run(sweep, task="espalier.core.tasks.names:Names", task_options={"path": "words.txt"})
    assert "task_options.path" in said
    assert "words.txt" in said
    assert all(word in said for word in words), said


# --- bad input: places ------------------------------------------------------------------------------------------------

READING = [("list",), ("show", "small"), ("best", "small")]
WRITING = [("run", str(ROOT / "sweeps/library/thermometer.yaml")), ("resume", "small"), ("ui",)]


@pytest.mark.parametrize("command", READING, ids=lambda c: c[0])
def test_a_home_that_is_only_looked_at_need_not_be_written(sweep: Sweep, command: tuple[str, ...]) -> None:
    Path("a file").write_text("")
    assert "a file/home: cannot be read (no folder)" in complaint(sweep(*command, "--home", "a file/home"))
    result = sweep(*command, "--home", "/proc/nowhere")
    assert result.exit_code == (0 if command == ("list",) else 2)
    assert "no sweep here yet" in result.stdout or "unknown sweep 'small'" in result.stderr


@pytest.mark.parametrize("command", WRITING, ids=lambda c: c[0])
@pytest.mark.parametrize("home", ["a file/home", "/proc/nowhere"])
def test_a_home_that_cannot_be_written_is_refused(sweep: Sweep, command: tuple[str, ...], home: str) -> None:
    Path("a file").write_text("")
    said = complaint(sweep(*command, "--home", home))
    opened = command == ("ui",) and home == "a file/home"  # a home that is there need not be written
    assert f"--home {Path(home).absolute()}: cannot be {'read' if opened else 'written'}" in said
    assert "name another folder" in said


def test_a_home_of_the_environment_is_checked_alike(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEP_HOME", "/proc/nowhere")
    assert "/proc/nowhere: cannot be written" in complaint(sweep("resume", "small"))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_an_unreachable_tracking_server_is_refused_before_anything_begins(sweep: Sweep) -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    said = refused_run(sweep, "--set", f"tracking_uri={uri}")
    assert f"tracking_uri: {uri} does not answer" in said
    assert "start it, or leave tracking_uri out" in said


def test_an_unreachable_cluster_is_refused_before_anything_begins(sweep: Sweep) -> None:
    address = f"127.0.0.1:{free_port()}"
    said = refused_run(sweep, "--address", address)
    assert f"--address {address}" in said
    assert "ray start --head" in said


def test_what_a_spec_may_not_do_as_hoped_is_noted_on_stderr_alone(sweep: Sweep) -> None:
    changed = {"search": {"sampler": "gp"}, "stopping": {}, "objective": {"metric": "valid_nothing", "mode": "min"}}
    Path("s.yaml").write_text(yaml.safe_dump(dict(THERMOMETER) | changed))
    result = sweep("run", "s.yaml", "--json")
    complaint(result)
    (note,) = [line for line in result.stderr.splitlines() if line.startswith("note: ")]
    assert "gp learns from complete trials alone" in note


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
def test_a_sweep_that_does_not_fit_the_machine_is_refused_and_leaves_nothing(sweep: Sweep, in_process: Any) -> None:
    Path("s.yaml").write_text(yaml.safe_dump(dict(THERMOMETER) | {"resources": {"cpus": 10_000}}))
    ran = in_process("run", "s.yaml", "--home", "home", folder=Path.cwd())
    assert ran.returncode == 2
    (said,) = [line for line in ran.stderr.splitlines() if line.startswith("sweep: ")]
    assert "resources" in said
    assert "10000 cpus" in said
    assert json.loads(sweep("list", "--json").stdout) == []


# --- bad input: a best file -------------------------------------------------------------------------------------------

NONSENSE: dict[str, tuple[str, list[str]]] = {
    "no YAML": ("a: [1", ["not valid YAML"]),
    "a list": ("- 1", ["not a best file"]),
    "nothing": ("", ["not a best file"]),
    "an exponent too far": (
        best_text(params=best_fields()["params"] | {"lr_exponent": 1e9}),
        ["params.lr_exponent", "1000000000.0", "[-40, 40]"],
    ),
    "an exponent that is a word": (
        best_text(params=best_fields()["params"] | {"lr_exponent": "small"}),
        ["params.lr_exponent", "'small'", "number"],
    ),
    "an unknown program": (best_text(program="magic"), ["program", "'magic'", "plain, native, vmap"]),
    "no reports": (best_text(reports=[]), ["reports", "0 of 1"]),
    "a spec without a task": (best_text(spec={"name": "a"}), ["spec", "task", "missing"]),
    "a spec that is wrong": (best_text(spec=dict(THERMOMETER) | {"trials": 0}), ["spec", "trials", "0 arrived"]),
}


@pytest.mark.parametrize(("text", "words"), NONSENSE.values(), ids=NONSENSE.keys())
def test_a_best_file_edited_to_nonsense_is_refused(sweep: Sweep, text: str, words: list[str]) -> None:
    Path("best.yaml").write_text(text)
    said = complaint(sweep("rerun", "best.yaml"))
    assert "best.yaml" in said
    assert all(word in said for word in words), said


def test_a_best_file_that_is_missing_is_refused_with_the_command_that_writes_one(sweep: Sweep) -> None:
    said = complaint(sweep("rerun", "best.yaml"))
    assert "best.yaml: cannot be read" in said
    assert "sweep best ID > best.yaml" in said


# --- bad input: through a real process --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "nowhere.yaml"], ["nowhere.yaml", "cannot be read"]),
        (["run", "s.yaml", "--json", "--set", "trails=1"], ["trails", "did you mean 'trials'"]),
        (["rerun", "s.yaml"], ["s.yaml", "sweep best ID > best.yaml"]),
    ],
)
def test_a_process_that_refuses_says_so_in_one_line_and_exits_with_two(
    in_process: Any, tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(dict(THERMOMETER)))
    ran = in_process(*arguments, folder=tmp_path)
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert "Traceback" not in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
    assert ran.stderr.startswith("sweep: ")
    assert all(word in ran.stderr for word in words)
    assert not (tmp_path / "sweep-data" / "optuna.journal").exists()


# --- help -------------------------------------------------------------------------------------------------------------

COMMANDS = sorted(main.commands)


def examples(text: str) -> list[list[str]]:
    """Return the command lines of a help text, without `sweep` and without what a shell takes."""
    lines = [line.strip() for line in text.partition("Example")[2].splitlines()]
    return [shlex.split(line.partition(">")[0])[1:] for line in lines if line.startswith("sweep ")]


def test_the_commands_are_those_that_the_readers_know() -> None:
    assert {"run", "resume", "list", "show", "best", "rerun", "ui", "schema"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_has_an_example_that_parses(sweep: Sweep, command: str) -> None:
    result = sweep(command, "--help")
    assert result.exit_code == 0
    found = examples(result.output)
    assert found
    for name, *arguments in found:
        assert name == command
        main.commands[command].make_context(command, list(arguments))


def test_the_examples_of_run_are_of_specs_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for _, *arguments in examples(main.commands["run"].get_help(click.Context(main.commands["run"]))):
        context = main.commands["run"].make_context("run", arguments)
        load_spec(context.params["spec"], context.params["assignments"])


def test_the_help_lists_every_command(sweep: Sweep) -> None:
    said = sweep("--help").output
    assert all(command in said for command in COMMANDS)


def test_a_command_that_is_unknown_is_refused(sweep: Sweep) -> None:
    result = sweep("rnu")
    assert result.exit_code == 2
    assert "rnu" in result.stderr


def test_the_schema_is_valid_json_and_knows_a_good_spec_from_a_bad_one(sweep: Sweep) -> None:
    schema = json.loads(sweep("schema").stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(dict(THERMOMETER), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(dict(THERMOMETER) | {"trials": 0}, schema)


def test_a_home_without_sweeps_says_how_to_begin(sweep: Sweep) -> None:
    result = sweep("list")
    assert result.exit_code == 0
    assert "sweep run" in result.stdout
    assert sweep("list", "--json").stdout == "[]\n"


def test_ui_serves_the_store_of_the_home(sweep: Sweep, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr("os.execv", lambda program, command: started.append(command))
    assert sweep("ui", "--port", "5123").exit_code == 0
    (command,) = started
    assert command[1:4] == ["-m", "mlflow", "server"]
    assert command[command.index("--backend-store-uri") + 1] == default_uri(tmp_path / "home")
    assert command[command.index("--port") + 1] == "5123"
    assert command[command.index("--host") + 1] == "127.0.0.1"


def test_ui_serves_a_home_that_cannot_be_written(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, empty_store: Path
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    access, started = os.access, []
    monkeypatch.setattr("os.execv", lambda program, command: started.append(command))
    monkeypatch.setattr("os.access", lambda path, mode: not mode & os.W_OK and access(path, mode))
    monkeypatch.setattr("pathlib.Path.touch", refuse)
    assert "cannot be written" in complaint(sweep("ui"))  # there is nothing in it yet
    shutil.copyfile(empty_store, tmp_path / "home" / "mlflow.db")
    assert sweep("ui").exit_code == 0 and len(started) == 1


# --- a real sweep -----------------------------------------------------------------------------------------------------


def runs_of(small_sweep: Any) -> tuple[Run, dict[int, Run]]:
    """Return the parent run and the child of each trial."""
    client = MlflowClient(tracking_uri=default_uri(small_sweep.home))
    experiment = client.get_experiment_by_name(small_sweep.id.rsplit("-", 2)[0])
    assert experiment
    runs = client.search_runs([experiment.experiment_id], f"tags.`{SWEEP_TAG}` = '{small_sweep.id}'")
    parents = [run for run in runs if TRIAL_TAG not in run.data.tags]
    assert len(parents) == 1
    children = {int(run.data.tags[TRIAL_TAG]): run for run in runs if TRIAL_TAG in run.data.tags}
    assert len(children) == len(runs) - 1
    return parents[0], children


def trials_of(small_sweep: Any) -> list[Any]:
    return SweepStore.open(str(small_sweep.home / "optuna.journal")).find(small_sweep.id).study.get_trials()


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
    assert "program: vmap (many lanes" in small_sweep.said.stderr
    assert "Traceback" not in small_sweep.said.stderr
    assert "Warning" not in small_sweep.said.stderr
    assert "recording waits" not in small_sweep.said.stderr


def test_the_commands_that_come_next_are_said(small_sweep: Any) -> None:
    said = small_sweep.said.stderr
    assert f"sweep ui --home {small_sweep.home}" in said
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
    for figure in ("exponent.png", "curves.png", "ratios.png"):
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


# --- a sweep that stops trials early ----------------------------------------------------------------------------------


def rungs_of(trial: Any) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in trial.user_attrs.items() if name.startswith("rung.")]


@pytest.mark.slow
def test_stopped_trials_are_pruned_with_their_values_and_their_scores(halved_sweep: Any) -> None:
    trials = trials_of(halved_sweep)
    states = Counter(t.state.name for t in trials)
    assert set(states) == {"COMPLETE", "PRUNED"}
    assert halved_sweep.document["states"] == {"complete": states["COMPLETE"], "stopped": states["PRUNED"]}
    for t in trials:
        scores = {int(name[5:]): value for name, (value, _) in rungs_of(t)}
        if t.state.name == "COMPLETE":
            assert set(scores) == {12, 30}
            continue
        found = re.fullmatch(
            r"ranked (\d+) of (\d+) by average at step (\d+) \((.*)\), the best (\d+) go on", t.user_attrs["evidence"]
        )
        assert found, t.user_attrs["evidence"]
        rank, of, step, score, kept = found.groups()
        assert int(kept) < int(rank) <= int(of)
        assert float(score) == pytest.approx(scores[int(step)], rel=1e-4)
        assert set(t.intermediate_values) == {s for s in (12, 24, 36, 48, 60) if s <= int(step)}
    for rung in (12, 30):
        first = min((t for t in trials if f"rung.{rung}" in t.user_attrs), key=lambda t: t.user_attrs[f"rung.{rung}"])
        assert f"at step {rung} " not in first.user_attrs["evidence"], "the best at a rung goes on"


@pytest.mark.slow
def test_trials_of_cohorts_that_train_at_once_are_compared_with_each_other(halved_sweep: Any) -> None:
    trials = trials_of(halved_sweep)
    histories = {(t.user_attrs["cohort"], rung, leader) for t in trials for rung, (_, leader) in rungs_of(t)}
    of_a_cohort = Counter((cohort, rung) for cohort, rung, _ in histories)
    compared = [int(words[3]) for t in trials if (words := t.user_attrs["evidence"].split())[0] == "ranked"]
    assert max(compared) > max(of_a_cohort.values())


@pytest.mark.slow
def test_branches_that_share_their_trunk_have_one_score_and_one_leader(halved_sweep: Any) -> None:
    """At a fifth of the budget no branch has parted; at half of it some have."""
    scores: dict[tuple[str, int], set[float]] = {}
    for t in trials_of(halved_sweep):
        for rung, (score, leader) in rungs_of(t):
            scores.setdefault((rung, leader), set()).add(score)
            assert leader in ([t.number - t.number % 2] if rung == "rung.12" else [t.number, t.number - t.number % 2])
    assert all(len(each) == 1 for each in scores.values())


@pytest.mark.slow
def test_the_runs_of_stopped_trials_say_why_and_what_they_were_worth(halved_sweep: Any) -> None:
    _, children = runs_of(halved_sweep)
    for t in trials_of(halved_sweep):
        run = children[t.number]
        stopped = t.state.name == "PRUNED"
        assert run.data.tags["espalier.status"] == ("stopped" if stopped else "complete")
        evidence = run.data.tags["espalier.evidence"]  # a complete one may say more: how it is beside others
        assert evidence == t.user_attrs["evidence"] or (not stopped and evidence.endswith(t.user_attrs["evidence"]))
        last = max(int(name[5:]) for name, _ in rungs_of(t))
        assert run.data.metrics["rung_valid_loss"] == t.user_attrs[f"rung.{last}"][0]


@pytest.mark.slow
def test_the_best_of_a_halved_sweep_reruns_to_the_same_number(sweep: Sweep, halved_sweep: Any) -> None:
    best = sweep("best", halved_sweep.id, "--home", str(halved_sweep.home))
    Path("best.yaml").write_text(best.stdout)
    again = sweep("rerun", "best.yaml")
    assert again.exit_code == 0, again.output
    assert "bit for bit" in again.stdout


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


# --- every trial diverges ---------------------------------------------------------------------------------------------


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
