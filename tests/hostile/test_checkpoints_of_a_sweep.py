"""Checkpoints of a real sweep by pieces that has less room than they would take: on the disk, killed and resumed."""

import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from espalier.core.foreign import disk
from tests.hostile.harness import Command

pytestmark = [pytest.mark.hostile, pytest.mark.slow]

MIB, GIB = 1 << 20, 1 << 30
STEPS, TRAININGS = 100, 6
SIZE, ROOM = MIB, 6 * MIB
SOURCE = """
    import time

    def train(config, report):
        x = float((report.resume / "x").read_text()) if report.resume else 1.0
        for step in range(report.start, config.steps):
            x -= config.lr_at(step) * x
            time.sleep(0.1)
            if report.due(step + 1):
                (report.checkpoint / "x").write_text(repr(x))
                (report.checkpoint / "weights").write_bytes(bytes(1 << 20))
                report(step + 1, valid_loss=x * x)
"""
FIELDS = {
    "name": "bounded",
    "function": "train.py:train",
    "share": "checkpoints",
    "schedule": "step",
    "budget": {"steps": STEPS, "trainings": TRAININGS, "reports": 10},
    "space": {"lr": {"low": 1e-4, "high": 0.5, "log": True}, "decay_points": {"low": 0.4, "high": 0.9}},
    "resources": {"cpus": 1, "gpus": 0, "cohorts": 2, "checkpoints_gib": ROOM / GIB},
}


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "train.py").write_text(textwrap.dedent(SOURCE))
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(FIELDS))
    commands.clear()
    yield tmp_path
    for command in commands:
        command.clean_up()


commands: list[Command] = []


def start(project: Path, *arguments: str) -> Command:
    """Start a command in the project's folder."""
    place = project / f"command-{len(commands)}"
    place.mkdir()
    commands.append(Command([*arguments, "--home", "home", "--json"], place, cwd=project))
    return commands[-1]


def test_a_killed_sweep_keeps_within_its_room_and_pays_for_what_it_trains_again(project: Path) -> None:
    most = 0

    def taken() -> int:
        nonlocal most
        now = sum(disk.taken(trials) for trials in project.glob("home/sweeps/*/trials"))
        most = max(most, now)
        return now

    driver = start(project, "run", "sweep.yaml")
    driver.wait_until(lambda: taken() > ROOM - SIZE, "the room was full")
    driver.kill()
    (folder,) = project.glob("home/sweeps/*")
    again = start(project, "resume", folder.name)
    again.wait_until(lambda: taken() < 0 or again.process.poll() is not None, "it ended")
    found = again.document()
    assert most <= 2 * ROOM, "what is saved before the driver looks again comes on top"
    assert taken() <= ROOM
    assert found["checkpoints"]["removed"] > 0
    assert 0.7 * TRAININGS * STEPS < found["lane_steps"] <= (TRAININGS + 1) * STEPS, (
        "one piece may cost more than known"
    )
    assert set(found["states"]) <= {"complete", "stopped"}
