"""Sweep files of W&B as specs: each distribution by its quantiles, each macro by the command that a trial gets."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from espalier.core.errors import BadInput
from espalier.core.foreign.command import filled
from espalier.core.foreign.folder import Assignment, TrialFolder
from espalier.sweeps.spec import yaml12
from espalier.sweeps.spec.spec import make_spec
from espalier.sweeps.starting.wandb_file import Imported, imported

Write = Callable[..., Imported]
DEMO = {
    "program": "train.py",
    "name": "sweep demo",
    "project": "p",
    "method": "random",
    "metric": {"goal": "minimize", "name": "validation_loss"},
    "parameters": {"learning_rate": {"min": 0.0001, "max": 0.1}, "epochs": {"value": 27}},
    "run_cap": 7,
}


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Import a file with some fields of the demo changed; None leaves one out."""
    monkeypatch.chdir(tmp_path)

    def imports(**changed: Any) -> Imported:
        fields = {name: value for name, value in (DEMO | changed).items() if value is not None}
        (tmp_path / "wandb.yaml").write_text(yaml.safe_dump(fields, sort_keys=False))
        result = imported("wandb.yaml")
        make_spec(yaml12.read(result.text, "text"), "text")
        return result

    return imports


def test_a_demo_becomes_a_spec(write: Write) -> None:
    fields = write().fields
    assert fields["name"] == "sweep-demo" and fields["trials"] == 7 and fields["budget"] == {"steps": 27}
    assert fields["command"][1:] == ["train.py", "--epochs", "${steps}", "${args}"]
    assert fields["objective"] == {"metric": "validation_loss", "mode": "min"}
    assert fields["space"] == {"learning_rate": {"low": 0.0001, "high": 0.1}}
    assert write(method="grid").fields["search"] == {"sampler": "grid"}
    assert write(method="bayes").fields["search"] == {"sampler": "gp"}
    assert write(metric={"goal": "maximize", "name": "acc"}).fields["objective"] == {"metric": "acc", "mode": "max"}


