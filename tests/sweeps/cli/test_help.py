"""The help of every command, the schema, an empty home, and the page of MLflow."""

import errno
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest

from espalier.sweeps.cli.app import main
from espalier.sweeps.recording.tracking_uri import default_uri
from espalier.sweeps.spec.spec import load_spec
from tests.sweeps.cli.commands import COMMANDS
from tests.sweeps.cli.refusals import ROOT, Sweep, complaint
from tests.sweeps.made import THERMOMETER

pytestmark = pytest.mark.usefixtures("no_ray")


def examples(text: str) -> list[list[str]]:
    """Return the command lines of a help text, without `sweep` and without what a shell takes."""
    lines = [line.strip() for line in text.partition("Example")[2].splitlines()]
    return [shlex.split(line.partition(">")[0])[1:] for line in lines if line.startswith("sweep ")]


def test_reading_a_home_loads_no_torch(tmp_path: Path) -> None:
    """It takes most of a second, and longer where the disk is slow."""
    code = "import sys; from espalier.sweeps.cli.app import main; main(sys.argv[1:], standalone_mode=False); "
    command = [sys.executable, "-c", code + "print('torch' in sys.modules)", "list", "--home", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "False", done.stdout + done.stderr


def test_the_commands_are_those_that_the_readers_know() -> None:
    assert {"run", "resume", "list", "show", "best", "rerun", "ui", "schema"} <= set(COMMANDS)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_the_help_of_every_command_has_an_example_that_parses(sweep: Sweep, command: str) -> None:
    words = command.split()
    result = sweep(*words, "--help")
    assert result.exit_code == 0
    found = examples(result.output)
    assert found
    for line in found:
        assert line[: len(words)] == words
        COMMANDS[command].make_context(command, line[len(words) :])


def test_the_examples_of_run_are_of_specs_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for _, *arguments in examples(main.commands["run"].get_help(click.Context(main.commands["run"]))):
        context = main.commands["run"].make_context("run", arguments)
        load_spec(context.params["spec"], context.params["assignments"])


def test_the_help_lists_every_command(sweep: Sweep) -> None:
    said = sweep("--help").output
    assert all(command.split()[0] in said for command in COMMANDS)


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
