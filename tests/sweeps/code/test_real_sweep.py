"""Real sweeps whose files are edited on the way."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from espalier.core import own
from tests.sweeps.code.project import SPEC, make_project
from tests.sweeps.test_identity import STOP_AFTER

Run = Callable[..., "subprocess.CompletedProcess[str]"]
LONG = SPEC | {"budget": {"steps": 3_000, "batch_size": 8, "reports": 2}, "trials": 20}  # several turns of a worker
LONG |= {"resources": SPEC["resources"] | {"lanes": 1}}


def values(run: Run, sweep: str, folder: Path) -> dict[int, Any]:
    shown = json.loads(run("show", sweep, "--json", "--home", "h", folder=folder).stdout)
    return {trial["number"]: trial["value"] for trial in shown["trials"]}


@pytest.mark.slow
def test_an_edited_sweep_gives_the_numbers_of_one_that_was_never_interrupted(
    tmp_path: Path, in_process: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path / "project")
    (project / "spec.yaml").write_text(yaml.safe_dump(LONG))
    (tmp_path / "stop_after.py").write_text(STOP_AFTER)
    monkeypatch.setenv("PYTHONPATH", str(own.SEARCH_PATH))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run = ("run", "project/spec.yaml", "--home", "h", "--id")
    whole = in_process(*run, "whole-1", folder=tmp_path)
    assert whole.returncode == 0, whole.stderr
    command = [sys.executable, str(tmp_path / "stop_after.py"), *run, "cut-1"]
    cut = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert cut.returncode == 130, cut.stderr
    assert None in values(in_process, "cut-1", tmp_path).values()
    (project / "nets.py").write_text("SLOPE = 4.0\n")
    (project / "package" / "beside.py").unlink()
    resumed = in_process("resume", "cut-1", "--home", "h", folder=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert "nets.py has changed since, beside.py is gone; the sweep goes on with the code" in resumed.stderr
    assert values(in_process, "cut-1", tmp_path) == values(in_process, "whole-1", tmp_path)


@pytest.mark.slow
def test_a_rerun_after_an_edit_finds_the_code_in_the_file_in_the_home_and_in_mlflow(
    tmp_path: Path, in_process: Run
) -> None:
    project = make_project(tmp_path / "project")
    (project / "spec.yaml").write_text(yaml.safe_dump(SPEC))
    run = in_process("run", "project/spec.yaml", "--home", "h", "--id", "line-1", folder=tmp_path)
    assert run.returncode == 0, run.stderr
    best = in_process("best", "line-1", "--home", "h", folder=tmp_path).stdout
    (tmp_path / "best.yaml").write_text(best)
    content = yaml.safe_load(best)
    del content["code"]["archive"]
    (tmp_path / "lean.yaml").write_text(yaml.safe_dump(content))
    (project / "nets.py").write_text("SLOPE = 4.0\n")

    def rerun(file: str, *more: str) -> "subprocess.CompletedProcess[str]":
        return in_process("rerun", file, "--home", "h", *more, folder=tmp_path)

    here = rerun("best.yaml", "--code", "here")
    assert here.returncode == 1 and "nets.py has changed since" in here.stdout, here.stdout + here.stderr
    for file, where in (("best.yaml", "best.yaml holds"), ("lean.yaml", "recorded code")):
        again = rerun(file)
        assert again.returncode == 0 and "bit for bit" in again.stdout and where in again.stderr, again.stderr
    shutil.rmtree(tmp_path / "h" / "sweeps" / "line-1" / "code")
    again = rerun("lean.yaml")
    assert again.returncode == 0 and "recorded in MLflow" in again.stderr, again.stderr
    deleted = in_process("delete", "line-1", "--records", "--yes", "--home", "h", folder=tmp_path)
    assert deleted.returncode == 0, deleted.stderr
    lost = rerun("lean.yaml")
    assert lost.returncode == 2 and "--code here" in lost.stderr.strip().splitlines()[-1], lost.stderr
