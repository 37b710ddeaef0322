"""Does each hyperparameter of a function or a command act? Short runs with one moved, at the start and by check.

Most of these train a script that imports no torch.
"""

import json
import os
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result

from espalier.core.errors import BadInput
from espalier.core.foreign.launch import FunctionLauncher
from espalier.core.loading.folders import restoring_folder
from espalier.sweeps.checks import checkup, knobs
from espalier.sweeps.checks.knobs import try_knobs
from espalier.sweeps.checks.process_page import ProcessCheck, examine_processes
from espalier.sweeps.checks.short_runs import ShortRun, ShortRuns
from espalier.sweeps.home import Home
from espalier.sweeps.running import driver
from espalier.sweeps.spec.overrides import without_search
from espalier.sweeps.spec.spec import SweepSpec, make_spec

Command = Callable[..., Result]
RATE = {"low": 1e-3, "high": 0.1, "log": True}
FUNCTION = """
    import time

    def train(config, report):
        x, velocity = 1.0, 0.0
        for step in range(config.steps):
            if config.optimizer == "momentum":
                velocity = config.beta * velocity + x
            else:
                velocity = x
            x -= config.lr_at(step) * velocity + (0.1 * config.late if step == 25 else 0.0)
            if report.due(step + 1):
                report(step + 1, valid_loss=x * x, seconds=time.perf_counter(), unread=config.unread)
"""
SCRIPT = """
    import random, sys, time
    given = dict(zip(sys.argv[1::2], map(float, sys.argv[2::2])))
    x = 1.0
    for step in range(1, 61):
        x -= given["--lr"] * x
        if step % 20 == 0:
            print('{"step": %d, "valid_loss": %r}' % (step, x), flush=True)
"""


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    with restoring_folder():
        yield


def script_spec(source: str = SCRIPT, **changed: Any) -> SweepSpec:
    """Return the spec of a script, which is written into the current folder."""
    Path("script.py").write_text(textwrap.dedent(source))
    fields = {
        "name": "mine",
        "command": ["python", "script.py", "${args}"],
        "budget": {"steps": 60},
        "space": {"lr": RATE, "dropout": {"low": 0.0, "high": 0.5}},
        "trials": 4,
    }
    return make_spec(fields | changed)


# --- what each comes to -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> ProcessCheck:
    """The check of FUNCTION, whose function is imported once for all of its runs."""
    file = tmp_path_factory.mktemp("checked") / "train.py"
    file.write_text(textwrap.dedent(FUNCTION))
    space = {
        "lr": RATE,
        "optimizer": ["plain", "momentum"],
        "beta": {"low": 0.5, "high": 0.9, "when": {"optimizer": "momentum"}},
        "late": [0.0, 1.0],
        "unread": [1, 2, 3],
        "decay_points": {"low": 0.4, "high": 0.9},
        "warmup": [0.0, 0.1],
        "seed": [0, 1],
    }
    spec = make_spec({"name": "mine", "function": f"{file}:train", "budget": {"steps": 200}, "space": space})
    return examine_processes(spec)


def test_what_acts_moves_what_is_reported_and_what_is_not_read_does_not(checked: ProcessCheck) -> None:
    found = {name: moved.verdict for name, moved in checked.moved.items()}
    assert found == {
        "lr": "moves",
        "optimizer": "moves",
        "beta": "moves",  # where it exists: at the first point it does not
        "late": "moves",  # at a step after the first report
        "unread": "still",  # a metric of its own name is no effect, nor is the time that a run took
        "decay_points": "scheduled",
        "warmup": "scheduled",
    }, "a seed is no hyperparameter that has to act"
    assert checked.moved["unread"].sentence == "it changes nothing in the first 40 steps"
    assert "valid_loss" in checked.moved["beta"].sentence
    assert "from step 80 on" in checked.moved["decay_points"].sentence
    assert "from step 0 on" in checked.moved["warmup"].sentence


