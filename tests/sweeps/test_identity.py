"""What a sweep was begun with and goes on with: other specs, other code and other data are refused, or recorded."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from espalier.core import own
from espalier.core.errors import BadInput
from espalier.sweeps import identity
from espalier.sweeps.checks.preflight import check_spec
from espalier.sweeps.home import Home
from espalier.sweeps.search.asking import distribution
from espalier.sweeps.search.store import SweepStore
from espalier.sweeps.spec.space import AUTO, Range
from espalier.sweeps.spec.spec import load_spec
from tests.sweeps.made import spec_with

Run = Callable[..., "subprocess.CompletedProcess[str]"]

# --- the spec --------------------------------------------------------------------------------------------------------


def refusal(begun: dict[str, Any], given: dict[str, Any], facts: dict[str, Any] | None = None) -> str:
    try:
        identity.check_same_spec("warm-1", facts or {}, spec_with(**begun), spec_with(**given))
    except BadInput as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "begun, given, wanted",
    [
        ({}, {"trials": 7}, "trials (6 there, 7 here)"),
        ({}, {"budget": {"steps": 50}}, "budget.steps (40 there, 50 here)"),
        ({}, {"name": "cold"}, "name (warm there, cold here)"),
        ({}, {"stopping": {}}, "stopping (nothing there, "),
        ({}, {"space": {"lr_exponent": {"low": -3, "high": -1}}}, "space.lr_exponent.high (-2.0 there, -1.0 here)"),
        ({}, {"space": {"lr_exponent": -2}}, "space.lr_exponent ("),
        ({"task_options": {"scale": 1}}, {"task_options": {"scale": True}}, "task_options.scale (1 there, True here)"),
        ({"task_options": {"scale": 1}}, {}, "task_options.scale (1 there, nothing here)"),
        ({"space": {"seed": [1, 2]}}, {"space": {"seed": [1, 3]}}, "space.seed ([1, 2] there, [1, 3] here)"),
    ],
)
def test_an_id_that_exists_is_refused_with_another_spec_and_the_fields_are_named(
    begun: dict[str, Any], given: dict[str, Any], wanted: str
) -> None:
    message = refusal(begun, given)
    assert message.startswith("--id warm-1: that sweep exists, with another spec: ") and wanted in message
    assert "\n" not in message


def test_the_same_spec_goes_on_however_it_is_written() -> None:
    assert refusal({}, {}) == ""
    assert refusal({"optimizer": "adam"}, {"optimizer": {"kind": "adam"}}) == ""
    assert refusal({"task_options": {"scale": 1}}, {"task_options": {"scale": 1.0}}) == ""


@pytest.mark.parametrize(
    "begun, given",
    [
        ({"task": "core.tasks.thermometer:Thermometer"}, {"task": "thermometer"}),
        ({"task": "thermometer"}, {"task": "espalier.core.tasks.thermometer:Thermometer"}),
        ({"watchers": ["core.watch:Activations"]}, {"watchers": ["espalier.core.training.watch:Activations"]}),
        (
            {"space": {"lr": {"low": 1e-3, "high": 0.1, "log": True}}},
            {"space": {"lr_exponent": {"low": -3, "high": -1}}},
        ),
        ({"space": {"lr_exponent": [-1, -2]}}, {"space": {"lr": [0.1, 0.01]}}),
        ({"space": {"lr": [0.1, 0.01]}}, {"space": {"lr": {"choices": [0.1, 0.01]}}}),
        ({"space": {"seed": [1, 2]}}, {"space": {"seed": {"choices": [1, 2]}}}),
        ({"optimizer": "adamw"}, {"optimizer": {"kind": "adamw", "beta1": 0.9}}),
        ({"schedule": "polynomial"}, {"schedule": {"kind": "polynomial", "power": 1.0}}),
        ({"watchers": [], "stopping": {}}, {"stopping": {"least": 4}}),
        ({"task_options": {"scale": 0.1}}, {}),
    ],
)
def test_the_same_spec_in_another_spelling_goes_on(begun: dict[str, Any], given: dict[str, Any]) -> None:
    assert refusal(begun, given) == "" == refusal(given, begun)


WITH_DEFAULTS = """
from espalier.core.tasks.thermometer import Thermometer


class Own(Thermometer):
    def __init__(self, sizes=(8, 8), on=True, **options):
        super().__init__(**options)
