"""A home's store is made whole or not at all."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from mlflow.tracking import MlflowClient

from espalier.sweeps.recording import store
from espalier.sweeps.recording.single_run import record_once
from espalier.sweeps.recording.tracking_uri import default_uri

MAKE = """
import sys
from pathlib import Path
from espalier.sweeps.recording.recorder import Recorder
from espalier.sweeps.recording.records import SweepOpened

recorder = Recorder(sys.argv[1], "warm", "warm", Path(sys.argv[2]))
recorder.record(SweepOpened("warm", {}, {}, {}))
print(recorder.close(patience_s=300.0))
"""


def test_a_store_whose_making_was_killed_is_made_anew(tmp_path: Path) -> None:
    """MLflow's tables take seconds to make; half of them cannot be opened again."""
    home = tmp_path / "home"
    home.mkdir()
    command = [sys.executable, "-c", MAKE, default_uri(home), str(home / "sweeps")]
    unmade = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}  # else there is one to copy
    process = subprocess.Popen(command, env=unmade, stdout=subprocess.PIPE, text=True, start_new_session=True)
    part = home / "mlflow.db.part"
    while not (part.exists() and part.stat().st_size > 100_000):
        assert process.poll() is None
        time.sleep(0.002)
    process.kill()
    process.communicate()
    assert not (home / "mlflow.db").exists()
    done = subprocess.run(command, env=unmade, stdout=subprocess.PIPE, text=True, timeout=300)
    assert done.stdout == "True\n"
    assert not part.exists()
    (experiment,) = [e for e in MlflowClient(tracking_uri=default_uri(home)).search_experiments() if e.name == "warm"]
    assert experiment.artifact_location == (home / "mlartifacts" / "warm").as_uri()


@pytest.fixture
def made(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Which stores had their tables made; no empty one is kept from before. What MLflow would make is copied."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    stores: list[Path] = []

    def make(path: Path) -> None:
        assert not path.exists()
        stores.append(path)
        shutil.copyfile(empty_store, path)

    monkeypatch.setattr(store, "create_tables", make)
    return stores


def record_in(home: Path) -> dict[str, str]:
    """Record a run in a new home; return the experiments and where their artifacts are."""
    home.mkdir()
    record_once(default_uri(home), "tests", "one", {}, {"loss": [(1, 2.0)]}, {}, [])
    client = MlflowClient(tracking_uri=default_uri(home))
    assert len(client.search_runs(["1"])) == 1
    return {experiment.name: str(experiment.artifact_location) for experiment in client.search_experiments()}


def test_a_new_store_is_a_copy_of_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: list[Path]
) -> None:
    """MLflow's experiment "Default" has its artifacts below the directory in which its store is made all the same."""
    for number, folder in enumerate(["here", "here", "there"]):
        (tmp_path / folder).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / folder)
        places = record_in(tmp_path / f"home{number}")
        assert places.keys() == {"Default", "tests"}
        assert Path(urlsplit(places["Default"]).path).is_relative_to(tmp_path / folder)
    assert made == [tmp_path / "home0/mlflow.db.part"]
    assert len(list((tmp_path / "cache/espalier/mlflow").iterdir())) == 1


@pytest.mark.parametrize("harm", ["empty", "cut", "a page overwritten", "no store", "a folder"])
def test_an_empty_store_that_was_damaged_is_made_again(tmp_path: Path, made: list[Path], harm: str) -> None:
    record_in(tmp_path / "first")
    (kept,) = (tmp_path / "cache/espalier/mlflow").iterdir()
    whole = kept.read_bytes()
    if harm == "a folder":
        kept.unlink()
        kept.mkdir()
    else:
        kept.write_bytes(
            {
                "empty": b"",
                "cut": whole[: len(whole) // 2],
                "a page overwritten": whole[:200_704] + bytes(range(256)) * 16 + whole[204_800:],
                "no store": b"not a store",
            }[harm]
        )
    assert record_in(tmp_path / "second").keys() == {"Default", "tests"}
    assert len(made) == 2
    record_in(tmp_path / "third")
    assert len(made) == (3 if harm == "a folder" else 2)


def test_the_default_store_is_the_one_in_the_home(tmp_path: Path) -> None:
    assert default_uri(tmp_path) == f"sqlite:///{tmp_path / 'mlflow.db'}"
