"""Files of a home are damaged or gone: a resume mends what it can, names what it cannot, and leaves no run RUNNING."""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.tracking import MlflowClient

from espalier.core.errors import BadInput
from espalier.sweeps.browse.home_sweep import read_sweep
from espalier.sweeps.recording.reachable import check_reachable
from espalier.sweeps.recording.records import KINDS, TrialTagged, from_json
from espalier.sweeps.recording.spool import Spool
from espalier.sweeps.recording.tracking_uri import default_uri
from espalier.sweeps.running.loop import Loop
from espalier.sweeps.search.cohort_plan import CohortPlan
from tests.sweeps.recording.saying import assert_everything, new_home, recorded, recorder_at, say_everything
from tests.sweeps.running.test_driver import SWEEP, Killed, Stage, by_two_programs, cohorts, lives, turn
from tests.sweeps.running.test_driver import stage as stage
from tests.tiers import examples

Damage = Callable[[Path], Any]


def spool(home: Path, end: str = "jsonl") -> Path:
    return home / "sweeps" / SWEEP / f"spool.{end}"


def without_line(op: str, trial: int, instead: bytes = b'{"op": "e\xffnd"}\n') -> Damage:
    """Damage one line of the spool."""

    def damage(home: Path) -> None:
        lines = spool(home).read_bytes().splitlines(keepends=True)
        said = [json.loads(line) for line in lines]
        number = next(n for n, line in enumerate(said) if line["op"] == op and line.get("trial") == trial)
        lines[number] = instead
        spool(home).write_bytes(b"".join(lines))

    return damage


def cut(file: Path, share: float) -> None:
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])


def overwrite(file: Path, at: int, content: bytes) -> None:
    with open(file, "r+b") as opened:
        opened.seek(at)
        opened.write(content)


OF_SPOOL: dict[str, Damage] = {
    "spool gone beside its mark": lambda home: spool(home).unlink(),
    "spool empty beside its mark": lambda home: spool(home).write_bytes(b""),
    "mark no number": lambda home: spool(home, "sent").write_text("xyz"),
    "mark no text": lambda home: spool(home, "sent").write_bytes(b"\xff\xfe\0"),
    "mark beyond the end": lambda home: spool(home, "sent").write_text("99999999999"),
    "mark negative": lambda home: spool(home, "sent").write_text("-5"),
    "mark within a line": lambda home: spool(home, "sent").write_text("17"),
    "mark of 50,000 digits": lambda home: spool(home, "sent").write_text("1" * 50_000),
    "a bad end": without_line("end", 3),
    "a bad start": without_line("start", 2),
    "a line of another shape": without_line("end", 4, b'{"op": "end", "time": 1, "trial": "four"}\n'),
    "a bad report": without_line("report", 1, b"\0" * 300 + b"\n"),
    "an end of zeros": lambda home: spool(home).write_bytes(spool(home).read_bytes() + b"\0" * 4096),
    "a hole of zeros": lambda home: overwrite(spool(home), 1500, b"\0" * 2000),
}
OF_STORE: dict[str, Damage] = {
    "store gone": lambda home: (home / "mlflow.db").unlink(),
    "store empty": lambda home: (home / "mlflow.db").write_bytes(b""),
    "store cut": lambda home: cut(home / "mlflow.db", 0.5),
    "store of a few bytes": lambda home: cut(home / "mlflow.db", 0.00001),
    "store no database": lambda home: (home / "mlflow.db").write_bytes(b"this was a database once" * 400),
    "store with a bad page": lambda home: overwrite(home / "mlflow.db", 4096 * 3, b"\xff" * 4096 * 60),
}


def afresh(home: Path) -> str:
    """Return an address of the store that no connection of this process has: they would read on in a deleted file."""
    return default_uri(home).replace(":///", f":///{'/' * random.randint(9, 99)}")


def children(home: Path) -> dict[str, Any]:
    """Return the runs of the sweep's trials; one run each, none RUNNING."""
    client = MlflowClient(tracking_uri=afresh(home))
    experiment = client.get_experiment_by_name("warm")
    assert experiment
    runs = client.search_runs([experiment.experiment_id], f"tags.`espalier.sweep` = '{SWEEP}'")
    assert {run.info.status for run in runs} == {"FINISHED"}
    by_trial = {run.data.tags.get("espalier.trial", "parent"): run for run in runs}
    assert len(by_trial) == len(runs)
    return by_trial


def assert_mended(stage: Stage) -> None:
    """Resume a sweep that had ended, and hold MLflow to what it was."""
    stage.summary = None
    stage.perform(by_two_programs)  # which is not played: nothing is left to be trained
    assert stage.summary and stage.summary.recorded, stage.recorders[-1].trouble
    assert all("\n" not in note for note in stage.summary.notes)
    runs = children(stage.home.path)
    assert set(runs) == {"parent", *map(str, range(6))}
    for trial in range(6):
        run = runs[str(trial)]
        assert run.data.metrics["valid_loss"] == 2.0 + trial
        assert run.data.tags["espalier.verdict"] and run.data.params["lr_exponent"]
        assert run.data.tags["mlflow.parentRunId"] == runs["parent"].info.run_id
    assert runs["parent"].data.tags["mlflow.note.content"].startswith("**Best: rate 0.0")


def always(names: Mapping[str, Any], *quick: str) -> list[Any]:
    """Return damages to be tried: some always, the others in the long run of tests."""
    return [pytest.param(names[n], id=n, marks=() if n in quick else pytest.mark.slow) for n in names]


@pytest.mark.parametrize("damage", always(OF_SPOOL, "spool gone beside its mark", "a bad end"))
def test_a_damaged_spool_of_a_sweep_that_is_recorded_loses_nothing(damage: Damage, stage: Stage) -> None:
    stage.perform(by_two_programs)
    damage(stage.home.path)
    assert_mended(stage)


