"""Files that a crash left half written: the last whole state is used."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from espalier.sweeps import home as homes
from espalier.sweeps.recording.recorder import Recorder
from espalier.sweeps.recording.records import SweepOpened, TrialReported, TrialStarted
from tests.hostile.endings import check_the_end, histories
from tests.hostile.harness import STEPS, Sweep, client_of

pytestmark = pytest.mark.hostile

CREATE_TRIAL, SET_TRIAL_STATE, SET_TRIAL_INTERMEDIATE_VALUE = 4, 6, 7  # operations of Optuna's journal


def test_a_report_that_was_said_twice_before_it_was_sent_is_logged_once(tmp_path: Path) -> None:
    """A worker that starts again repeats its reports; while MLflow is away both wait in the spool."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    recorder = Recorder(uri, "s-1", "s", tmp_path)
    recorder.record(SweepOpened("s-1", {}, {}, {}))
    recorder.record(TrialStarted(0, "trial 0", {}, {}))
    for time_ms, step in ((1, 100), (2, 200), (3, 100), (4, 200), (5, 300)):
        recorder.spool.append(TrialReported(0, step, [("valid_loss", step, 0.5)]), time_ms)
    assert recorder.close()
    client = client_of(uri)
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    (child,) = [run for run in runs if "espalier.trial" in run.data.tags]
    measured = dict(histories(uri, child))
    assert measured["valid_loss"] == [(100, 0.5), (200, 0.5), (300, 0.5)]


def _lines(journal: Path) -> list[bytes]:
    written = journal.read_bytes().splitlines(keepends=True) if journal.exists() else []
    return [line for line in written if line.endswith(b"\n")]


def _places(journal: Path, operation: int) -> list[int]:
    """Return which lines of Optuna's journal are of an operation."""
    return [place for place, line in enumerate(_lines(journal)) if json.loads(line).get("op_code") == operation]


def _cut(journal: Path, place: int) -> None:
    """Make the journal end before a line."""
    journal.write_bytes(b"".join(_lines(journal)[:place]))


def _kill_in_the_middle(sweep: Sweep) -> None:
    driver = sweep.run()
    driver.wait_until(lambda: sweep.in_the_middle(ends=3), "it was in the middle")
    driver.kill()


@pytest.mark.slow
def test_an_older_checkpoint_is_used_when_the_newest_is_truncated(make_sweep: Callable[..., Sweep]) -> None:
    sweep = make_sweep(budget={"steps": 3 * STEPS, "batch_size": 16, "reports": 10})
    driver = sweep.run()

    def two_each() -> bool:
        kept = [path.parent.parent.name for path in sweep.checkpoints()]
        return sweep.in_the_middle() and all(kept.count(cohort) >= 2 for cohort in kept)

    driver.wait_until(two_each, "each cohort had two checkpoints")
    driver.kill()
    newest: dict[str, Path] = {path.parent.parent.name: path for path in sorted(sweep.checkpoints())}
    folder = sweep.home / "sweeps" / sweep.id
    for cohort, path in newest.items():
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        older = homes.last_checkpoint(folder, cohort)
        assert older and older < str(path.parent)
    resumed = sweep.resume()
    resumed.document()
    assert "Traceback" not in resumed.said()
    check_the_end(sweep)


@pytest.mark.slow
def test_a_sweep_without_any_readable_checkpoint_trains_its_open_trials_again(sweep: Sweep) -> None:
    _kill_in_the_middle(sweep)
    for path in sweep.checkpoints():
        path.write_bytes(b"")
    summary = sweep.resume().document()
    check_the_end(sweep)
    trained = summary["lane_steps"] + summary["steps_shared"]
    assert trained >= sweep.spec.trials * sweep.spec.budget.steps, "what had ended before was trained too"


@pytest.mark.slow
def test_a_spool_that_ends_in_half_a_line_is_mended(sweep: Sweep) -> None:
    _kill_in_the_middle(sweep)
    spool = sweep.home / "sweeps" / sweep.id / "spool.jsonl"
    spool.write_bytes(spool.read_bytes() + b'{"op": "report", "time": 17')
    sweep.resume().document()
    check_the_end(sweep)