@pytest.mark.parametrize(
    ("parameter", "domain", "said"),
    [
        ({"value": 3}, 3, ""),
        ({"value": None}, None, ""),
        ({"values": ["a", 1, 0.5, None]}, ["a", 1, 0.5, None], ""),
        ({"values": [[1, 2], [3]]}, {"choices": [[1, 2], [3]]}, ""),
        ({"values": [{"a": 1}]}, ["{'a': 1}"], "texts"),
        ({"values": ["a", "b"], "probabilities": [0.1, 0.9]}, ["a", "b"], "probabilities have no counterpart"),
        ({"min": 1, "max": 5}, {"low": 1, "high": 5, "integer": True}, ""),
        ({"min": 1.0, "max": 5}, {"low": 1.0, "high": 5}, ""),
        ({"distribution": "uniform", "min": 1, "max": 5}, {"low": 1, "high": 5}, ""),
        ({"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.25}, {"low": 0, "high": 1, "step": 0.25}, ""),
        ({"distribution": "q_uniform", "min": 5, "max": 32, "q": 8}, {"low": 8, "high": 32, "step": 8}, ""),
        ({"distribution": "log_uniform", "min": -7, "max": -2}, (math.exp(-7), math.exp(-2)), "exponents of e"),
        ({"distribution": "inv_log_uniform", "min": 2, "max": 7}, (math.exp(-7), math.exp(-2)), "exponents of e"),
        ({"distribution": "log_uniform_values", "min": 1e-5, "max": 1}, (1e-5, 1), ""),
        ({"distribution": "inv_log_uniform_values", "min": 1e-5, "max": 1}, (1e-5, 1), ""),
        ({"distribution": "q_log_uniform_values", "min": 8, "max": 512, "q": 1}, (8, 512), ""),
        ({"distribution": "q_log_uniform_values", "min": 8, "max": 512, "q": 8}, (8, 512), "steps of 8"),
        ({"distribution": "normal", "mu": 1, "sigma": 0.5}, {"low": 0.0, "high": 2.0}, "4 sigma"),
        ({"distribution": "log_normal", "mu": 0, "sigma": 1}, (math.exp(-2), math.exp(2)), "4 sigma"),
        ({"distribution": "q_normal", "mu": 10, "sigma": 2, "q": 2}, {"low": 6, "high": 14, "step": 2}, "4 sigma"),
        ({"distribution": "beta", "a": 2, "b": 5}, {"low": 0.0, "high": 1.0}, "beta"),
    ],
)
def test_each_distribution_has_its_nearest_counterpart(write: Write, parameter: Any, domain: Any, said: str) -> None:
    """A pair stands for the ends of a logarithmic range."""
    result = write(parameters={"width": parameter})
    got = result.fields["space"]["width"]
    if isinstance(domain, tuple):
        assert got["log"] is True and (got["low"], got["high"]) == pytest.approx(domain, rel=1e-5)
    elif isinstance(domain, dict) and "low" in domain:
        assert got | domain == got
    else:
        assert got == domain
    notes = [note for note in result.notes if note.startswith("parameters.width")]
    assert (said in notes[0]) if said else not notes


def test_nested_parameters_have_a_dot_and_a_grid_counts_its_points(write: Write) -> None:
    nested = {"optimizer": {"parameters": {"name": {"values": ["adam", "sgd"]}, "eps": {"min": 1, "max": 3}}}}
    result = write(parameters=nested | {"x": {"min": 0.0, "max": 1.0}}, method="grid", run_cap=None)
    assert {*result.fields["space"]} == {"optimizer.name", "optimizer.eps", "x"}
    assert result.fields["space"]["x"] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert result.fields["trials"] == 2 * 3 * 5
    assert any("x: a range has no points for a grid" in note for note in result.notes)


def words_of(result: Imported, values: dict[str, Any]) -> list[str]:
    """Return the words of a trial's command after the program."""
    words = filled(result.fields["command"], Assignment("0/0", values, {}, seed=5, steps=9), TrialFolder(Path("t")))
    return words[words.index("train.py") + 1 :]


@pytest.mark.parametrize(
    ("macro", "words"),
    [
        ("${args}", ["--lr", "0.1", "--flag", "True"]),
        ("${args_no_boolean_flags}", ["--lr", "0.1", "--flag"]),
        ("${args_no_hyphens}", ["lr=0.1", "flag=true"]),
        ("${args_json}", ['{"lr": 0.1, "flag": true}']),
        ("${args_json_file}", ['{"lr": 0.1, "flag": true}']),
    ],
)
def test_each_macro_passes_what_it_passes_there(write: Write, macro: str, words: list[str]) -> None:
    parameters = {"lr": {"values": [0.1, 0.2]}, "flag": {"values": [True, False]}}
    command = ["${env}", "${interpreter}", "${program}", macro]
    result = write(parameters=parameters, command=command)
    values = {"lr": 0.1, "flag": result.fields["space"]["flag"][0]}
    assert words_of(result, values) == words
    assert any("${args_json_file}" in note for note in result.notes) == (macro == "${args_json_file}")


def test_other_words_of_a_command_stay(write: Write) -> None:
    command = "${env} A=1 ${interpreter} ${program} --data ${envvar:DATA} ${args}"
    result = write(command=command.split())
    assert result.fields["command"][:2] == ["env", "A=1"]
    assert any("write the value of DATA" in note for note in result.notes)
    assert any("no ${args}" in note for note in write(command=["python", "train.py"]).notes)


def test_names_that_mean_something_in_a_space_get_another_one(write: Write) -> None:
    parameters = {"schedule": {"values": ["poly", "cosine"]}, "seed": {"values": [1, 2]}, "momentum": {"value": 2.0}}
    result = write(parameters=parameters)
    assert {*result.fields["space"]} == {"script_schedule", "script_momentum", "seed"}
    words = words_of(result, {"script_schedule": "poly", "script_momentum": 2.0})
    assert words == ["--schedule", "poly", "--momentum", "2.0", "--seed", "5"]


@pytest.mark.parametrize(
    ("rule", "rungs"),
    [
        ({"type": "hyperband", "min_iter": 3}, [0.1111, 0.3333]),
        ({"type": "hyperband", "min_iter": 9, "eta": 2}, [0.3333, 0.6667]),
        ({"type": "hyperband", "max_iter": 27, "s": 2}, [0.1111, 0.3333]),
        ({"type": "hyperband", "min_iter": 50}, None),
    ],
)
def test_brackets_of_hyperband_are_rungs(write: Write, rule: Any, rungs: list[float] | None) -> None:
    stopping = write(early_terminate=rule).fields["stopping"]
    assert stopping["reduction"] == rule.get("eta", 3) and stopping.get("rungs") == rungs


def test_what_has_no_counterpart_is_listed_line_by_line(write: Write) -> None:
    result = write(
        entity="e",
        run_cap=None,
        metric={"name": "loss", "target": 0.1},
        early_terminate={"type": "hyperband", "strict": True},
        launch={"queue": "q"},
    )
    said = [note.partition(":")[0] for note in result.notes]
    assert {"project", "entity", "run_cap", "metric.target", "early_terminate.strict", "launch", "results"} <= {*said}
    assert all("\n" not in line for line in result.lines())


def test_results_come_from_what_the_program_prints_or_the_way_is_said(write: Write, tmp_path: Path) -> None:
    (note,) = [note for note in write().notes if note.startswith("results:")]
    assert "report(step, validation_loss=...)" in note and "MLflow" in note and "results.pattern" in note
    (tmp_path / "train.py").write_text(
        "import wandb\nlr = wandb.config.lr\nfor step in range(3):\n"
        "    wandb.log({'validation_loss': 1.0})\n    print(f'step {step} validation_loss {lr:.3f}')\n"
    )
    result = write()
    assert "validation_loss" in result.fields["results"]["pattern"]
    assert any("wandb.config" in note for note in result.notes)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"method": "hyper"}, "method: 'hyper'"),
        ({"parameters": None}, "no sweep file of W&B"),
        ({"parameters": [1]}, "parameters: [1]"),
        ({"parameters": {"a": 1}}, "parameters.a: 1; write value"),
        ({"parameters": {"a": {}}}, "has neither value, values, nor min and max"),
        ({"parameters": {"a": {"distribution": "cauchy"}}}, "unknown distribution 'cauchy'"),
        ({"parameters": {"a": {"distribution": "uniform", "min": 0}}}, "uniform needs max"),
        ({"parameters": {"a": {"min": 5, "max": 1}}}, "numbers that rise"),
        ({"parameters": {"a": {"min": "x", "max": 1}}}, "numbers that rise"),
        ({"parameters": {"a": {"distribution": "log_uniform_values", "min": 0, "max": 1}}}, "numbers that rise"),
        ({"parameters": {"a": {"values": []}}}, "numbers that rise"),
        ({"metric": {"goal": "up"}}, "metric.goal"),
        ({"metric": "loss"}, "metric: 'loss'"),
        ({"command": 3}, "command: 3"),
        ({"space": {}}, "it is a spec already"),
    ],
)
def test_what_wandb_would_not_take_is_refused_in_one_line(write: Write, changed: dict[str, Any], why: str) -> None:
    with pytest.raises(BadInput) as error:
        write(**changed)
    assert why in str(error.value)


def test_the_answer_in_json_is_a_spec_and_its_notes(write: Write) -> None:
    document = json.loads(json.dumps(write().document()))
    make_spec(document["spec"])
    assert document["notes"]
