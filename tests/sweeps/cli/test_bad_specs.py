"""A spec that cannot be swept is refused in one line, and nothing has begun."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from espalier.sweeps.cohorts import ENGINE
from tests.sweeps.cli.refusals import Sweep, complaint, refused_run
from tests.sweeps.made import THERMOMETER

pytestmark = pytest.mark.usefixtures("no_ray")


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


def test_a_first_point_of_an_unknown_sweep_is_refused_and_leaves_nothing(sweep: Sweep, tmp_path: Path) -> None:
    said = refused_run(sweep, first=[{"best": "nobody"}])
    assert "first.0: unknown sweep 'nobody'" in said
    assert not list((tmp_path / "home" / "sweeps").glob("warm*"))


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
