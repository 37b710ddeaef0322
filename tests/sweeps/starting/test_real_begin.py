"""From an empty folder, a script, or the page, to a best configuration, by the commands as they are given."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from espalier.sweeps.spec.spec import load_spec

Run = Callable[..., "subprocess.CompletedProcess[str]"]
PAGE = Path(__file__).parents[3] / "docs" / "your-code.md"
SCRIPTS = Path(__file__).parent / "scripts"
WAYS = ("function", "command", "task")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its state lies there too; `python` is this one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]))


def example(way: str) -> tuple[str, str]:
    """Return the code and the spec that the page shows for a way."""
    section = re.split(r"^### ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1 + WAYS.index(way)]
    (code,) = re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    (spec,) = re.findall(r"^```yaml\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    return code, spec


def write_example(way: str, folder: Path) -> None:
    for name, text in zip(("train.py", "sweep.yaml"), example(way), strict=True):
        (folder / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize("way", WAYS)
def test_the_specs_of_the_page_are_specs(way: str, tmp_path: Path) -> None:
    write_example(way, tmp_path)
    assert getattr(load_spec("sweep.yaml"), way)


def test_the_space_of_the_page_is_the_same_in_all_ways(tmp_path: Path) -> None:
    spaces = []
    for way in WAYS:
        write_example(way, tmp_path)
        spaces.append(load_spec("sweep.yaml").space.searched())
    assert spaces[0] == spaces[1] == spaces[2]


def best_after(run: Run, commands: list[str], folder: Path) -> str:
    """Run commands as they were given, the first a sweep; return what the last printed."""
    done = None
    for command in commands:
        _, *words = shlex.split(command.partition(">")[0])
        done = run(*words, folder=folder)
        assert done.returncode == 0, done.stdout + done.stderr
    assert done
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_an_empty_folder_has_a_best_configuration_after_three_commands(
    way: str, in_process: Run, tmp_path: Path
) -> None:
    begun = in_process("init", f"--{way}", "--name", "mine", folder=tmp_path)
    assert begun.returncode == 0, begun.stderr
    best = best_after(in_process, [line.strip() for line in begun.stdout.splitlines()[-2:]], tmp_path)
    assert "params: " in best or "params:\n" in best


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_the_examples_of_the_page_run(way: str, in_process: Run, tmp_path: Path) -> None:
    write_example(way, tmp_path)
    best_after(in_process, ["sweep run sweep.yaml --set trials=2", "sweep best mine > best.yaml"], tmp_path)


EFFECT = """
import zlib


def effect(options):
    return zlib.crc32(repr(options).encode()) / 2**34


"""
LOSSES = {"with_argparse": ("3.0 / (epoch + 1)", "vars(args)"), "with_click": ("0.5", "options")}
"""What a script prints, which is to depend on its options: a sweep refuses to search what changes nothing."""


@pytest.mark.slow
@pytest.mark.parametrize("script", LOSSES)
def test_a_script_has_a_best_configuration_after_three_commands(script: str, in_process: Run, tmp_path: Path) -> None:
    loss, options = LOSSES[script]
    source = EFFECT + (SCRIPTS / f"{script}.py").read_text()
    (tmp_path / "train.py").write_text(source.replace(loss, f"{loss} + effect({options})"))
    begun = in_process("init", "--from", "python train.py", folder=tmp_path)
    assert begun.returncode == 0, begun.stderr
    commands = [line.strip() for line in begun.stdout.splitlines()[-2:]]
    best = best_after(in_process, [f"{commands[0]} --set trials=2", commands[1]], tmp_path)
    assert "batch-size: " in best
