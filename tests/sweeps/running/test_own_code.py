"""A sweep trains with the code that it began with: an edit between run and resume changes nothing, and is said."""

import os
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from espalier.core.errors import BadInput
from espalier.core.loading.folders import RecordedCopy, copy_in_use, restoring_folder
from espalier.core.training.events import Ended
from espalier.sweeps import identity
from espalier.sweeps.home import Home
from espalier.sweeps.running import driver
from espalier.sweeps.running.messages import Assignment, Turn
from espalier.sweeps.running.progress import Progress
from espalier.sweeps.running.trainable import CohortTrainable
from espalier.sweeps.search.store import SweepStore
from espalier.sweeps.spec.spec import SweepSpec, load_spec
from tests.sweeps.code.project import SPEC, make_project
from tests.sweeps.running.assigned import assigned

SWEEP = "line-1"


class Killed(BaseException):
    """What ends a driver as soon as it would train."""


class Machine:
    """Drivers of one sweep, each killed before it trains; and a worker of each."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        self.folder, self.home = folder, Home.at(folder / "home")
        self.project = make_project(folder / "project")
        self.copy: RecordedCopy | None = None
        self.notes: list[str] = []

        def killed(its: driver.Driver) -> None:
            self.copy, self.notes = copy_in_use(), its.progress.notes
            raise Killed

        monkeypatch.setattr(driver.Driver, "_recorder", killed)

    def spec(self, **changed: Any) -> SweepSpec:
        (self.project / "spec.yaml").write_text(yaml.safe_dump(SPEC | changed))
        return load_spec(str(self.project / "spec.yaml"))

    def run(self, changed: bool = False, **fields: Any) -> None:
        spec = self.spec(**fields)
        with suppress(Killed):
            driver.start(spec, self.home, _silent, _session(), SWEEP, changed)

    def resume(self, changed: bool = False) -> None:
        with suppress(Killed):
            driver.resume(SWEEP, self.home, _silent, _session(), changed)

    def trained(self) -> dict[str, Any]:
        """Return the reports of two trials, trained as a worker of the last driver trains them."""
        spec, copy = self.record.spec, self.copy
        assignment = assigned(spec, self.folder / "notes", patience_s=None)
        settings = replace(assignment.settings, code=copy.folder if copy else "", code_root=copy.root if copy else "")
        with restoring_folder():
            worker = CohortTrainable(Assignment(settings, assignment.plan).to_config())
            turns = [Turn.from_result(worker.step())]
            while not turns[-1].done:
                turns.append(Turn.from_result(worker.step()))
        worker.watchdog.rest()
        assert not turns[-1].error, turns[-1].error
        return {e.trial: e.reports for turn in turns for e in turn.events if isinstance(e, Ended)}

    @property
    def record(self) -> Any:
        return SweepStore.open(self.home.storage).load(SWEEP)


def _silent(_: Progress) -> Any:
    return nullcontext()


def _session() -> Any:
    return SimpleNamespace()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.setattr("ray.get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "node"))
    monkeypatch.setattr("faulthandler.enable", lambda *_, **__: None)
    monkeypatch.setattr(os, "_exit", os._exit)
    monkeypatch.setattr(driver, "check_reachable", lambda uri: None)
    monkeypatch.setattr("espalier.sweeps.checks.preflight.check_reachable", lambda uri: None)
    (tmp_path / "notes").mkdir()
    monkeypatch.chdir(tmp_path)
    return iter([Machine(tmp_path, monkeypatch)])


@pytest.fixture
def begun(machine: Iterator[Machine]) -> Machine:
    return next(machine)


def edit(machine: Machine) -> None:
    (machine.project / "nets.py").write_text("SLOPE = 4.0\n")
    (machine.project / "config.json").write_text('{"gain": 5.0}')


def test_an_edit_between_run_and_resume_changes_no_number_and_is_said_in_one_line(begun: Machine) -> None:
    begun.run()
    before = begun.trained()
    edit(begun)
    begun.resume()
    assert begun.trained() == before
    goes_on = "the sweep goes on with the code that it began with; --changed takes today's"
    assert begun.notes == [f"nets.py and config.json have changed since; {goes_on}"]
    assert identity.CHANGES not in begun.record.facts
    begun.copy = None
    assert begun.trained() != before, "the edit matters"


def test_a_task_whose_files_are_gone_goes_on(begun: Machine) -> None:
    begun.run()
    before = begun.trained()
    for name in ("mytask.py", "nets.py", "config.json"):
        (begun.project / name).unlink()
    begun.resume()
    assert begun.trained() == before
    assert begun.notes[0].startswith("mytask.py, nets.py and 1 more are gone; the sweep goes on")


def test_changed_takes_todays_code_and_records_it(begun: Machine) -> None:
    begun.run()
    first, before = begun.copy, begun.trained()
    edit(begun)
    begun.resume(changed=True)
    assert begun.copy and begun.copy != first
    after = begun.trained()
    assert after != before
    (change,) = begun.record.facts[identity.CHANGES]
    assert change[identity.COPY]["hash"] in begun.copy.folder
    (begun.project / "nets.py").write_text("SLOPE = 6.0\n")
    begun.resume()
    assert begun.trained() == after, "it goes on with what it was last changed to"


def test_run_is_no_resume_code_that_has_changed_is_refused_there(begun: Machine) -> None:
    begun.run()
    edit(begun)
    with pytest.raises(BadInput, match=f"`sweep resume {SWEEP}.*` goes on with the code that it began with; --changed"):
        begun.run()
    begun.run(changed=True)
    assert identity.CHANGES in begun.record.facts


def test_data_that_have_changed_are_refused_as_before(begun: Machine) -> None:
    begun.run()
    (begun.project / "data" / "large.txt").write_text("7")
    with pytest.raises(BadInput, match=r"the data \("):
        begun.resume()


def test_without_a_copy_an_edit_is_refused_as_before(begun: Machine) -> None:
    """A sweep of an earlier version, one with `code_mib: 0`, and one whose copy is lost."""
    begun.run(resources=SPEC["resources"] | {"code_mib": 0})
    assert begun.copy is None and identity.COPY not in begun.record.facts
    begun.resume()
    edit(begun)
    with pytest.raises(BadInput, match=r"the task's code \("):
        begun.resume()


def test_where_the_copy_is_lost_todays_code_goes_on_if_it_is_the_same(begun: Machine) -> None:
    begun.run()
    assert begun.copy
    Path(f"{begun.copy.folder}.zip").unlink()
    begun.resume()
    assert begun.copy is None and begun.notes == []
    edit(begun)
    with pytest.raises(BadInput, match=r"the task's code \("):
        begun.resume()


def test_the_environment_is_recorded_once(begun: Machine) -> None:
    begun.run()
    digest = begun.record.facts[identity.ENVIRONMENT]
    begun.resume()
    assert [path.name for path in (begun.home.path / "environments").iterdir()] == [f"{digest}.json"]