"""


def test_options_that_have_the_default_of_a_persons_task_are_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(WITH_DEFAULTS)
    bare = {"task": f"{tmp_path}/own.py:Own"}
    same = bare | {"task_options": {"sizes": [8, 8], "on": True, "scale": 0.1}}
    assert refusal(bare, same) == "" == refusal(same, bare)
    for options in ({"sizes": [8, 9]}, {"on": 1}, {"scale": 0.2}):
        message = refusal(bare, bare | {"task_options": options})
        assert f"task_options.{next(iter(options))} (nothing there, " in message
    (tmp_path / "own.py").unlink()
    assert "task_options.sizes (nothing there, " in refusal(bare, same), "nobody knows its defaults"


def test_a_file_by_another_path_is_the_same_file(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    (real / "data.bin").touch()
    link.symlink_to(real)
    by_path, by_link = (
        {"task": f"{folder}/own.py:Own", "task_options": {"file": f"{folder}/data.bin"}} for folder in (real, link)
    )
    assert refusal(by_path, by_link) == ""
    assert "task_options.file" in refusal(by_path, by_path | {"task_options": {"file": f"{real}/other.bin"}})


@pytest.mark.parametrize(
    "begun, given, wanted",
    [
        ({"task": "line"}, {"task": "names"}, "task (espalier.core.tasks.line:Line there, espalier.core.tasks.names"),
        (
            {"space": {"lr": [0.1, 0.01]}},
            {"space": {"lr": [0.1, 0.03]}},
            "space.lr ([0.1, 0.01] there, [0.1, 0.03] here",
        ),
        ({"space": {"lr": [0.1, 0.01]}}, {"space": {"lr_exponent": [-1, -3]}}, "space.lr_exponent ([-1.0, -2.0] there"),
        (
            {"optimizer": "adamw"},
            {"optimizer": {"kind": "adamw", "beta1": 0.8}},
            "optimizer.beta1 (0.9 there, 0.8 here",
        ),
    ],
)
def test_another_meaning_is_refused_and_named_by_its_field(
    begun: dict[str, Any], given: dict[str, Any], wanted: str
) -> None:
    assert wanted in refusal(begun, given)


def test_a_range_that_a_test_has_found_is_the_same_as_auto() -> None:
    found, auto = {"space": {"lr_exponent": {"low": -3, "high": -1}}}, {"space": {"lr_exponent": AUTO}}
    assert refusal(found, auto, {"lr_range_run": "1"}) == "" == refusal(found, found, {"lr_range_run": "1"})
    assert "space.lr_exponent" in refusal(found, auto)
    other = {"space": {"lr_exponent": AUTO, "seed": 1}}
    assert "space.seed" in refusal(found, other, {"lr_range_run": "1"})


# --- code and data ---------------------------------------------------------------------------------------------------

BEGUN = {"code": "c0", "data": "d0", "versions": {"torch": "1"}, "git_commit": "g0"}


def period(first: int, partly: list[int], anew: list[int], **now: Any) -> dict[str, Any]:
    return identity.period(BEGUN | now, first, partly, anew)


@pytest.mark.parametrize(
    "now, wanted",
    [
        ({"code": "c1"}, "the task's code (c0 then, c1 now) has changed"),
        ({"data": "d1"}, "the data (d0 then, d1 now) have changed"),
        ({"code": "c1", "data": "d1"}, "the task's code (c0 then, c1 now) and the data (d0 then, d1 now) have changed"),
    ],
)
def test_what_has_changed_is_said(now: dict[str, str], wanted: str) -> None:
    with pytest.raises(BadInput) as caught:
        identity.check_unchanged("warm-1", BEGUN, BEGUN | now)
    assert wanted in str(caught.value) and "--changed" in str(caught.value)


def test_what_went_on_once_goes_on_with_that_and_not_with_what_it_was() -> None:
    facts = BEGUN | {identity.CHANGES: [period(4, [], [], code="c1")]}
    identity.check_unchanged("warm-1", facts, BEGUN | {"code": "c1"})
    with pytest.raises(BadInput, match="c1 then, c0 now"):
        identity.check_unchanged("warm-1", facts, BEGUN)


def test_other_versions_go_on_and_are_recorded() -> None:
    now = BEGUN | {"versions": {"torch": "2"}}
    identity.check_unchanged("warm-1", BEGUN, now)
    assert identity.differs(BEGUN, now) and not identity.differs(BEGUN, dict(BEGUN))


def test_a_sweep_of_an_earlier_version_that_knows_no_fingerprints_goes_on() -> None:
    identity.check_unchanged("warm-1", {}, BEGUN)
    assert identity.code_and_versions({}, 3) == {}


def test_a_trial_has_the_code_that_it_was_trained_with() -> None:
    changes = [
        period(4, partly=[1], anew=[2], code="c1", git_commit="g1"),
        period(6, partly=[1, 5], anew=[], code="c2", data="d2", versions={"torch": "2"}),
    ]
    facts = BEGUN | {identity.CHANGES: changes}
    made = [identity.code_and_versions(facts, number) for number in range(7)]
    assert [m["code"] for m in made] == ["c0", "c0, later c1, later c2", "c1", "c0", "c1", "c1, later c2", "c2"]
    assert [m["data"] for m in made] == ["d0", "d0, later d2", "d0", "d0", "d0", "d0, later d2", "d2"]
    assert [m["torch"] for m in made] == ["1", "1, later 2", "1", "1", "1", "1, later 2", "2"]
    assert made[2]["git_commit"] == "g1" and made[0]["git_commit"] == "g0"
    assert "code c0 -> c1; trials from 4 on; in part trials 1; begun again 2" in identity.history(facts)
    assert identity.history(BEGUN) == ""


# --- the whole way ---------------------------------------------------------------------------------------------------

TASK = """
from pathlib import Path

