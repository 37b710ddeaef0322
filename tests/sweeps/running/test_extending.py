"""A sweep that has ended is extended, by a driver whose workers are stand-ins."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from espalier.core.errors import BadInput
from espalier.sweeps.home import Home
from espalier.sweeps.recording.tracking_uri import default_uri
from espalier.sweeps.running import driver
from espalier.sweeps.search.driver_lock import DriverLock
from espalier.sweeps.search.extension import More
from espalier.sweeps.search.store import SweepStore
from tests.sweeps.made import spec_with
from tests.sweeps.running.walk import TwoCores, without_ray

WARM = "warm-1"


@pytest.fixture
def home(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home with a finished sweep of three trials, whose workers were stand-ins."""
    without_ray(monkeypatch.setattr)
    home = Home.at(str(tmp_path / "home"))
    (home.path / "mlflow.db").write_bytes(empty_store.read_bytes())
    summary = driver.start(spec_with(trials=3, search={"sampler": "random"}), home, quiet, cores(), WARM)
    assert summary.recorded and len(summary.trials) == 3
    return home


def quiet(_: object) -> Any:
    return nullcontext()


def cores() -> Any:
    return TwoCores()


def runs(home: Home) -> dict[str | None, Run]:
    client = MlflowClient(default_uri(home.path))
    found = client.search_runs([e.experiment_id for e in client.search_experiments()])
    return {run.data.tags.get("espalier.trial"): run for run in found if "espalier.sweep" in run.data.tags}


def folder_of(home: Home) -> dict[str, Any]:
    record = SweepStore.open(home.storage).load(WARM)
    trials = [(t.number, t.value, t.params, t.reports, t.mlflow_run) for t in record.results()]
    return {"trials": trials, "spec": record.stored_spec, "extensions": record.extensions, "facts": record.facts}


def test_mlflow_goes_on_with_the_same_run_and_knows_the_new_end(home: Home) -> None:
    before, was = folder_of(home), runs(home)
    summary = driver.extend(WARM, home, quiet, cores(), More(trials=2))
    now = runs(home)
    assert summary.recorded and len(summary.trials) == 5 and not summary.notes
    assert folder_of(home)["trials"][:3] == before["trials"]
    assert set(now) == {None, "0", "1", "2", "3", "4"}
    assert {number: run.info.run_id for number, run in was.items()} == {
        number: now[number].info.run_id for number in was
    }
    assert {run.info.status for run in now.values()} == {"FINISHED"}
    parent = now[None]
    assert parent.data.metrics["trials"] == 5 and was[None].data.metrics["trials"] == 3
    assert parent.data.params == was[None].data.params
    assert parent.data.tags["espalier.extended"].startswith("by 2 trials to 5, on 2")
    driver.extend(WARM, home, quiet, cores(), More(trials=1))
    assert runs(home)[None].data.metrics["trials"] == 6
    assert MlflowClient(default_uri(home.path)).get_metric_history(parent.info.run_id, "trials")[-1].value == 6
    driver.resume(WARM, home, quiet, cores())  # nothing is left, and nothing is logged twice
    assert len(MlflowClient(default_uri(home.path)).get_metric_history(parent.info.run_id, "trials")) == 3


def test_one_that_runs_or_whose_data_changed_is_refused_and_nothing_is_stored(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = folder_of(home)
    with DriverLock(home, WARM), pytest.raises(BadInput, match="warm-1 is being driven by process"):
        driver.extend(WARM, home, quiet, cores(), More(trials=2))
    with pytest.raises(BadInput, match="unknown sweep 'cold'"):
        driver.extend("cold", home, quiet, cores(), More(trials=2))
    facts = before["facts"] | {"data": "another"}
    monkeypatch.setattr(driver, "check_spec", lambda *_: {"data": "another", "code": facts["code"]})
    with pytest.raises(BadInput, match=r"the data .* have changed since it last ran"):
        driver.extend(WARM, home, quiet, cores(), More(trials=2))
    assert folder_of(home) == before
    assert len(driver.extend(WARM, home, quiet, cores(), More(trials=2), changed=True).trials) == 5
    assert len(folder_of(home)["facts"]["changes"]) == 1


def test_the_spec_that_it_began_with_and_the_longer_one_both_go_on(home: Home) -> None:
    driver.extend(WARM, home, quiet, cores(), More(trials=2))
    for trials in (3, 5):
        spec = spec_with(trials=trials, search={"sampler": "random"})
        assert len(driver.start(spec, home, quiet, cores(), WARM).trials) == 5
    with pytest.raises(BadInput, match=r"that sweep exists, with another spec: trials \(5 there, 4 here\)"):
        driver.start(spec_with(trials=4, search={"sampler": "random"}), home, quiet, cores(), WARM)
