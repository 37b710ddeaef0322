"""What trains: a task, a function or a command, one of them and once, with the fields that concern it."""

import math
from pathlib import Path
from typing import Any

import pytest

from espalier.core.errors import BadInput
from espalier.core.foreign.command import filled
from espalier.core.foreign.config import Config
from espalier.core.foreign.folder import TrialFolder
from espalier.sweeps.assignments import assignments, schedule, values
from espalier.sweeps.process_checks import check_processes
from espalier.sweeps.search.cohort_plan import Piece, PlannedTrial
from espalier.sweeps.spec.spec import load_spec, make_spec

FILE = "def train(config, report): pass\ndef silent(config): pass\nasync def later(config, report): pass\n"
RATES = {"lr": [0.1, 0.2]}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "task: missing"),
    ({"task": "names", "function": "t.py:train"}, "function: task and function exclude each other"),
    ({"function": "t.py:trian"}, "no function 'trian'; did you mean 'train'"),
    ({"function": "t.py:silent"}, r"t.py', line 2: silent\(\) has no argument report"),
    ({"function": "t.py:later"}, "asynchronous"),
    ({"function": "t.py"}, "names no function"),
    ({"function": "missing.py:train"}, "no file missing.py"),
    ({"command": "no-such-program ${args}"}, "'no-such-program' is no program here"),
    ({"command": ["python", "t.py"], "space": RATES}, "lr is searched and reaches the command nowhere"),
    ({"command": "python 't.py"}, "No closing quotation"),
    ({"command": ["python", "no.py", "${args}"]}, "no file no.py"),
    ({"command": ["python", "${width}"]}, "width.* has no value"),
    ({"function": "t.py:train", "optimizer": "adam"}, "optimizer: a function trains"),
    ({"function": "t.py:train", "task_options": {"a": 1}}, "task_options: a function trains; write constants"),
    ({"function": "t.py:train", "resources": {"lanes": 4}}, "resources.lanes: a function trains"),
    ({"function": "t.py:train", "references": True}, "references: a function trains"),
    ({"function": "t.py:train", "space": {"lr": "auto"}}, "space.lr: auto is a range test"),
    ({"function": "t.py:train", "search": {"sampler": "thaw"}, "space": RATES}, "write share: checkpoints"),
    ({"function": "t.py:train", "results": {"pattern": "(?P<x>)"}}, "results.pattern: it is for a command"),
    ({"function": "t.py:train", "stopping": {"score": "value"}}, "stopping.score: a function trains"),
    ({"command": "python t.py", "results": {"pattern": "("}}, "results.pattern: .* is no regular expression"),
    ({"command": "python t.py", "results": {"pattern": "abc"}}, "results.pattern: abc has no named group"),
    ({"command": "python t.py", "results": {"mlflow": True}, "share": "checkpoints"}, "share: .*results.mlflow"),
    ({"function": "t.py:train", "space": {"steps": [1, 2]}}, "space.steps: the steps of a trial are budget.steps"),
    ({"command": "python t.py ${args}", "space": {"steps": [1, 2]}}, "space.steps: the steps of a trial"),
    ({"function": "t.py:train", "space": {"values": [1, 2]}}, "'values': config.values is a part of config itself"),
    ({"command": "python t.py ${args}", "space": {"args": [1, 2]}}, "'args': .* is all hyperparameters together"),
    ({"command": "python t.py ${args}", "space": {"a b": [1, 2]}}, "'a b' makes no option --a b"),
    ({"command": "python t.py ${args}", "space": {"-x": [1, 2]}}, "'-x' makes no option ---x"),
    ({"function": "t.py:train", "space": {"": [1, 2]}}, "'' names no hyperparameter"),
    ({"function": "t.py:train", "space": {"a\nb": [1, 2]}}, "names no hyperparameter"),
    ({"task": "names", "share": "checkpoints"}, "share: it is for a function or a command"),
    ({"task": "names", "resources": {"timeout": 3}}, "resources.timeout: it is for a function or a command"),
    ({"task": "names", "resources": {"checkpoints_gib": 3}}, "resources.checkpoints_gib: it is for a function or a"),
    ({"task": "names", "resources": {"gpus": 4}}, "resources.gpus: 4; a cohort trains on one GPU"),
]


