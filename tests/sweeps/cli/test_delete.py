"""`sweep delete`: what goes, what stays, and what is refused."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
from click.testing import CliRunner, Result

import espalier as es
from espalier.sweeps.cli.app import main
from espalier.sweeps.home import JOURNAL, Home
from espalier.sweeps.recording.names import BIRTH_TAG, PARENT_TAG, SWEEP_TAG, TRIAL_TAG
from espalier.sweeps.recording.tracking_uri import default_uri
from espalier.sweeps.search.driver_lock import DriverLock
from espalier.sweeps.search.store import SweepStore
from tests.sweeps.made import spec_with

Sweep = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with two sweeps of one name."""
    (tmp_path / "home").mkdir()
    store = SweepStore.open(str(tmp_path / "home" / JOURNAL))
    for sweep in ("warm-1", "warm-2"):
        store.create(sweep, spec_with(), {"created": "2026-11-29T00:00:00Z"})
        folder = tmp_path / "home" / "sweeps" / sweep / "tune-001"
        folder.mkdir(parents=True)
        (folder / "checkpoint").write_text("weights")
    return tmp_path / "home"


def ids(home: Path) -> list[str]:
    return [sweep.id for sweep in es.sweeps(home=home)]


def test_a_sweep_goes_with_its_folder_and_the_others_stay(sweep: Sweep, home: Path) -> None:
    done = sweep("delete", "warm-1", "--yes")
    assert done.exit_code == 0, done.output
    assert "deleted warm-1" in done.stdout and "its runs stay in sqlite" in done.stdout
    assert ids(home) == ["warm-2"]
    assert not (home / "sweeps" / "warm-1").exists() and (home / "sweeps" / "warm-2").is_dir()


@pytest.mark.parametrize(("answer", "left"), [("y\n", ["warm-1"]), ("n\n", ["warm-1", "warm-2"]), ("", None)])
def test_it_asks_and_names_the_sweep_that_a_name_means(
    sweep: Sweep, home: Path, answer: str, left: list[str] | None
) -> None:
    done = CliRunner().invoke(main, ["delete", "warm"], input=answer, prog_name="sweep")
    assert "delete warm-2: its trials and its folder?" in done.stderr
    assert ids(home) == (left or ["warm-1", "warm-2"])
    assert (done.exit_code == 0) is (answer == "y\n")


def test_a_sweep_that_a_process_drives_is_refused(sweep: Sweep, home: Path) -> None:
    with DriverLock(Home(home), "warm-1"):
        done = sweep("delete", "warm-1", "--yes")
    assert done.exit_code == 2 and "warm-1 is being driven by process" in done.stderr
    assert ids(home) == ["warm-1", "warm-2"] and (home / "sweeps" / "warm-1" / "tune-001").is_dir()


def test_an_unknown_sweep_is_refused_with_the_nearest(sweep: Sweep, home: Path) -> None:
    done = sweep("delete", "wram", "--yes")
    assert done.exit_code == 2 and "unknown sweep 'wram'; did you mean 'warm'" in done.stderr


def test_one_whose_journal_is_lost_can_go(sweep: Sweep, home: Path) -> None:
    (home / JOURNAL).unlink()
    (home / "sweeps" / "warm-1" / "spool.jsonl").write_text('{"op": "pause", "time": 1}\n')
    assert sweep("delete", "warm-1", "--yes").exit_code == 0
    assert not (home / "sweeps" / "warm-1").exists()


def test_python_deletes_what_it_has_opened(home: Path) -> None:
    es.open("warm-1", home=home).delete()
    assert ids(home) == ["warm-2"]


def test_its_runs_go_too_where_that_is_wanted(sweep: Sweep, small_sweep: Any, tmp_path: Path) -> None:
    from espalier.sweeps.recording.stories import run_states

    copy = tmp_path / "home"
    shutil.copytree(small_sweep.home, copy)
    uri = default_uri(copy)
    assert len(run_states(uri, small_sweep.id)) == 9
    client = mlflow.MlflowClient(uri)
    (found, *_) = client.search_runs(["1"], f"tags.`{TRIAL_TAG}` = '3'")
    inside = client.create_run("1", tags={PARENT_TAG: found.info.run_id}).info.run_id  # as a script may nest one
    client.create_run("1", tags={PARENT_TAG: inside})
    elsewhere = client.create_run("1", tags={PARENT_TAG: client.create_run("1").info.run_id}).info.run_id
    done = sweep("delete", "small", "--records", "--yes", "--home", str(copy))
    assert done.exit_code == 0 and "deleted 12 runs" in done.stdout, done.output
    assert run_states(uri, small_sweep.id) == {}
    assert {run.data.tags.get(PARENT_TAG) for run in client.search_runs(["1"])} == {
        None,
        client.get_run(elsewhere).data.tags[PARENT_TAG],
    }


