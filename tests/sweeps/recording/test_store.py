"""A home's store is made whole or not at all."""

import os
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from mlflow.tracking import MlflowClient

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


def test_a_new_store_is_a_copy_of_an_empty_one_made_in_the_same_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's experiment "Default" has its artifacts below the directory where its store was made."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    asked = []
    search = MlflowClient.search_experiments
    monkeypatch.setattr(MlflowClient, "search_experiments", lambda self: asked.append(self) or search(self))
    for number, (folder, made) in enumerate([("here", 1), ("here", 1), ("there", 2)]):
        (tmp_path / folder).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / folder)
        home = tmp_path / f"home{number}"
        home.mkdir()
        record_once(default_uri(home), "tests", "one", {}, {"loss": [(1, 2.0)]}, {}, [])
        assert len(asked) == made
        found = {e.name: e.artifact_location for e in search(MlflowClient(tracking_uri=default_uri(home)))}
        assert found.keys() == {"Default", "tests"}
        assert Path(urlsplit(found["Default"]).path).is_relative_to(tmp_path / folder)
        assert len(MlflowClient(tracking_uri=default_uri(home)).search_runs(["1"])) == 1
    assert len(list((tmp_path / "cache/espalier/mlflow").glob("*.db"))) == 2


def test_the_default_store_is_the_one_in_the_home(tmp_path: Path) -> None:
    assert default_uri(tmp_path) == f"sqlite:///{tmp_path / 'mlflow.db'}"