@pytest.mark.parametrize("damage", always(OF_STORE, "store gone", "store cut"))
def test_a_store_that_is_gone_or_damaged_is_filled_again_from_the_spool(damage: Damage, stage: Stage) -> None:
    stage.perform(by_two_programs)
    damage(stage.home.path)
    stage_of_old = stage.summary
    assert_mended(stage)
    assert stage.summary and stage.summary is not stage_of_old
    assert any("MLflow lacked records" in note or "mlflow.db" in note for note in stage.summary.notes)
    assert read_sweep(stage.home, SWEEP).best_file().startswith("# Trial 0")


RESTORED = {name: name for name in ("spool gone beside its mark", "a bad end", "a bad start", "a hole of zeros")}


@pytest.mark.parametrize("damage", always(RESTORED, "spool gone beside its mark", "a bad start"))
def test_what_neither_the_store_nor_the_spool_has_is_restored_from_optuna_and_said(damage: str, stage: Stage) -> None:
    stage.perform(by_two_programs)
    OF_SPOOL[damage](stage.home.path)
    (stage.home.path / "mlflow.db").unlink()
    assert_mended(stage)
    assert stage.summary
    path = str(spool(stage.home.path))
    assert any(path in note and "restored from Optuna" in note for note in stage.summary.notes), stage.summary.notes


@pytest.mark.parametrize("damage", always(RESTORED | {"mark no number": "mark no number"}, "a hole of zeros"))
def test_a_sweep_that_was_killed_and_damaged_goes_on_to_its_end(damage: str, stage: Stage) -> None:
    def until_the_kill(loop: Loop) -> None:
        for cohort in cohorts(loop):
            loop.take_turn(cohort.id, turn(*(e for t in cohort.trials[:2] for e in lives(CohortPlan("", [t])))))
            loop.take_turn(cohort.id, turn(replace(lives(cohort)[-6], trial=f"{cohort.trials[2].number}/0")))
        raise Killed

    def the_rest(loop: Loop) -> None:
        while (assignment := loop.next_cohort()) is not None:
            loop.take_turn(assignment.plan.id, turn(*lives(assignment.plan)))
            loop.end_cohort(assignment.plan.id)

    stage.perform(until_the_kill)
    spool(stage.home.path, "sent").touch()
    OF_SPOOL[damage](stage.home.path)
    stage.summary = None
    stage.perform(the_rest)
    assert stage.summary and stage.summary.recorded
    assert_mended(stage)


@pytest.mark.parametrize("file", ["spool.jsonl", "spool.sent", "spool.refused"])
def test_a_folder_where_a_file_of_the_spool_should_be_is_bad_input(file: str, stage: Stage) -> None:
    (stage.home.sweep(SWEEP) / file).mkdir(parents=True)
    with pytest.raises(BadInput, match=file.replace(".", r"\.")) as refused:
        Spool(stage.home.sweep(SWEEP))
    assert "\n" not in str(refused.value)


def test_a_folder_where_the_store_should_be_is_bad_input_at_once(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").mkdir()
    with pytest.raises(BadInput, match=r"mlflow\.db is no file; move it away"):
        check_reachable(default_uri(tmp_path))


def test_a_store_that_is_deleted_while_a_sweep_is_recorded_is_made_anew_with_everything(
    tmp_path: Path, empty_store: Path
) -> None:
    home = new_home(tmp_path / "home", empty_store)
    recorder = recorder_at(home)
    say_everything(recorder, tmp_path)
    recorder.flush()
    (home / "mlflow.db").unlink()  # what writes on has it open
    assert recorder.close()
    assert_everything(recorded(afresh(home)))


def test_the_best_file_comes_from_the_spool_where_mlflow_has_lost_it(stage: Stage) -> None:
    stage.perform(by_two_programs)
    whole = read_sweep(stage.home, SWEEP).best_file()
    (stage.home.path / "mlflow.db").unlink()
    assert read_sweep(stage.home, SWEEP).best_file() == whole
    spool(stage.home.path).unlink()
    with pytest.raises(BadInput, match=f"record the sweep again: sweep resume {SWEEP}") as refused:
        read_sweep(stage.home, SWEEP).best_file()
    assert "\n" not in str(refused.value)


@given(st.binary(max_size=200))
def test_no_bytes_make_a_line_of_the_spool_that_breaks_who_reads_it(text: bytes) -> None:
    line = from_json(text)
    assert line is None or line.record.op in KINDS


@examples(60)
@given(st.data())
def test_whatever_bytes_of_a_spool_are_damaged_the_lines_that_can_be_read_are_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    whole = Spool(folder)
    for n in range(30):
        whole.append(TrialTagged(n, {"a": "b" * n}), n)
    whole.move_mark(0)
    whole.close()
    content = bytearray(whole.path.read_bytes())
    lines = bytes(content).splitlines(keepends=True)
    at, length = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(1, 200))
    content[at : at + length] = bytes([data.draw(st.sampled_from([0, 10, 55, 255]))]) * len(content[at : at + length])
    whole.path.write_bytes(content)
    again = Spool(folder)
    again.close()
    untouched = {json.loads(line)["trial"] for line in lines if line in bytes(content).splitlines(keepends=True)}
    assert untouched <= {line.trial for line in again.pending()[0]}
    assert all("\n" not in note for note in again.damage)


def test_a_home_is_not_read_as_another_file(tmp_path: Path) -> None:
    place = tmp_path / "notes.txt"
    place.write_text("no database")
    with pytest.raises(BadInput, match="cannot be read"):
        check_reachable(f"sqlite:///{place}")
    assert place.read_text() == "no database"
