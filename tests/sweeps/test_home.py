"""The folder in which a sweep's state lies, and its checkpoints."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

import espalier as es
from espalier.core import checkpoint
from espalier.core.errors import BadInput
from espalier.sweeps.home import COHORT_FILE, Home, last_checkpoint, new_id
from espalier.sweeps.origins.home_origin import HomeOrigin
from espalier.sweeps.search.store import SweepStore
from tests.sweeps.made import spec_with


def test_a_home_is_the_one_named_or_that_of_the_environment_or_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SWEEP_HOME", "")
    assert Home.at(None).path == tmp_path / "sweep-data"
    monkeypatch.setenv("SWEEP_HOME", str(tmp_path / "there"))
    assert Home.at(None).path == tmp_path / "there"
    assert Home.at("named").path == tmp_path / "named"
    assert all((tmp_path / name).is_dir() for name in ("sweep-data", "there", "named"))


def test_looking_whether_a_home_can_be_written_leaves_nothing(tmp_path: Path) -> None:
    assert list(Home.at(str(tmp_path / "home")).path.iterdir()) == []


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(BadInput, match=r"--home .*home: cannot be written .*name another folder"):
        Home.at(str(tmp_path / "home"))


def test_the_storage_of_a_home_is_a_journal_in_it_or_the_database_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home.at(str(tmp_path))
    assert home.storage == str(tmp_path / "optuna.journal")
    monkeypatch.setenv("SWEEP_STORAGE_URL", "postgresql://me@host/optuna")
    assert home.storage == "postgresql://me@host/optuna"


def test_an_id_is_the_name_the_day_and_four_characters() -> None:
    assert re.fullmatch(r"a-b-\d{8}-[0-9a-f]{4}", new_id("a-b"))


def test_every_start_of_the_driver_has_a_folder_of_its_own(tmp_path: Path) -> None:
    home = Home.at(str(tmp_path))
    for number in (1, 2, 3):
        place = home.next_tune("s-1")
        assert place.name == f"tune-{number:03}"
        place.mkdir(parents=True)


def saved(folder: Path, start: int, cohort: str, number: int) -> Path:
    place = folder / f"tune-{start:03}" / cohort / f"checkpoint_{number:06}"
    place.mkdir(parents=True)
    checkpoint.save(place / COHORT_FILE, {"numbers": torch.arange(3)})
    return place


def test_the_last_checkpoint_of_a_cohort_is_the_newest_of_its_newest_start(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path, "cohort-0") is None
    saved(tmp_path, 1, "cohort-0", 7)
    saved(tmp_path, 2, "cohort-0", 0)
    newest = saved(tmp_path, 2, "cohort-0", 1)
    saved(tmp_path, 3, "cohort-4", 2)
    assert last_checkpoint(tmp_path, "cohort-0") == str(newest)


@pytest.mark.parametrize("left", [b"", b"PK\x03\x04 torn"])
def test_a_checkpoint_that_a_crash_tore_is_passed_over(tmp_path: Path, left: bytes) -> None:
    whole = saved(tmp_path, 1, "cohort-0", 0)
    (saved(tmp_path, 1, "cohort-0", 1) / COHORT_FILE).write_bytes(left)
    (tmp_path / "tune-002" / "cohort-0" / "checkpoint_000000").mkdir(parents=True)
    assert last_checkpoint(tmp_path, "cohort-0") == str(whole)


def test_a_home_is_read_without_writing_anything(tmp_path: Path) -> None:
    home = Home.at(str(tmp_path / "never"), reading=True)
    assert HomeOrigin(home).listing().rows == []
    with pytest.raises(BadInput, match="unknown sweep 'x'"):
        HomeOrigin(home).read("x")
    assert not (tmp_path / "never").exists()
    SweepStore.open(Home.at(str(tmp_path / "never")).storage).create("warm-1", spec_with(), {"created": "1"})
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert [row["sweep"] for row in HomeOrigin(home).listing().rows] == ["warm-1"]
    assert HomeOrigin(home).read("warm-1").trials == []
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root")
def test_a_home_that_one_may_not_write_is_listed() -> None:
    """As somebody else, since no folder is read-only for root; in a folder of its own, since pytest closes its own."""
    with tempfile.TemporaryDirectory() as folder:
        check_it_is_listed(Path(folder))


def check_it_is_listed(folder: Path) -> None:
    home = folder / "home"
    SweepStore.open(Home.at(str(home)).storage).create("warm-1", spec_with(), {"created": "1"})
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    command = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        sys.executable,
        "-m",
        "espalier.sweeps.cli",
    ]
    root = str(Path(__file__).resolve().parents[2])
    environment = os.environ | {"PYTHONPATH": root, "HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    if subprocess.run([*command, "--version"], capture_output=True, cwd="/", env=environment).returncode:
        pytest.skip("another user cannot run this Python")
    for arguments in (["list"], ["show", "warm-1"]):
        done = subprocess.run(
            [*command, *arguments, "--home", str(home)], capture_output=True, text=True, cwd="/", env=environment
        )
        assert done.returncode == 0, done.stderr
        assert "warm-1" in done.stdout


@pytest.mark.parametrize("wrong", ["..", "../../../escaped", "", "a/b", "1st", "a.b", "x" * 64, "a\n", 3, None, True])
def test_what_can_be_no_id_of_a_sweep_is_refused_before_anything_begins(tmp_path: Path, wrong: object) -> None:
    before = sorted(tmp_path.parent.rglob("*"))
    with pytest.raises(BadInput, match="an id begins with a letter"):
        Home.at(str(tmp_path)).check_id(wrong)
    if wrong is not None:
        with pytest.raises(BadInput, match=r"id begins with a letter|id: .* arrived; give an id"):
            es.sweep("line", id=wrong, home=tmp_path, progress=False)  # pyright: ignore[reportArgumentType]
    assert sorted(tmp_path.parent.rglob("*")) == before


def test_an_id_of_an_earlier_version_still_goes_on(tmp_path: Path) -> None:
    (tmp_path / "sweeps" / "a.b").mkdir(parents=True)
    Home.at(str(tmp_path)).check_id("a.b")
