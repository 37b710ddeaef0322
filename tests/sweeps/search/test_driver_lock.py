"""Who drives a sweep: one process at a time, whatever has become of the one before."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from espalier.core.errors import BadInput
from espalier.sweeps.home import Home
from espalier.sweeps.search.driver_lock import DriverLock, is_driven


def lock_in(home: Path) -> DriverLock:
    return DriverLock(Home(home), "s-1")


def folder_in(home: Path) -> Path:
    return Home(home).sweep("s-1")


def test_a_sweep_has_one_driver_at_a_time(tmp_path: Path) -> None:
    assert not is_driven(folder_in(tmp_path))
    with lock_in(tmp_path):
        assert is_driven(folder_in(tmp_path))
        with (
            pytest.raises(BadInput, match=f"sweep s-1 is being driven by process {os.getpid()}"),
            lock_in(tmp_path),
        ):
            raise AssertionError("two drivers")
    assert not is_driven(folder_in(tmp_path))
    with lock_in(tmp_path):
        assert is_driven(folder_in(tmp_path))


def test_a_hold_on_a_folder_that_its_driver_has_removed_is_none(tmp_path: Path) -> None:
    held, gone = threading.Event(), threading.Event()

    def refused_by_the_machine() -> None:
        with lock_in(tmp_path):
            held.set()
            gone.wait()
            shutil.rmtree(folder_in(tmp_path))

    first = threading.Thread(target=refused_by_the_machine)
    first.start()
    held.wait()
    threading.Timer(0.2, gone.set).start()
    with pytest.raises(BadInput, match="was deleted by the process that drove it"), lock_in(tmp_path):
        raise AssertionError("held by a file without a name")
    first.join()


def test_the_hold_of_a_dead_driver_is_gone(tmp_path: Path) -> None:
    code = "import os, pathlib, sys; from espalier.sweeps.home import Home; "
    code += "from espalier.sweeps.search.driver_lock import DriverLock\n"
    code += "with DriverLock(Home(pathlib.Path(sys.argv[1])), 's-1'): os._exit(9)"
    root = Path(__file__).resolve().parents[3]
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=root, env=os.environ | {"PYTHONPATH": str(root)}
    )
    assert ran.returncode == 9
    assert not is_driven(folder_in(tmp_path))


@pytest.mark.parametrize("times", [200, pytest.param(2000, marks=pytest.mark.slow)])
def test_a_driver_takes_its_lock_while_others_look_in_a_loop(tmp_path: Path, times: int) -> None:
    """As `sweep list` does: it must not be taken for a driver, nor take another that looks for one."""
    folder_in(tmp_path).mkdir(parents=True)
    (folder_in(tmp_path) / "driver.lock").touch()
    script = "import sys, pathlib; from espalier.sweeps.search.driver_lock import is_driven\n"
    script += "while True: is_driven(pathlib.Path(sys.argv[1]))"
    lookers = [subprocess.Popen([sys.executable, "-c", script, str(folder_in(tmp_path))]) for _ in range(2)]
    try:
        for _ in range(times):
            assert not is_driven(folder_in(tmp_path))
            with lock_in(tmp_path):
                assert is_driven(folder_in(tmp_path))
    finally:
        for looker in lookers:
            looker.kill()
            looker.wait()


@pytest.mark.parametrize("wrong", ["folder", "loop", "dangling link"])
def test_something_else_in_the_place_of_the_lock_is_one_line_and_nobody_drives(wrong: str, tmp_path: Path) -> None:
    lock = folder_in(tmp_path) / "driver.lock"
    lock.parent.mkdir(parents=True)
    if wrong == "folder":
        lock.mkdir()
    else:
        lock.symlink_to(lock if wrong == "loop" else tmp_path / "nowhere" / "at all")
    assert not is_driven(folder_in(tmp_path))
    with (
        pytest.raises(BadInput, match=r"driver\.lock: cannot be opened \(.*move it away") as refused,
        lock_in(tmp_path),
    ):
        pass
    assert "\n" not in str(refused.value)


def test_who_drives_is_named_whatever_the_lock_says(tmp_path: Path) -> None:
    with lock_in(tmp_path):
        (folder_in(tmp_path) / "driver.lock").write_bytes(b"\xff\xfe\0 12\n34")
        with pytest.raises(BadInput, match="is being driven by another process") as refused, lock_in(tmp_path):
            pass
    assert "\n" not in str(refused.value)
