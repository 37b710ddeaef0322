"""A disk that takes nothing any more: the file is named, what was written stays whole, and all goes on with room."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from espalier.core.errors import BadInput
from espalier.sweeps.cli.app import main
from espalier.sweeps.home import NO_ROOM, Home, full_disk_as_bad_input, raising_disk_errors
from espalier.sweeps.recording.recorder import Recorder
from espalier.sweeps.recording.records import SweepOpened, TrialStarted
from espalier.sweeps.recording.spool import Spool
from espalier.sweeps.recording.tracking_uri import default_uri
from espalier.sweeps.report.document import Document
from espalier.sweeps.report.figure import Figure
from espalier.sweeps.report.material import Material
from espalier.sweeps.report.pictures import write_png
from espalier.sweeps.running import driver
from espalier.sweeps.running.interrupt import Interrupt
from espalier.sweeps.running.machine import RaySession
from espalier.sweeps.running.messages import Assignment, Turn, WorkerSettings
from espalier.sweeps.running.tune import CohortSearcher
from espalier.sweeps.search.cohort_plan import CohortPlan
from espalier.sweeps.search.driver_lock import DriverLock
from espalier.sweeps.search.store import SweepStore
from tests.sweeps.full_disk import fill, no_file_beyond, size_of, small_disk
from tests.sweeps.made import row, spec_with

ROOT = Path(__file__).resolve().parents[3]
CANNOT = "File too large"
OPENED = SweepOpened("x" * 300, {}, {}, {})


def test_the_journal_is_named_and_holds_whole_operations(tmp_path: Path) -> None:
    path = tmp_path / "optuna.journal"
    study = SweepStore.open(str(path)).create("s-1", spec_with(), {}).study
    with no_file_beyond(size_of(path) + 50), pytest.raises(OSError, match=CANNOT) as caught:
        study.set_user_attr("a", "x" * 300)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
    assert path.read_bytes().endswith(b"\n")
    study.set_user_attr("b", 1)
    assert {name: v for name, v in SweepStore.open(str(path)).load("s-1").facts.items() if name in "ab"} == {"b": 1}


def test_the_spool_is_named_and_holds_whole_lines(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append(OPENED, 1)
    with no_file_beyond(size_of(spool.path) + 50), pytest.raises(OSError, match=CANNOT) as caught:
        spool.append(OPENED, 1)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(spool.path))
    assert len(spool.own) == 1, "a line that is not on disk was said"
    spool.append(OPENED, 1)
    assert spool.path.read_bytes().count(b"\n") == 2
    spool.move_mark(size_of(spool.path))
    with no_file_beyond(1), pytest.raises(OSError, match=CANNOT) as caught:
        spool.move_mark(size_of(spool.path))
    assert caught.value.filename == str(spool.mark)
    spool.close()
    again = Spool(tmp_path)
    assert (len(again.own), again.sent) == (2, size_of(spool.path))
    again.close()


def test_a_figure_and_a_lock_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    material = Material("s-1", spec_with(), "finished", [row(0, 1.0)])
    file, figure = tmp_path / "valley.png", Document.of(material).figure("valley")
    assert isinstance(figure, Figure)
    with no_file_beyond(100), pytest.raises(OSError, match=CANNOT) as caught:
        write_png(figure, file)
    assert caught.value.filename == str(file)
    with no_file_beyond(0), pytest.raises(OSError, match=CANNOT) as caught, DriverLock(Home(tmp_path), "s-1"):
        raise AssertionError("it was held")
    assert caught.value.filename == str(tmp_path / "sweeps" / "s-1" / "driver.lock")


def test_the_store_of_the_record_is_named_until_there_is_room_again(tmp_path: Path) -> None:
    store = tmp_path / "mlflow.db"
    recorder = Recorder(default_uri(tmp_path), "s-1", "s", tmp_path)
    recorder.record(SweepOpened("s-1", {}, {}, {}))
    recorder.flush()
    assert recorder.full is None
    recorder.record(TrialStarted(0, "trial 0", {}, {"a": "x" * 4000}))
    with no_file_beyond(max(1000, size_of(recorder.spool.path))):
        recorder.flush()
        assert recorder.full == f"{store}: File too large; make room, then continue"
    assert recorder.close()
    assert recorder.full is None


@pytest.mark.parametrize("error", [EOFError("Ran out of input"), RuntimeError("cannot write the file")])
def test_whatever_a_library_raises_on_a_full_disk_the_disk_is_named(tmp_path: Path, error: Exception) -> None:
    with small_disk(tmp_path / "disk", "1m"):
        with pytest.raises(type(error)), raising_disk_errors(tmp_path / "disk"):
            raise error
        filler = fill(tmp_path / "disk")
        with pytest.raises(OSError, match="No space left on device"), raising_disk_errors(tmp_path / "disk"):
            raise error
        filler.unlink()


def test_a_sweep_that_a_full_disk_keeps_from_beginning_leaves_no_folder(tmp_path: Path) -> None:
    """Else each try would leave one, with an id of its own."""
    with small_disk(tmp_path / "disk", "2m"):
        fill(tmp_path / "disk")
        for _ in range(2):
            with pytest.raises(OSError, match="No space left on device"):
                driver.start(spec_with(), Home(tmp_path / "disk"), lambda _: nullcontext(), RaySession(None))
        assert not list((tmp_path / "disk").glob("sweeps/*"))


def test_an_end_of_a_file_that_nobody_foresaw_is_no_abort() -> None:
    main.command("ends")(raising(EOFError("Ran out of input")))
    try:
        ended = CliRunner().invoke(main, ["ends"])
    finally:
        del main.commands["ends"]
    assert "Aborted" not in ended.output and isinstance(ended.exception, RuntimeError)


def test_the_store_of_the_record_on_a_full_disk_is_named(tmp_path: Path, empty_store: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        (disk / "mlflow.db").write_bytes(empty_store.read_bytes())
        recorder = Recorder(default_uri(disk), "s-1", "s", tmp_path / "spool")
        filler = fill(disk)
        recorder.record(SweepOpened("s-1", {}, {}, {}))
        recorder.flush()
        assert recorder.full == f"{disk / 'mlflow.db'}: No space left on device; make room, then continue"
        filler.unlink()
        assert recorder.close()


def raising(error: Exception) -> Callable[..., Any]:
    def call(*_: Any) -> Any:
        raise error

    return call


class OneCohort:
    """A loop with one cohort, which counts what it is told."""

    finished = False

    def __init__(self) -> None:
        self.interrupt, self.told = Interrupt(), 0
        settings = WorkerSettings("s-1", {}, 1, 1, "", "", "", "", "", None, 1, "cpu")
        self.assignment = Assignment(settings, CohortPlan("cohort-0", ()))

    def next_cohort(self) -> Assignment:
        return self.assignment

    def take_turn(self, *_: Any) -> None:
        self.told += 1

    lose_worker = end_cohort = take_turn


@pytest.mark.parametrize("where", ["next_cohort", "take_turn", "lose_worker"])
def test_what_the_driver_cannot_write_stops_all_cohorts_and_is_blamed_on_none(where: str) -> None:
    error, loop = OSError(errno.ENOSPC, "full"), OneCohort()
    setattr(loop, where, raising(error))
    searcher, turn = CohortSearcher(loop), Turn("node", done=True)  # type: ignore[arg-type]
    suggested = searcher.suggest("t")
    if where != "next_cohort":
        assert isinstance(suggested, dict)
        searcher.on_trial_complete("t", turn.to_result(), error=where == "lose_worker")
        assert searcher.on_trial_result("t", turn.to_result()) is None
    assert (searcher.error, loop.interrupt.asked.is_set(), loop.told) == (error, True, 0)
    loop.finished = True
    assert searcher.suggest("u") == searcher.FINISHED


@pytest.mark.parametrize("command", ["schema", "list"])
def test_an_output_that_takes_nothing_is_said(command: str, tmp_path: Path) -> None:
    """The system's own error: /dev/full answers every write with ENOSPC."""
    with open("/dev/full", "wb") as full:
        arguments = [sys.executable, "-m", "espalier.sweeps.cli", command]
        environment = os.environ | {"SWEEP_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
        ended = subprocess.run(arguments, stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment)
    assert (ended.returncode, ended.stderr) == (
        2,
        "sweep: standard output, or a file: No space left on device; make room, then give the command again\n",
    )


@pytest.mark.parametrize("number", NO_ROOM)
def test_the_command_says_so_in_one_line_and_ends_with_code_2(number: int) -> None:
    main.command("full")(raising(OSError(number, os.strerror(number), "/home/a/spool.jsonl")))
    try:
        ended = CliRunner().invoke(main, ["full"])
    finally:
        del main.commands["full"]
    todo = "have it writable" if number == errno.EROFS else "make room"
    assert ended.output == f"sweep: /home/a/spool.jsonl: {os.strerror(number)}; {todo}, then give the command again\n"
    assert ended.exit_code == 2


def test_other_errors_of_the_system_stay_what_they_are() -> None:
    with pytest.raises(PermissionError), full_disk_as_bad_input("continue"):
        raise PermissionError(errno.EACCES, "no")
    with (
        pytest.raises(BadInput, match="a: No space left on device; make room, then continue"),
        full_disk_as_bad_input("continue"),
    ):
        raise OSError(errno.ENOSPC, "full", "a")
