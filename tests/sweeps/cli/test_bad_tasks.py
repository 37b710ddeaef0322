"""A task that cannot be found or trained is refused in one line; one that breaks later fails its trials."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from espalier.sweeps.search.store import SweepStore
from tests.sweeps.cli.refusals import Sweep, refused_run

pytestmark = pytest.mark.usefixtures("no_ray")


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
    "data of another kind": (DATA, "[x, y]", ["data() must return espalier.Data"]),
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
