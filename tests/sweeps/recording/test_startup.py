"""What Python runs at the start of a process that logs to MLflow for a trial."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from espalier.sweeps.recording.startup import FOLDER

LOGGER = """
class MLFlowLogger:
    def __init__(self, experiment_name="logs", tracking_uri="elsewhere", run_id=None):
        self.named = (experiment_name, tracking_uri, run_id)
"""
SCRIPT = """
from {package}.loggers.mlflow import MLFlowLogger
print(MLFlowLogger("mine").named, MLFlowLogger(run_id="given").named)
"""
RUN = {"MLFLOW_RUN_ID": "r1", "MLFLOW_TRACKING_URI": "sqlite:///a.db"}


def output(folder: Path, script: str, variables: Mapping[str, str]) -> str:
    """Return what a script prints in a process of a trial, that finds modules in a folder too."""
    paths = os.pathsep.join([FOLDER, str(folder)])
    env = {**os.environ, "PYTHONPATH": paths, **variables}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
def test_lightnings_logger_takes_the_run_of_the_trial_where_none_is_given(tmp_path: Path, package: str) -> None:
    folder = tmp_path.joinpath(*package.split("."), "loggers")
    folder.mkdir(parents=True)
    for place in (folder, *folder.parents):
        if place.is_relative_to(tmp_path) and place != tmp_path:
            (place / "__init__.py").touch()
    (folder / "mlflow.py").write_text(LOGGER)
    script, given = SCRIPT.format(package=package), "('logs', 'elsewhere', 'given')\n"
    assert output(tmp_path, script, RUN) == f"('mine', 'sqlite:///a.db', 'r1') {given}"
    assert output(tmp_path, script, {}) == f"('mine', 'elsewhere', None) {given}"


def test_the_file_that_it_hides_is_run_too(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('that of the system')\n")
    assert output(tmp_path, "print('the script')", RUN) == "that of the system\nthe script\n"
