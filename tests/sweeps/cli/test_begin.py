"""`sweep init` and `sweep import`: what they write, what they ask, and what they never write over."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from espalier.sweeps.spec.spec import load_spec
from tests.sweeps.cli.refusals import Sweep, complaint
from tests.terminal import Terminal

pytestmark = pytest.mark.usefixtures("no_ray")
WAYS = ("function", "command", "task")
SCRIPTS = Path(__file__).parents[1] / "starting" / "scripts"


@pytest.mark.parametrize("way", WAYS)
def test_an_example_is_a_spec_and_a_file_beside_it(sweep: Sweep, tmp_path: Path, way: str) -> None:
    result = sweep("init", f"--{way}", "--name", "mine")
    assert result.exit_code == 0 and result.stderr == ""
    assert {path.name for path in tmp_path.iterdir()} - {"home"} == {"sweep.yaml", "train.py"}
    spec = load_spec("sweep.yaml")
    assert spec.name == "mine" and bool(getattr(spec, way))
    assert result.stdout.splitlines()[-2:] == ["  sweep run sweep.yaml", "  sweep best mine > best.yaml"]
    compile((tmp_path / "train.py").read_text(), "train.py", "exec")


def test_without_a_terminal_nothing_is_asked(sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("click.prompt", lambda *_, **__: pytest.fail("it asked"))
    folder = tmp_path / "3 my runs!"
    folder.mkdir()
    os.chdir(folder)
    assert sweep("init").exit_code == 0
    spec = load_spec("sweep.yaml")
    assert spec.function and spec.name == "my-runs"


def test_files_that_are_there_are_written_over_by_force_alone(sweep: Sweep, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("mine = 1\n")
    assert "train.py is there already; --force" in complaint(sweep("init"))
    assert not (tmp_path / "sweep.yaml").exists() and (tmp_path / "train.py").read_text() == "mine = 1\n"
    (tmp_path / "sweep.yaml").symlink_to("nowhere.yaml")
    code = f"{SCRIPTS / 'functions.py'}:train"
    assert "sweep.yaml is there already" in complaint(sweep("init", "--from", code))
    assert not (tmp_path / "nowhere.yaml").exists()
    assert sweep("init", "--force").exit_code == 0
    assert load_spec("sweep.yaml").function


def test_a_spec_in_another_folder_finds_its_code(sweep: Sweep, tmp_path: Path) -> None:
    assert sweep("init", "--function", "--to", "specs/a.yaml").exit_code == 0
    assert load_spec("specs/a.yaml").function == f"{tmp_path / 'train.py'}:train"
    project = tmp_path / "deeper"  # from where another file has the same path
    project.mkdir()
    os.chdir(project)
    Path("specs").mkdir()
    Path("specs/a.yaml").write_text(Path("../specs/a.yaml").read_text())
    Path("train.py").write_text("def train(config, report): ...")
    assert load_spec("specs/a.yaml").function == f"{project / 'train.py'}:train"


def test_code_that_is_there_is_read(sweep: Sweep, tmp_path: Path) -> None:
    result = sweep("init", "--from", f"{SCRIPTS / 'functions.py'}:train", "--json")
    document = json.loads(result.stdout)
    assert document["files"] == ["sweep.yaml"] and document["name"] == "functions"
    assert {"lr", "hidden"} <= {*document["searched"]} and document["defaults"] == ["width", "activation"]
    assert document["next"] == ["sweep run sweep.yaml", "sweep best functions > best.yaml"]
    said = sweep("init", "--from", f"{sys.executable} {SCRIPTS / 'exits.py'}", "--to", "b.yaml").stdout
    assert "note: " in said and "exit code 3" in said
    assert load_spec("b.yaml").command


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--task", "--from", "a.py:train"), "--task and --from: keep one of them"),
        (("--name", "3 runs"), "--name: '3 runs'"),
        (("--from", "gone.py:train"), "no file 'gone.py'"),
        (("--to", "train.py/spec.yaml", "--from", f"{SCRIPTS / 'functions.py'}:train"), "cannot be written"),
    ],
)
def test_what_cannot_be_begun_is_refused_in_one_line(
    sweep: Sweep, tmp_path: Path, arguments: tuple[str, ...], why: str
) -> None:
    (tmp_path / "train.py").write_text("")
    assert why in complaint(sweep("init", *arguments))


def test_a_person_at_a_terminal_is_asked(tmp_path: Path) -> None:
    """Enter takes what stands there."""
    environment = os.environ | {"HOME": str(tmp_path)}
    command = [sys.executable, "-c", "import os, sys; os.chdir(sys.argv.pop(1)); "
               "from espalier.sweeps.cli.process import command; command()", str(tmp_path), "init"]  # fmt: skip
    terminal = Terminal(command, environment)
    answers = iter([("Enter):", b"\r"), ("Way", b"task\r"), ("Name of the sweep", b"asked\r")])
    question, answer = next(answers)
    for picture in terminal.pictures():
        if any(question in line for line in picture):
            terminal.press(answer)
            question, answer = next(answers, ("no further question", b""))
    assert terminal.process.returncode == 0
    spec = yaml.safe_load((tmp_path / "sweep.yaml").read_text())
    assert spec["name"] == "asked" and spec["task"] == "train.py:Line"


def test_a_file_of_wandb_is_a_spec_on_stdout_and_notes_on_stderr(sweep: Sweep, tmp_path: Path) -> None:
    fields: dict[str, Any] = {"method": "random", "program": "train.py", "parameters": {"wd": {"min": 0.1, "max": 0.2}}}
    (tmp_path / "w.yaml").write_text(yaml.safe_dump(fields))
    result = sweep("import", "w.yaml")
    assert result.exit_code == 0
    (tmp_path / "spec.yaml").write_text(result.stdout)
    assert load_spec("spec.yaml").space.searched() == {"wd"}
    assert result.stderr.splitlines() and all(line.startswith("note: ") for line in result.stderr.splitlines())
    assert json.loads(sweep("import", "w.yaml", "--json").stdout)["spec"]["trials"] == 32
    assert "cannot be read" in complaint(sweep("import", "gone.yaml"))
    (tmp_path / "list.yaml").write_text("- a\n")
    assert "no sweep file of W&B" in complaint(sweep("import", "list.yaml"))
