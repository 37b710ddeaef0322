"""Optuna's own dashboard, an outside package, opens the storage of a home and shows the same trials."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import espalier as es
from espalier.sweeps.home import JOURNAL
from tests.ports import free_port
from tests.sweeps.conftest import SmallSweep

pytestmark = pytest.mark.slow
STATES = {"complete": "Complete", "diverged": "Fail", "failed": "Fail", "stopped": "Pruned"}


@contextmanager
def dashboard(storage: Path) -> Iterator[str]:
    """Serve a storage as the page on growing sweeps says it; yield the address."""
    pytest.importorskip("optuna_dashboard", reason="see tests/others.txt")
    port = free_port()
    command = [str(Path(sys.executable).parent / "optuna-dashboard"), str(storage), "--port", str(port)]
    with subprocess.Popen([*command, "--server", "wsgiref", "--quiet"]) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def read(address: str) -> Any:
    for attempt in range(150):
        try:
            with urllib.request.urlopen(address, timeout=20) as answer:
                return json.load(answer)
        except OSError:
            if attempt == 149:
                raise
            time.sleep(0.2)


def test_the_dashboard_shows_the_trials_of_a_sweep(small_sweep: SmallSweep) -> None:
    before = (small_sweep.home / JOURNAL).read_bytes()
    trials = es.open(small_sweep.id, home=small_sweep.home).trials
    with dashboard(small_sweep.home / JOURNAL) as address:
        (study,) = read(f"{address}/api/studies")["study_summaries"]
        assert study["study_name"] == small_sweep.id
        shown = read(f"{address}/api/studies/{study['study_id']}")["trials"]
    assert [trial["number"] for trial in shown] == [trial.number for trial in trials]
    for theirs, ours in zip(shown, trials, strict=True):
        assert theirs["state"] == STATES[ours.state]
        if ours.state == "complete":
            assert float(theirs["values"][0]) == pytest.approx(ours.value, rel=1e-12)
        params = {param["name"]: param["param_external_value"] for param in theirs["params"]}
        assert float(params["lr_exponent"]) == pytest.approx(ours.params["lr_exponent"])
        assert float(params["decay_point"]) == pytest.approx(ours.params["decay_points"][0])
        attributes = {entry["key"]: entry["value"] for entry in theirs["user_attrs"]}
        assert json.loads(attributes["verdict"]) == ours.verdict if attributes["verdict"].startswith('"') else True
    assert (small_sweep.home / JOURNAL).read_bytes() == before