def test_a_check_is_a_page_with_what_was_run_its_time_and_each_hyperparameter(checked: ProcessCheck) -> None:
    said = {finding.what: finding for finding in checked.checkup.findings}
    assert list(said)[:4] == ["run", "objective", "time", "repeatable"] and list(said)[-2:] == ["forecast", "memory"]
    assert "train.py with lr 0.01," in said["run"].sentence and "step 40: valid_loss" in said["run"].sentence
    assert [name for name, finding in said.items() if finding.level == "fail"] == ["unread"]
    assert "train.py may not read it; write acts_later: [unread]" in said["unread"].sentence
    assert not checked.checkup.passed
    document = json.loads(json.dumps(checked.document()))
    assert document["hyperparameters"]["unread"]["verdict"] == "still"
    assert document["forecast"]["wall_s"] > 0
    assert document["memory"]["main"] > 10 << 20 and " at once: " in said["memory"].sentence


def test_a_run_without_results_fails_the_check_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    silent = examine_processes(script_spec("print('hello')"))
    assert [(f.level, f.what) for f in silent.checkup.findings] == [("fail", "run")]
    assert "without a report" in silent.checkup.findings[0].sentence
    other = examine_processes(script_spec(space={"lr": RATE}, objective={"metric": "accuracy", "mode": "max"}))
    (failed,) = [f.sentence for f in other.checkup.findings if f.level == "fail"]
    assert "report" in failed and "accuracy" in failed


@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="this Python has no environment")
def test_a_check_names_the_python_of_a_command_where_a_shell_would_take_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\nexit 3\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    monkeypatch.delenv("CONDA_PREFIX", raising=False)
    first, *_ = examine_processes(script_spec("print('hello')")).checkup.findings
    own = Path(sys.prefix) / "bin" / "python"
    assert (first.what, first.level) == ("program", "pass")
    assert first.sentence.startswith(f"python is {own}, of the environment")
    assert first.sentence.endswith(f"take {other}")


# --- at the start of a sweep ------------------------------------------------------------------------------------------


