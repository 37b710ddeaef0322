"""A cohort to which Tune gives two workers: the one that trained is the one that is read of and killed."""

import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from espalier.sweeps.running import deaths
from espalier.sweeps.running.watchdog import Watchdog

TRAINED = [{"3/0": 137}]


@pytest.fixture(autouse=True)
def calm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave this process's fatal signals and os._exit alone."""
    monkeypatch.setattr("faulthandler.enable", lambda *_, **__: None)
    monkeypatch.setattr("faulthandler.disable", lambda: None)
    monkeypatch.setattr("faulthandler.dump_traceback_later", lambda *_, **__: None)
    monkeypatch.setattr(os, "_exit", os._exit)


def worker(folder: Path, what: str) -> None:
    """Leave what a worker of the cohort leaves."""
    name = deaths.own_name(folder, "cohort-3")
    dog = Watchdog(folder, name)
    if what == "trains and hangs":
        dog.training(TRAINED, "plain")
        (folder / f"{name}.trace").write_text("Timeout (0:00:03)!\n")
    elif what == "trains":
        dog.training(TRAINED, "plain")
    elif what == "fails to begin":
        dog.last_word("OSError: no data")


@pytest.mark.parametrize(
    ("left", "why", "lanes"),
    [
        (("trains and hangs", "begins"), "its process has not returned for 3 s", TRAINED),
        (("trains", "begins"), "killed (SIGKILL), or lost with its node", TRAINED),
        (("fails to begin", "begins"), "OSError: no data", []),
        (("trains", "fails to begin"), "killed (SIGKILL), or lost with its node", TRAINED),
        (("begins",), "killed (SIGKILL), or lost with its node", []),
        ((), "ended before it could begin", []),
    ],
)
def test_the_death_is_that_of_the_worker_that_trained(
    left: Sequence[str], why: str, lanes: list[Any], tmp_path: Path
) -> None:
    for order in set(itertools.permutations(left)):
        for what in order:
            worker(tmp_path / "workers", what)
        other = deaths.own_name(tmp_path / "workers", "cohort-30")
        Watchdog(tmp_path / "workers", other).last_word("of another cohort")
        death = deaths.read_death(tmp_path / "workers", "cohort-3")
        assert (death.why, list(death.lanes)) == (why, lanes), order
        deaths.forget(tmp_path / "workers", "cohort-3")
        assert {path.stem for path in (tmp_path / "workers").iterdir()} == {"cohort-30"}
        deaths.forget(tmp_path / "workers", "cohort-30")


def test_all_workers_of_a_cohort_are_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []
    monkeypatch.setattr("espalier.sweeps.running.watchdog.os.kill", lambda pid, _: killed.append(pid))
    for what in ("begins", "trains"):
        worker(tmp_path, what)
    deaths.kill_workers(tmp_path, "cohort-3")
    assert killed == [os.getpid()] * 2


def test_where_nothing_can_be_written_a_worker_begins_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert deaths.own_name(tmp_path / "file", "cohort-3") == "cohort-3"
    Watchdog(tmp_path / "file", "cohort-3")