def test_records_that_cannot_be_reached_leave_everything(sweep: Sweep, home: Path) -> None:
    (home / "mlflow.db").mkdir()
    done = sweep("delete", "warm-1", "--records", "--yes")
    assert done.exit_code == 2 and ids(home) == ["warm-1", "warm-2"]


ELSEWHERE = ("..", ".", "../../elsewhere", "a/b")


@pytest.mark.parametrize("sweep_id", ELSEWHERE)
def test_an_id_of_an_earlier_version_that_leads_elsewhere_deletes_nothing(
    sweep: Sweep, home: Path, sweep_id: str
) -> None:
    store = SweepStore.open(str(home / JOURNAL))
    store.create(sweep_id, spec_with(), {"created": "2026-11-28T00:00:00Z"})
    before = sorted(home.rglob("*"))
    done = sweep("delete", sweep_id, "--yes")
    assert done.exit_code == 2 and "can have that name" in done.stderr and isinstance(done.exception, SystemExit)
    assert sorted(home.rglob("*")) == before
    assert sweep("list").exit_code == 0


@pytest.mark.parametrize("name", ["", "\0", "x" * 5000, "a/../..", "sweep\n", "*", "-"])
def test_odd_names_are_refused_on_one_line(sweep: Sweep, home: Path, name: str) -> None:
    done = sweep("delete", "--yes", "--", name)
    assert done.exit_code == 2 and isinstance(done.exception, SystemExit), done.exception
    assert len(done.stderr.splitlines()) == 1


def test_a_folder_that_is_a_link_is_not_deleted(sweep: Sweep, home: Path, tmp_path: Path) -> None:
    place = home / "sweeps" / "warm-1"
    place.rename(tmp_path / "disk")
    place.symlink_to(tmp_path / "disk")
    done = sweep("delete", "warm-1", "--yes")
    assert done.exit_code == 2 and "a link to" in done.stderr
    assert ids(home) == ["warm-1", "warm-2"] and (tmp_path / "disk" / "tune-001").is_dir()


def test_a_home_lists_the_sweeps_of_a_state_and_refuses_one_that_it_never_has(sweep: Sweep, home: Path) -> None:
    assert "warm-1" in sweep("list", "--state", "interrupted").stdout
    done = sweep("list", "--state", "running")
    assert done.exit_code == 0 and done.stdout == "no sweep is running here\n"
    assert sweep("list", "--state", "running", "--json").stdout.strip() == "[]"
    wrong = sweep("list", "--state", "runing")
    assert wrong.exit_code == 2 and "did you mean 'running'?" in wrong.stderr


@pytest.mark.parametrize("top", ["0", "-1"])
def test_a_table_of_no_trials_is_refused(sweep: Sweep, home: Path, top: str) -> None:
    done = sweep("show", "warm-1", "--top", top)
    assert done.exit_code == 2 and "--top" in done.stderr and not done.stdout


def test_an_unknown_model_leaves_no_folder(sweep: Sweep, home: Path, tmp_path: Path) -> None:
    done = sweep("pull", "nope", "--to", str(tmp_path / "new" / "nope"))
    assert done.exit_code == 2 and not (tmp_path / "new").exists()


def test_only_its_own_runs_go_and_none_of_another_sweep_with_its_id(
    sweep: Sweep, small_sweep: Any, tmp_path: Path
) -> None:
    copy = tmp_path / "home"
    shutil.copytree(small_sweep.home, copy)
    client = mlflow.MlflowClient(default_uri(copy))
    of_another = {SWEEP_TAG: small_sweep.id, TRIAL_TAG: "3"}
    others = {client.create_run("1", tags=of_another | birth).info.run_id for birth in ({}, {BIRTH_TAG: "ab12"})}
    done = sweep("delete", "small", "--records", "--yes", "--home", str(copy))
    assert "deleted 10 runs" in done.stdout, done.output
    assert {run.info.run_id for run in client.search_runs(["1"])} == others
