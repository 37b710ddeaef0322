"""Checkpoints: written whole or not at all, whatever happens meanwhile, and read without running code."""

import os
import pickle
import random
import resource
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from espalier.core import checkpoint
from espalier.core.optimizers import Adam
from espalier.core.task import Task
from espalier.core.training.cohort import Cohort
from espalier.core.training.setup import CohortSetup
from espalier.core.training.trial import Hyperparameters, Structure, Trial

DAMAGED = (RuntimeError, EOFError, OSError, ValueError, pickle.UnpicklingError, zipfile.BadZipFile)

OLD: dict[str, Any] = {"theta": torch.arange(1000.0), "queue": ["a", "b"], "step": 3, "nested": [({"lr": 0.1}, None)]}


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b) and a.dtype == b.dtype
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that holds OLD."""
    path = tmp_path / "cohort.pt"
    checkpoint.save(path, OLD)
    return path


def assert_untouched(path: Path) -> None:
    assert same(checkpoint.load(path), OLD)
    assert os.listdir(path.parent) == [path.name]


def test_what_is_loaded_is_what_was_saved(path: Path) -> None:
    assert_untouched(path)
    checkpoint.save(path, {"new": 1.5})
    assert checkpoint.load(path) == {"new": 1.5}


def test_a_cohorts_state_survives_the_disk(small_tasks: Mapping[str, Task], tmp_path: Path) -> None:
    task = small_tasks["names with BatchNorm"]
    trials = [Trial(f"t{k}", 0, 9, Hyperparameters(0.1, decay_points=(k / 9,)), 3) for k in (3, 5, 7)]
    cohort = Cohort(CohortSetup(task, task.data(), Structure(Adam(), "step", 7), trials, 2))
    cohort.turn()
    checkpoint.save(tmp_path / "cohort.pt", cohort.state())
    assert same(checkpoint.load(tmp_path / "cohort.pt"), cohort.state())


BIG = {"small": {"x": torch.zeros(3)}, "big": {"x": torch.zeros(3_000_000)}}
every_size = pytest.mark.parametrize("size", BIG)


@every_size
def test_on_a_full_disk_the_old_file_stays_and_the_error_says_so(path: Path, size: str) -> None:
    """The system's own error: /dev/full answers every write with ENOSPC."""
    path.with_name(path.name + ".part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device"):
        checkpoint.save(path, BIG[size])
    assert_untouched(path)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_where_a_write_fails_halfway_the_old_file_stays_and_the_error_says_why(path: Path) -> None:
    with files_of_at_most(100_000), pytest.raises(OSError, match="File too large"):
        checkpoint.save(path, BIG["big"])
    assert_untouched(path)


@pytest.mark.parametrize("step", ("fsync", "replace"))
def test_a_failure_at_any_step_of_saving_leaves_the_old_file(
    path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, step, fails)
    with pytest.raises(OSError, match="Input/output error"):
        checkpoint.save(path, {"new": 1})
    assert_untouched(path)


def test_what_cannot_be_saved_leaves_the_old_file(path: Path) -> None:
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        checkpoint.save(path, {"x": lambda: None})
    assert_untouched(path)


SAVES_FOREVER = """
import sys, torch
from pathlib import Path
from espalier.core import checkpoint
step = 0
while True:
    checkpoint.save(Path(sys.argv[1]), {"step": step, "x": torch.full((400_000,), float(step))})
    step += 1
    print(step, flush=True)
"""


@pytest.mark.parametrize("kills", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_a_process_killed_while_saving_leaves_a_whole_file(tmp_path: Path, kills: int) -> None:
    """Killed anywhere, mostly halfway through a file; the leftover of it is in nobody's way."""
    path = tmp_path / "cohort.pt"
    checkpoint.save(path, {"step": -1, "x": torch.full((400_000,), -1.0)})
    draw = random.Random(0)
    for _ in range(kills):
        command = [sys.executable, "-c", SAVES_FOREVER, str(path)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()}
        ) as process:
            assert process.stdout
            for _ in range(draw.randint(1, 9)):
                assert process.stdout.readline(), "the process ended by itself"
            process.send_signal(signal.SIGKILL)
        state = checkpoint.load(path)
        assert state["x"].eq(state["step"]).all()
    checkpoint.save(path, OLD)
    assert_untouched(path)


@pytest.mark.parametrize("kept", (0.0, 0.01, 0.5, 0.999))
def test_a_cut_file_raises(path: Path, kept: float) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(DAMAGED):
        checkpoint.load(path)


def test_a_file_of_something_else_raises(path: Path) -> None:
    path.write_text("not a checkpoint\n" * 100)
    with pytest.raises(DAMAGED):
        checkpoint.load(path)


def test_a_flipped_bit_raises(path: Path) -> None:
    """A wrong weight is worse than a lost checkpoint."""
    damaged = bytearray(path.read_bytes())
    place = damaged.find(torch.arange(100.0, 110.0).numpy().tobytes())
    assert place > 0
    damaged[place] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(DAMAGED):
        checkpoint.load(path)


def test_a_missing_file_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        checkpoint.load(tmp_path / "cohort.pt")


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("sprung",))


def test_loading_runs_no_code(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    torch.save({"trap": Trap()}, path)
    with pytest.raises(pickle.UnpicklingError):
        checkpoint.load(path)
    assert not Path("sprung").exists()
