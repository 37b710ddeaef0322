"""`sweep stop` of a sweep that a process of this machine drives."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from espalier.sweeps.cli.app import main
from espalier.sweeps.home import JOURNAL
from espalier.sweeps.search.driver_lock import driver_of
from espalier.sweeps.search.store import SweepStore
from tests.sweeps.made import spec_with

DRIVER = """
import signal, sys
from espalier.sweeps.home import Home
from espalier.sweeps.search.driver_lock import DriverLock

with DriverLock(Home.at(sys.argv[1]), "warm-1"):
    signal.signal(signal.SIGTERM, lambda *_: print("asked", flush=True))
    print("drives", flush=True)
    signal.pause()
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a sweep that nobody drives."""
    SweepStore.open(str(tmp_path / JOURNAL)).create("warm-1", spec_with(), {"created": "2026-11-29T00:00:00Z"})
    return tmp_path


@pytest.fixture
def stop(home: Path) -> Callable[..., Result]:
    return lambda *words: CliRunner().invoke(main, ["stop", "warm", *words, "--home", str(home)])


@pytest.fixture
def driver(home: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that drives it, until it is asked to stop."""
    process = subprocess.Popen([sys.executable, "-c", DRIVER, str(home)], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout and process.stdout.readline() == "drives\n"
        yield process
        process.kill()


def test_the_process_that_drives_it_is_asked_and_waited_for(
    home: Path, stop: Callable[..., Result], driver: "subprocess.Popen[str]"
) -> None:
    assert driver_of(home / "sweeps" / "warm-1") == driver.pid
    done = stop("--wait", "--json")
    assert done.exit_code == 0, done.output
    (said,) = json.loads(done.stdout)["said"]
    assert said == f"warm-1 has stopped; continue: sweep resume warm-1 --home {home}"
    assert driver.stdout and driver.stdout.readline() == "asked\n"
    assert driver.wait(30) == 0


def test_without_waiting_it_says_who_stops(stop: Callable[..., Result], driver: "subprocess.Popen[str]") -> None:
    done = stop()
    assert done.exit_code == 0 and f"process {driver.pid} writes its checkpoints" in done.stderr, done.output


def test_one_that_nobody_drives_is_refused_also_where_its_last_driver_was_killed(
    home: Path, stop: Callable[..., Result], driver: "subprocess.Popen[str]"
) -> None:
    driver.kill()
    driver.wait(30)
    deadline = time.monotonic() + 30
    while driver_of(home / "sweeps" / "warm-1"):
        assert time.monotonic() < deadline
    done = stop()
    assert done.exit_code != 0 and "nobody drives it" in done.stderr
