"""Programs of their authors' own, swept, killed, stopped and rerun: nanoGPT's kind, Lightning, Hugging Face, and so on.

Each lies in a folder outside the checkout, as its author had it (bare) and with the documented lines (swept).
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.hostile.processes import wait_until
from tests.programs.harness import Program, lines_written, path_with_this_python

PAGE = Path(__file__).parents[2] / "docs" / "trainers.md"
LONG = {
    "nanogpt": 200,
    "lightning": 600,
    "huggingface": 600,
    "images": 120,
    "torchrun": 1500,
    "accelerate": 1500,
    "workers": 1500,
}
"""Steps that take some seconds, so that a trial can be killed in the middle."""
SHARDED: Mapping[str, Mapping[str, object]] = {
    "torchrun": {
        "command": "torchrun --standalone --nproc-per-node 2 train.py ${args} --steps ${steps} --seed ${seed} --shard"
    },
    "workers": {"space": {"lr": {"low": 0.01, "high": 0.3, "log": True}, "momentum": 0.9, "shard": True}},
}
RATE = {"nanogpt": "learning_rate"}  # what a program calls it
VERSIONS = [*LONG, *(f"{name}-fsdp" for name in SHARDED)]


@pytest.fixture(autouse=True)
def _python_of_this_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person has activated the environment, in which `python` and `torchrun` are its own."""
    monkeypatch.setenv("PATH", path_with_this_python())


@pytest.fixture
def program(make_program: Callable[..., Program], version: str) -> Program:
    """A program whose trials take some seconds."""
    name = version.removesuffix("-fsdp")
    changes = SHARDED[name] if version.endswith("-fsdp") else {}
    return make_program(name, budget={"steps": LONG[name], "reports": 10}, **changes)


def test_the_page_says_how_many_lines_a_user_writes() -> None:
    """Lines of a program that differ from its bare version, empty ones left out."""
    rows = re.findall(r"^\| [^|]*\| (\d+) \|$", PAGE.read_text(), re.M)
    assert sorted(map(int, rows)) == sorted(map(lines_written, LONG))


def ended(program: Program, status: str) -> list[str]:
    """Return the trials that ended so."""
    return [trial for trial, end in program.ends().items() if end.get("status") == status]


def check_nothing_is_left(program: Program) -> None:
    """No process of the program, or of its sweep, and no shared memory."""
    wait_until(lambda: not program.processes(), f"these ended: {program.processes()}")
    assert program.shared_memory() == []


@pytest.mark.slow
@pytest.mark.hostile
@pytest.mark.parametrize("version", VERSIONS)
def test_a_program_whose_driver_and_a_trial_were_killed_reaches_the_trials_asked_for(program: Program) -> None:
    driver = program.start("run", "sweep.yaml")
    first = program.wait_until(program.in_the_middle, "a trial had saved a checkpoint")
    driver.kill()
    check_nothing_is_left(program)

    program.start("resume", program.id)
    program.wait_until(lambda: first in ended(program, "complete"), "the interrupted trial ended")
    killed = program.wait_until(lambda: program.in_the_middle() and program.trainers(), "another trial trained")
    killed[-1].kill()
    summary = program.document()

    assert summary["trials"] == program.spec["trials"], summary
    assert summary["states"] == {"complete": 3, "failed": 1}, summary
    histories = {tuple(program.steps(trial)) for trial in ended(program, "complete")}
    assert len(histories) == 1, histories  # also of those that were interrupted
    (failed,) = ended(program, "failed")
    assert program.ends()[failed]["evidence"]
    check_nothing_is_left(program)


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_trials_of_a_program_are_stopped_early_and_the_best_repeats_its_numbers(program: Program) -> None:
    rates = program.spec["space"][knob := RATE.get(program.name, "lr")]
    slow = [{knob: rates["low"] * 1.1**k} for k in range(5)]
    first = [{knob: (rates["low"] * rates["high"]) ** 0.5}, *slow]  # one that is better than all others
    program.change(trials=len(first), first=first, stopping={"rungs": [0.2], "least": 2})
    program.start("run", "sweep.yaml")
    summary = program.document()
    assert summary["states"].keys() <= {"complete", "stopped"}, summary
    stopped = ended(program, "stopped")
    assert stopped
    assert all(program.steps(trial)[-1] < program.spec["budget"]["steps"] for trial in stopped)
    check_nothing_is_left(program)

    best = program.start("best", program.id)
    assert best.wait() == 0, best.said()
    program.project.joinpath("best.yaml").write_text(best.out.read_text())
    rerun = program.start("rerun", "best.yaml")
    assert rerun.wait() == 0, rerun.said()
    assert re.search("reproduced: .*, bit for bit", rerun.said()), rerun.said()
    check_nothing_is_left(program)