@pytest.mark.slow
def test_a_journal_that_ends_in_half_a_line_is_mended(sweep: Sweep) -> None:
    """A full disk, or a machine that loses its power, tears the last line."""
    _kill_in_the_middle(sweep)
    journal = sweep.home / "optuna.journal"
    journal.write_bytes(journal.read_bytes() + b'{"op_code":8,"worker_id":"x')
    sweep.resume().document()
    check_the_end(sweep)


@pytest.mark.slow
def test_an_end_that_was_spooled_but_not_told_to_optuna_is_recorded_once(sweep: Sweep) -> None:
    """The driver dies between the two: Optuna's journal then ends before the trial's end."""
    driver, journal = sweep.run(), sweep.home / "optuna.journal"
    driver.wait_until(lambda: len(_places(journal, SET_TRIAL_STATE)) >= 3, "some ends had been told")
    driver.kill()
    _cut(journal, _places(journal, SET_TRIAL_STATE)[-1])
    sweep.resume().document()
    check_the_end(sweep)


@pytest.mark.slow
def test_what_only_a_checkpoint_knows_is_recorded(sweep: Sweep) -> None:
    """The driver dies when a cohort has saved itself, and before it has heard of anything that led there."""
    driver = sweep.run()
    driver.wait_until(sweep.checkpoints, "a cohort had saved itself")
    driver.kill()
    journal, spool = sweep.home / "optuna.journal", sweep.home / "sweeps" / sweep.id / "spool.jsonl"
    if heard := _places(journal, SET_TRIAL_INTERMEDIATE_VALUE):
        _cut(journal, heard[0])
    spool.write_bytes(spool.read_bytes().splitlines(keepends=True)[0])
    spool.with_name("spool.sent").unlink(missing_ok=True)
    (sweep.home / "mlflow.db").unlink(missing_ok=True)
    sweep.resume().document()
    check_the_end(sweep)


@pytest.mark.slow
def test_trials_that_were_asked_for_but_not_given_out_are_not_lost(sweep: Sweep) -> None:
    """The driver dies while it asks: the last trial has no values yet, and none has a cohort."""
    driver = sweep.run()
    journal = sweep.home / "optuna.journal"
    driver.wait_until(lambda: sweep.lines("start"), "a trial began")
    driver.kill()
    _cut(journal, _places(journal, CREATE_TRIAL)[4] + 1)
    for path in sweep.home.glob("sweeps/*/spool.*"):
        path.unlink()
    (sweep.home / "mlflow.db").unlink(missing_ok=True)
    sweep.resume().document()
    check_the_end(sweep)
    exponents = [t.params["lr_exponent"] for t in sweep.trials()]
    assert exponents[0::2] == exponents[1::2], "the branches of a trunk share its exponent"


@pytest.mark.slow
def test_short_trials_that_end_before_their_first_record_is_sent_are_recorded(make_sweep: Callable[..., Sweep]) -> None:
    sweep = make_sweep(budget={"steps": 100, "batch_size": 16, "reports": 10})
    sweep.run().document()
    check_the_end(sweep)


def everything(sweep: Sweep) -> dict[str, Any]:
    """Return what MLflow has of each run, with every point of its metrics."""
    return {
        run.info.run_id: (run.info.status, dict(histories(sweep.tracking, run)), dict(run.data.params))
        for run in sweep.runs()
    }


@pytest.mark.slow
def test_resuming_a_sweep_that_is_over_changes_no_record(sweep: Sweep) -> None:
    driver = sweep.run()
    driver.wait_until(sweep.in_the_middle, "it was in the middle")
    driver.kill()
    sweep.resume().document()
    before = everything(sweep)
    summary = sweep.resume().document()
    assert summary["trials"] == sweep.spec.trials
    assert everything(sweep) == before
    (parent,) = [run for run in sweep.runs() if "espalier.trial" not in run.data.tags]
    metrics, several = parent.data.metrics, dict(histories(sweep.tracking, parent))
    assert metrics["lane_steps"] + metrics["steps_shared"] == sweep.spec.trials * sweep.spec.budget.steps
    best = several.pop(f"best_{sweep.spec.objective.metric}")  # by how many trials had ended
    assert len({step for step, _ in best}) == len(best) and best[-1][0] == sweep.spec.trials
    assert not {key for key, points in several.items() if len(points) > 1}
    check_the_end(sweep)
