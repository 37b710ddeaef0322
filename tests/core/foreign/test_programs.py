"""Which programs a command finds: those of the environment in which the sweep runs, unless another is activated."""

import os
import sys
from pathlib import Path

import pytest

from espalier.core.foreign.launch import environment
from espalier.core.foreign.programs import found_program, with_own_programs
from tests.core.foreign.made import assignment, command_cohort, end_of

OWN = str(Path(sys.prefix) / "bin")
SAYS_WHICH = """
    import json, sys
    print(json.dumps({"step": 40, "valid_loss": float(sys.prefix == %r)}))
"""
in_an_environment = pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="this Python has no environment")


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs with another python, all that the search path has; no environment is activated."""
    folder = tmp_path / "system"
    folder.mkdir()
    (folder / "python").write_text("#!/bin/sh\nexit 3\n")
    (folder / "python").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV"):
        monkeypatch.delenv(name, raising=False)
    return folder


@in_an_environment
def test_python_is_that_of_an_environment_that_is_not_activated(system: Path, tmp_path: Path) -> None:
    command = ["python", "script.py", "${args}"]
    end = end_of(command_cohort(tmp_path, SAYS_WHICH % sys.prefix, [assignment("0/0")], command=command))
    assert end.values == {"valid_loss": 1.0}, end


@in_an_environment
def test_an_environment_that_is_activated_stays_first(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment()["PATH"].split(os.pathsep)[0] == OWN
    monkeypatch.setenv("CONDA_PREFIX", "/opt/conda")
    monkeypatch.setenv("CONDA_DEFAULT_ENV", "base")  # nobody chose it
    assert environment()["PATH"].split(os.pathsep)[0] == OWN
    monkeypatch.setenv("CONDA_DEFAULT_ENV", "mine")
    assert environment()["PATH"].split(os.pathsep)[0] == str(system)
    monkeypatch.delenv("CONDA_PREFIX")
    monkeypatch.setenv("VIRTUAL_ENV", "/somewhere/else")
    assert environment()["PATH"] == os.environ["PATH"]


def test_without_any_python_it_is_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    variables = with_own_programs({"PATH": str(tmp_path)})
    assert variables == {"PATH": str(tmp_path)}
    assert found_program("python3", variables) == sys.executable
    assert found_program("torchrun", variables) is None
    script = SAYS_WHICH.replace("sys.prefix == %r", "True")
    command = ["python", "script.py", "${args}"]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert end_of(command_cohort(tmp_path, script, [assignment("0/0")], command=command)).values == {"valid_loss": 1.0}