@pytest.mark.parametrize(("fields", "why"), REFUSED)
def test_what_cannot_train_is_refused_in_one_line_that_begins_with_its_field(
    fields: dict[str, Any], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "t.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=why) as refused:
        check_processes(make_spec({"name": "a", **fields}))
    assert "\n" not in str(refused.value)


def test_a_task_that_is_a_function_in_its_file_is_read_as_that(tmp_path: Path) -> None:
    (tmp_path / "t.py").write_text(FILE + "class Train: pass\n")
    for name, way in (("train", "function"), ("Train", "task")):
        (tmp_path / "s.yaml").write_text(f"name: a\ntask: t.py:{name}\n")
        spec = load_spec(str(tmp_path / "s.yaml"))
        assert (spec.way, spec.trained) == (way, f"{tmp_path / 't.py'}:{name}")


@pytest.mark.parametrize("name", ["é", "Straße", "a.b", "weight-decay", "_x", "seed", "config", "trial", "folder"])
def test_any_other_name_reaches_the_code(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    for way in ({"function": "t.py:train"}, {"command": ["python", "t.py", "${args}", "--seed", "${seed}"]}):
        spec = make_spec({"name": "a", **way, "space": {name: [7]}})
        check_processes(spec)
        (one,) = assignments(spec, PlannedTrial(0, spec.space.resolve({name: 7})))
        config = Config.of(one, {})
        assert config[name] == getattr(config, name) == 7
        assert not spec.command or "7" in filled(spec.command, one, TrialFolder(tmp_path))


def test_nothing_is_searched_that_the_spec_does_not_name() -> None:
    spec = make_spec({"name": "a", "function": "t.py:train", "space": {"width": [1, 2]}})
    assert spec.space.searched() == {"width"}
    point = spec.space.resolve({"width": 2})
    assert values(spec, point) == {"width": 2} and schedule(spec, point) == {}
    stored = make_spec(spec.model_dump(mode="json"), stored=True)
    assert stored == spec


def test_code_gets_rates_as_they_were_written_and_its_schedule() -> None:
    space = {"lr": [3e-4, 1e-3], "decay_points": [0.5], "width": 8}
    spec = make_spec({"name": "a", "function": "t.py:train", "space": space, "budget": {"steps": 100}})
    point = spec.space.resolve({"lr_exponent": math.log10(3e-4)})
    assert values(spec, point) == {"lr": 3e-4, "decay_points": [0.5], "width": 8}
    assert schedule(spec, point) == {"kind": "step", "steps": 100, "lr": 3e-4, "decay_points": [0.5]}


def test_a_piece_says_where_a_process_saves_and_leaves() -> None:
    fields = {"name": "a", "function": "t.py:train", "space": RATES, "budget": {"steps": 100, "reports": 2}}
    spec = make_spec(fields | {"share": "checkpoints", "replicates": 2})
    piece = Piece(3, 15, until=50, keep_at=(20, 40))
    first, second = assignments(spec, PlannedTrial(3, spec.space.resolve({"lr_exponent": -1.0}), piece=piece))
    assert (first.trial, second.trial, second.seed - first.seed) == ("3/0", "3/1", 1)
    assert (first.until, tuple(first.kept), first.steps) == (50, (20, 40), 100)
    assert set(first.due) == {5, 15, 25, 50, 100}  # of the rungs, and of the reports


@pytest.mark.parametrize(
    ("share", "space", "sampler"),
    [
        ("nothing", RATES, "tpe"),
        ("checkpoints", RATES, "thaw"),
        ("checkpoints", {"width": [1, 2]}, "tpe"),  # no rate is searched
    ],
)
def test_pieces_are_searched_where_rates_are_and_trials_can_be_parked(
    share: str, space: dict[str, Any], sampler: str
) -> None:
    assert make_spec({"name": "a", "function": "t.py:train", "share": share, "space": space}).search.sampler == sampler