import torch
from espalier.core.task import Data
from nets import SLOPE

class Line:
    def __init__(self, path: str = ""):
        self.offset = float(Path(path).read_text()) if path else 0.0

    def model(self):
        return torch.nn.Linear(1, 1)

    def loss(self, model, batch):
        return (model(batch[0]) - batch[1]).square().mean()

    def data(self):
        x = torch.linspace(-1, 1, 64)[:, None]
        return Data((x[::2], SLOPE * x[::2] + self.offset), (x[1::2], SLOPE * x[1::2] + self.offset))
"""
STOP_AFTER = """
import sys
from espalier.core.training.events import Ended
from espalier.sweeps.cli.process import command
from espalier.sweeps.running.loop import Loop

take_turn = Loop.take_turn

def take_turn_and_stop(self, cohort, turn):
    take_turn(self, cohort, turn)
    if any(isinstance(event, Ended) for event in turn.events):
        self.interrupt.asked.set()

Loop.take_turn = take_turn_and_stop
command()
"""
SPEC = {
    "name": "line",
    "task": "mytask.py:Line",
    "schedule": "constant",
    "budget": {"steps": 40, "batch_size": 8, "reports": 2},
    "space": {"lr_exponent": {"low": -2, "high": -1}},
    "trials": 6,
    "search": {"sampler": "random"},
    "task_options": {"path": "offset.txt"},
    "resources": {"cohorts": 1, "cpus": 1, "program": "plain"},
}


@pytest.mark.usefixtures("no_ray")
def test_what_has_changed_is_refused_before_anything_starts(tmp_path: Path, sweep: Callable[..., Any]) -> None:
    """An interrupted sweep, made without Ray; the data, a helper and the task itself change in turn."""
    for name, text in (("mytask.py", TASK), ("nets.py", "SLOPE = 3.0"), ("offset.txt", "0")):
        (tmp_path / name).write_text(text)
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(SPEC))
    home = Home.at(str(tmp_path / "home"))
    spec, store = load_spec(str(tmp_path / "spec.yaml")), SweepStore.open(home.storage)
    study = store.create("line-1", spec, check_spec(spec, home)).study
    domain = {"lr_exponent": distribution(Range(low=-2, high=-1))}
    study.ask(domain)
    changes = {"mytask.py": TASK + "# more", "nets.py": "SLOPE = 3.0 # more", "offset.txt": "1"}
    for name, text in changes.items():
        before = (tmp_path / name).read_text()
        (tmp_path / name).write_text(text)
        for wish in (["resume", "line"], ["run", "spec.yaml", "--id", "line-1"]):
            said = sweep(*wish)
            last = said.output.strip().splitlines()[-1]
            assert said.exit_code == 2 and last.startswith("sweep: line-1: "), said.output
            assert ("the data (" in last) == (name == "offset.txt") != ("the task's code (" in last)
        (tmp_path / name).write_text(before)
    said = sweep("run", "spec.yaml", "--id", "line-1", "--set", "trials=7", "--set", "budget.steps=3")
    assert (
        said.exit_code == 2 and "budget.steps (40 there, 3 here)" in said.output and "trials (6 there, " in said.output
    )
    assert identity.CHANGES not in store.load("line-1").facts
    for _ in range(5):
        study.ask(domain)
    for number in range(6):
        study.tell(number, 0.5)
    (tmp_path / "nets.py").write_text(
        "SLOPE = 4.0"
    )  # all are trained: `run` would give results of other code as its own
    said = sweep("run", "spec.yaml", "--id", "line-1")
    assert said.exit_code == 2 and "line-1: the task's code (" in said.output, said.output


@pytest.mark.slow
def test_a_sweep_whose_helper_or_data_changed_goes_on_only_with_changed_and_says_so(
    tmp_path: Path, in_process: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver that stops after its first trials; then a file that the task imports is another, and then the data."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name, text in (("mytask.py", TASK), ("nets.py", "SLOPE = 3.0"), ("offset.txt", "0")):
        (folder / name).write_text(text)
    # more trials than one cohort takes, so that some are asked for only after the change
    many = SPEC | {"trials": 20, "search": {"sampler": "tpe"}}
    (folder / "spec.yaml").write_text(yaml.safe_dump(many))
    (tmp_path / "stop_after.py").write_text(STOP_AFTER)
    environment = {"PYTHONPATH": str(own.SEARCH_PATH), "OMP_NUM_THREADS": "1"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    command = [
        sys.executable,
        str(tmp_path / "stop_after.py"),
        "run",
        "project/spec.yaml",
        "--id",
        "line-1",
        "--home",
        "h",
    ]
    first = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert first.returncode == 130, first.stderr
    (folder / "nets.py").write_text("SLOPE = 4.0")
    refused = in_process("run", "project/spec.yaml", "--id", "line-1", "--home", "h", folder=tmp_path)
    assert refused.returncode == 2 and "Traceback" not in refused.stderr, refused.stderr
    last = refused.stderr.strip().splitlines()[-1]
    assert "the task's code (" in last and "the data (" in last and "--changed" in last
    (folder / "nets.py").write_text("SLOPE = 3.0")
    (folder / "offset.txt").write_text("1")
    refused = in_process("resume", "line-1", "--home", "h", folder=tmp_path)
    last = refused.stderr.strip().splitlines()[-1]
    assert refused.returncode == 2 and "the data (" in last and "the task's code (" not in last, refused.stderr
    (folder / "offset.txt").write_text("0")
    (folder / "nets.py").write_text("SLOPE = 4.0")
    other = in_process(
        "run", "project/spec.yaml", "--id", "line-1", "--set", "trials=21", "--home", "h", folder=tmp_path
    )
    assert other.returncode == 2 and "trials (20 there, 21 here)" in other.stderr
    done = in_process("resume", "line-1", "--changed", "--json", "--home", "h", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    shown = json.loads(in_process("show", "line-1", "--json", "--home", "h", folder=tmp_path).stdout)
    facts = SweepStore.open(str(tmp_path / "h" / "optuna.journal")).find("line").facts
    (change,) = facts[identity.CHANGES]
    assert 0 < change["first"] < 20 and change["code"] != facts["code"] and change["data"] != facts["data"]
    for trial in (0, 19):
        written = in_process("best", "line", "--trial", str(trial), "--home", "h", folder=tmp_path)
        best = yaml.safe_load(written.stdout)
        assert best["made_with"]["code"] == (facts if trial == 0 else change)["code"], written.stderr
        if trial == 19:
            (tmp_path / "best.yaml").write_text(written.stdout)
    assert len(shown["trials"]) == 20
    rerun = in_process("rerun", "best.yaml", "--home", "h", folder=tmp_path)
    assert rerun.returncode == 0 and "bit for bit" in rerun.stdout, rerun.stdout + rerun.stderr
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'h' / 'mlflow.db'}")
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    tags = {run.data.tags.get("espalier.trial", ""): run.data.tags for run in runs}
    assert change["code"] in tags[""]["espalier.changed"]
    assert tags["19"]["espalier.code"] == change["code"]
