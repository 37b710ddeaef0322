"""One small real sweep for all tests that only read what a sweep leaves behind, and ways to call the command."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from tests.shared import made_once

ROOT = Path(__file__).resolve().parents[2]


def sweep_process(*arguments: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run the real command in a process of its own, from `folder`."""
    environment = {k: v for k, v in os.environ.items() if k != "SWEEP_HOME"}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "COLUMNS": "110"}
    command = [sys.executable, "-m", "espalier.sweeps.cli", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="session")
def in_process() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """The command in a process of its own: `in_process("list", folder=...)`."""
    return sweep_process


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands in this process train nothing: each would begin to start Ray, and the next would wait for it."""
    from espalier.sweeps.running.machine import RaySession

    monkeypatch.setattr(RaySession, "start", lambda session: None)


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command in this process, from an empty folder whose state lies in its own home: `sweep("list")`."""
    from espalier.sweeps.cli.app import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SWEEP_HOME", str(tmp_path / "home"))
    return lambda *arguments: CliRunner().invoke(main, list(arguments), prog_name="sweep")


@dataclass(frozen=True)
class SmallSweep:
    """What a real sweep left behind. Read it; a test that changes it works on a copy."""

    home: Path
    spec_file: Path
    said: "subprocess.CompletedProcess[str]"

    @property
    def document(self) -> dict[str, Any]:
        """What `--json` printed."""
        return json.loads(self.said.stdout)

    @property
    def id(self) -> str:
        """The sweep's id."""
        return self.document["sweep"]

    @property
    def folder(self) -> Path:
        """The sweep's folder in its home."""
        return self.home / "sweeps" / self.id


SMALL = {
    "name": "small",
    "task": "espalier.core.tasks.names:Names",
    "schedule": "step",
    "budget": {"steps": 60, "batch_size": 16, "reports": 5},
    # a grid, so that the trials are known beforehand: two trunks that learn and one whose loss overflows
    "space": {"lr_exponent": [-1.5, -0.5, 38], "decay_points": {"low": 0.4, "high": 0.8, "step": 0.2}},
    "search": {"sampler": "grid"},
    "trials": 9,
}


@pytest.fixture(scope="session")
def small_sweep(tmp_path_factory: pytest.TempPathFactory) -> SmallSweep:
    """Nine trials of 60 steps on 83 generated words, by the real command on a real Ray; three of them diverge."""
    return made_once(tmp_path_factory, "small", partial(run_small, fields=SMALL))


HALVED = SMALL | {
    "name": "halved",
    "space": {"lr_exponent": {"low": -3, "high": 0}, "decay_points": {"low": 0.4, "high": 0.8, "branches": 2}},
    "search": {"sampler": "random", "seed": 1},
    "trials": 16,
    "replicates": 2,
    "stopping": {"rungs": [0.2, 0.5], "least": 2},
    "resources": {"cohorts": 2, "lanes": 3},
}


@pytest.fixture(scope="session")
def halved_sweep(tmp_path_factory: pytest.TempPathFactory) -> SmallSweep:
    """Sixteen trials of two seeds each, in cohorts that train at once, halved at two rungs."""
    return made_once(tmp_path_factory, "halved", partial(run_small, fields=HALVED))


def run_small(folder: Path, fields: dict[str, Any]) -> SmallSweep:
    draw = random.Random(7)
    words = ["".join(draw.choices("abcdefghijkl", k=draw.randint(1, 9))) for _ in range(83)]
    (folder / "words.txt").write_text("\n".join(words))
    options = {"path": str(folder / "words.txt"), "hidden": 11, "embedding": 5, "validation": 37}
    spec_file = folder / "small.yaml"
    spec_file.write_text(yaml.safe_dump(fields | {"task_options": options}))
    said = sweep_process("run", str(spec_file), "--json", "--home", str(folder / "home"), folder=folder)
    assert said.returncode == 0, said.stderr
    return SmallSweep(folder / "home", spec_file, said)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow store in which nothing is recorded yet: making its tables takes seconds, copying it does not."""
    return made_once(tmp_path_factory, "store", make_store)


def make_store(folder: Path) -> Path:
    from espalier.sweeps.address import sqlite_url
    from espalier.sweeps.recording.store import prepare_store

    prepare_store(sqlite_url(folder / "mlflow.db"))
    return folder / "mlflow.db"
