"""Completion, as a shell asks for it: words that fit, the latest sweeps first, and files."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from espalier.sweeps.cli.completion import SHELLS, VARIABLE
from espalier.sweeps.home import Home
from espalier.sweeps.search.store import SweepStore
from tests.sweeps.made import spec_with

SWEEP = Path(sys.executable).with_name("sweep")


def offered(*words: str, **more: str) -> list[str]:
    """Return what is offered in place of the last of some words."""
    asked = {VARIABLE: "bash_complete", "COMP_WORDS": " ".join(["sweep", *words]), "COMP_CWORD": str(len(words))}
    done = subprocess.run([SWEEP], env=os.environ | asked | more, capture_output=True, text=True, check=True)
    assert not done.stderr
    return done.stdout.split()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    place = Home.at(str(tmp_path / "home"))
    store = SweepStore.open(place.storage)
    for k, name in enumerate(["first", "second", "second"]):
        store.create(f"{name}-{k}", spec_with(name=name), {"created": f"2026-11-2{k}"})
    return place.path


def test_sweeps_of_the_home_are_offered(home: Path) -> None:
    assert offered("show", "sec", SWEEP_HOME=str(home)) == ["plain,second", "plain,second-2", "plain,second-1"]
    assert offered("best", "--home", str(home), "first") == ["plain,first", "plain,first-0"]


def test_of_a_home_that_is_not_there_nothing_is_offered(tmp_path: Path) -> None:
    assert offered("show", "s", SWEEP_HOME=str(tmp_path / "none")) == []
    assert not (tmp_path / "none").exists()


def test_ready_sweeps_and_files_are_offered_for_a_spec() -> None:
    words = offered("run", "names")
    assert {"plain,names", "plain,names-batchnorm"} <= set(words) and words[-1] == "file,names"


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_gets_a_script_that_it_reads(shell: str) -> None:
    script = subprocess.run([SWEEP, "completion", shell], capture_output=True, text=True, check=True).stdout
    assert VARIABLE in script
    if shutil.which(shell):
        subprocess.run([shell, "-c", script], check=True)