def test_a_sweep_whose_code_does_not_read_a_hyperparameter_is_refused_before_it_exists(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    session: Any = None  # it is refused before Ray is needed
    with pytest.raises(BadInput) as refused:
        driver.start(script_spec(), home, lambda progress: nullcontext(), session, "mine-1")
    assert str(refused.value) == (
        "space.dropout: it changes nothing in the first 40 steps: script.py may not read it; write "
        "acts_later: [dropout] if it acts later"
    )
    assert not home.sweep("mine-1").exists()


def test_what_acts_later_is_not_tried() -> None:
    assert try_knobs(script_spec(acts_later=["dropout"])) == []
    nothing = {"lr": RATE, "dropout": [0.0, 0.1]}
    assert try_knobs(script_spec("raise SystemExit(1)", space=nothing, acts_later=["lr", "dropout"])) == []


@pytest.mark.parametrize(
    "source, why",
    [
        (SCRIPT.replace("%r}' % (step, x)", "%r}' % (step, random.random())"), "one seed differ in valid_loss"),
        ("raise ValueError('no data here')", "no data here"),
        ("import time; time.sleep(60)", "no report after 1 s"),
    ],
    ids=["random", "fails", "slow"],
)
def test_where_nothing_can_be_told_a_sweep_starts_with_one_note(
    source: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(knobs, "START_FIRST_S", 1.0 if "sleep" in source else 60.0)
    (note,) = try_knobs(script_spec(source))
    assert note.startswith("whether script.py reads each hyperparameter was not tried: ") and why in note


@pytest.mark.parametrize(("share", "runs"), [(0.0, 1), (10.0, 4)], ids=["short sweep", "long sweep"])
def test_a_point_whose_reports_come_late_is_trained_again_only_where_the_sweep_takes_far_longer(
    share: float, runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[object] = []

    def run(self: ShortRuns, sampled: dict[str, Any], enough: object = None) -> ShortRun:
        trained.append(sampled)
        return ShortRun([(40, {"valid_loss": sum(sampled.values())})], 55.0, 60.0, False, "")

    monkeypatch.setattr(ShortRuns, "run", run)
    monkeypatch.setattr(knobs, "START_SHARE", share)
    notes = try_knobs(script_spec())
    assert len(trained) == runs
    assert bool(notes) == (runs == 1) and all(
        "its first reports took 60 s; sweep check takes" in note for note in notes
    )


def test_what_there_is_no_time_for_is_named_in_one_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knobs, "START_LEAST_S", 0.0)
    monkeypatch.setattr(knobs, "START_SHARE", 0.0)
    (note,) = try_knobs(script_spec())
    assert note == "whether script.py reads lr, dropout was not tried, to save time: sweep check does"


def test_an_import_that_takes_too_long_is_ended() -> None:
    Path("train.py").write_text("import time\ntime.sleep(600)\ndef train(config, report): ...")
    spec = make_spec({"name": "mine", "function": "train.py:train", "space": {"lr": RATE}, "budget": {"steps": 60}})
    begin = time.monotonic()
    with ShortRuns(spec, 0.1, 1.0) as runs:
        run = runs.run({"lr_exponent": -2.0, "seed": 0})
        launcher = runs.cohort.setup.launcher
        assert isinstance(launcher, FunctionLauncher) and launcher.template is None
    assert run.late and not run.reports
    assert time.monotonic() - begin < 300, "nobody waits for the import"


def test_a_function_is_imported_once_though_nobody_limits_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    importing = "from pathlib import Path\nwith open('imports', 'a') as file:\n    file.write('x')\nimport numpy\n"
    Path("train.py").write_text(importing + textwrap.dedent(FUNCTION))
    space = {"lr": RATE, "optimizer": ["plain"], "late": [0.0, 1.0], "unread": 1, "beta": 0.5}
    spec = make_spec({"name": "mine", "function": "train.py:train", "space": space, "budget": {"steps": 60}})
    with ShortRuns(spec, 60.0, 60.0) as runs:
        assert [moved.verdict for moved in knobs.Knobs(spec, runs).tried(["lr_exponent", "late"])] == ["moves"] * 2
    assert Path("imports").read_text() == "x"
    assert "OMP_NUM_THREADS" not in os.environ


# --- the spec, and the commands ---------------------------------------------------------------------------------------


def test_acts_later_names_what_is_searched() -> None:
    with pytest.raises(BadInput, match=r"acts_later: dropuot is not searched; did you mean 'dropout'\?"):
        script_spec(acts_later=["dropuot"])
    with pytest.raises(BadInput, match="acts_later: it is for a function or a command"):
        make_spec({"name": "a", "task": "names", "acts_later": ["momentum"]})
    spec = script_spec(acts_later=["dropout"])
    point = {"lr": 0.1, "dropout": 0.2}
    assert make_spec(without_search(spec.model_dump(mode="json")) | {"space": point}).acts_later == ()


def test_check_of_a_command_is_recorded_and_what_needs_a_task_is_refused(
    sweep: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded: list[tuple[Any, ...]] = []
    monkeypatch.setattr(checkup, "record_once", lambda *run: recorded.append(run) or "f" * 32)
    fields = script_spec(space={"lr": RATE}).model_dump(mode="json", exclude_defaults=True)
    Path("mine.yaml").write_text(yaml.safe_dump(fields))
    said = sweep("check", "mine.yaml")
    assert said.exit_code == 0, said.output
    assert "pass  lr: 0.01 -> 0.001: valid_loss" in said.output and " 0 failed" in said.output
    ((_, _, kind, tags, series, texts, _),) = recorded
    assert kind == "check" and tags["espalier.passed"] == "true" and series["findings_fail"] == [(0, 0.0)]
    assert texts["check.txt"] in said.output and json.loads(texts["check.json"])["hyperparameters"]["lr"]
    for refused in (sweep("lr-range", "mine.yaml"), sweep("check", "mine.yaml", "--lsuv")):
        assert refused.exit_code == 2 and "a command trains" in refused.output
