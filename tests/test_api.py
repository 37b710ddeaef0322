"""What Python has of a sweep: run from a script whose task stands in it, read here, trained again."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import yaml
from click.testing import CliRunner

import espalier as es
from espalier.result import Result
from espalier.sweeps.answer.closing import Summary
from espalier.sweeps.cli.app import main
from espalier.sweeps.home import JOURNAL, Home
from espalier.sweeps.running.progress import Progress
from espalier.sweeps.search.store import SweepStore
from espalier.sweeps.search.study import SweepRecord
from tests.shared import made_once
from tests.sweeps.made import spec_with

SCRIPT = """
import torch
import espalier as es
from torch import nn

SLOPE = torch.tensor([1.0, -2.0, 0.5])


def noise(n):
    return 0.1 * torch.randn(n, generator=torch.Generator().manual_seed(1))


class Slopes(es.Task):
    def __init__(self, width: int = 4, examples: int = 120):
        self.width, self.examples = width, examples

    def model(self):
        return nn.Sequential(nn.Linear(3, self.width), nn.Tanh(), nn.Linear(self.width, 1))

    def loss(self, model, batch):
        x, y = batch
        return (model(x)[:, 0] - y).square().mean()

    def metrics(self, model, batch):
        x, y = batch
        error = model(x)[:, 0] - y
        return {"loss": error.square().mean(), "mae": error.abs().mean()}

    def data(self):
        x = torch.randn(self.examples, 3, generator=torch.Generator().manual_seed(0))
        y = x @ SLOPE + noise(len(x))
        return es.Data((x[:100], y[:100]), (x[100:], y[100:]))


result = es.sweep(
    {"name": "slopes", "trials": 3, "budget": {"steps": 60, "reports": 3}},
    task=Slopes(width=5),
    trials=4,
    budget={"batch_size": 8},
    replicates=2,
    search={"sampler": "random"},
    resources={"cohorts": 1},
    space={"lr_exponent": {"low": -3, "high": -1}, "decay_points": {"count": 1, "low": 0.5, "high": 0.9}},
    home="home",
)
print(result.id)
"""


@dataclass(frozen=True)
class Ran:
    """A sweep that a script has run: where, and what it printed."""

    home: Path
    id: str
    errors: str

    def open(self) -> Result:
        return es.open(self.id, home=self.home)


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return made_once(tmp_path_factory, "script", run_script)


def run_script(folder: Path) -> Ran:
    (folder / "slopes.py").write_text(SCRIPT)
    environment = {k: v for k, v in os.environ.items() if k != "SWEEP_HOME"}
    done = subprocess.run([sys.executable, "slopes.py"], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return Ran(folder / "home", done.stdout.strip(), done.stderr)


@pytest.mark.early
def test_a_script_needs_no_guard_for_the_task_that_stands_in_it(ran: Ran) -> None:
    """A worker that ran the script would begin another sweep: what it imports is the task alone."""
    assert ran.id.startswith("slopes-")
    assert "es.sweep" not in Path(ran.open().spec.task.partition(":")[0]).read_text()


def test_the_progress_is_shown_on_stderr(ran: Ran) -> None:
    assert f"[{ran.id}]" in ran.errors


def test_fields_change_what_they_name_alone(ran: Ran) -> None:
    spec = ran.open().spec
    assert (spec.trials, spec.budget.steps, spec.budget.batch_size, spec.budget.reports) == (4, 60, 8, 3)
    assert spec.task_options == {"width": 5} and spec.name == "slopes"


def test_the_table_has_a_row_a_trial(ran: Ran) -> None:
    result = ran.open()
    table = result.table
    assert isinstance(table, pandas.DataFrame) and list(table.index) == [0, 1, 2, 3]
    assert set(table["state"]) == {"complete"} and table["valid_loss"].notna().all()
    assert np.allclose(table["lr"], 10.0 ** table["lr_exponent"])
    assert table["valid_loss_std"].notna().all()
    assert result.best and table["valid_loss"].idxmin() == result.best.number
    assert table.loc[result.best.number, "valid_loss"] == result.best.value
    assert table.groupby("decay_points").size().sum() == 4
    assert list(result.verdicts.index) == [0, 1, 2, 3] and (result.verdicts == table["verdict"]).all()


def test_a_curve_has_every_report(ran: Ran) -> None:
    result = ran.open()
    objective = result.curves()
    assert list(objective.columns) == ["trial", "step", "value"]
    assert sorted(set(objective["step"])) == [20, 40, 60] and len(objective) == 4 * 3
    last = objective[objective["step"] == 60].set_index("trial")["value"]
    assert np.array_equal(last.sort_index(), result.table["valid_loss"])
    assert result.curves("valid_mae").shape == (12, 3)
    assert set(result.curves("train_curve")["trial"]) == {0, 1, 2, 3}
    named = result.curves("valid_loss")
    assert named.equals(objective)
    with pytest.raises(es.BadInput, match="'valid_mea' was not reported; did you mean 'valid_mae'"):
        result.curves("valid_mea")


def test_what_a_figure_shows_is_there_as_pandas(ran: Ran) -> None:
    result = es.open(ran.id, home=ran.home)
    frames = result.figure_data("valley")
    datasets = result.figure("valley").to_dict()["datasets"]
    assert sorted(len(frame) for frame in frames.values()) == sorted(map(len, datasets.values()))
    complete = frames["trials"][frames["trials"]["kind"] != "at the edge"].set_index("trial")["valid_loss"].dropna()
    assert len(complete) and all(f"{result.table.valid_loss[n]:.6g}" == f"{v:.6g}" for n, v in complete.items())
    with pytest.raises(es.BadInput, match="figure choices: Nothing was chosen"):
        result.figure_data("choices")


def test_the_curves_come_from_mlflow_where_the_folder_is_gone(ran: Ran, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(ran.home, tmp_path / "home")
    there = ran.open().curves("valid_mae")
    for spool in (tmp_path / "home" / "sweeps").glob("*/spool.*"):
        spool.unlink()
    uri = f"sqlite:///{tmp_path / 'home' / 'mlflow.db'}"
    from espalier.sweeps.browse.curves import points
    from espalier.sweeps.home import Home
    from espalier.sweeps.recording.experiments import Owner

    known = points(Home(tmp_path / "home"), uri, Owner(ran.id), [0, 1, 2, 3], "valid_mae")
    assert sorted(known) == sorted(there.itertuples(index=False, name=None))


def test_the_best_trains_again_to_the_same_bits(ran: Ran, tmp_path: Path) -> None:
    best = ran.open().best
    assert best
    file = best.save(tmp_path / "best.yaml")
    fields = yaml.safe_load(file.read_text())
    assert fields["trial"] == best.number and fields["params"] == dict(best.params)
    again = es.rerun(file)
    assert again.reproduced and again.value == best.value
    assert es.rerun(best).reproduced


def test_sweeps_are_listed_and_opened_by_id_or_name(ran: Ran) -> None:
    assert [sweep.id for sweep in es.sweeps(home=ran.home)] == [ran.id]
    named = es.open("slopes", home=ran.home)
    assert named.id == ran.id and named.state == "finished" and named.page.startswith("http")
    assert str(named).startswith(f"{ran.id}: finished; 4 complete, of 4; best valid_loss ")
    html = named._repr_html_()
    assert "<table" in html and "valid_loss" in html


def test_what_the_command_shows_is_the_same_sweep(ran: Ran, tmp_path: Path) -> None:
    show = CliRunner().invoke(main, ["show", ran.id, "--json", "--home", str(ran.home)])
    shown = json.loads(show.stdout)
    result = ran.open()
    assert result.best and shown["best"]["trial"] == result.best.number
    assert [t["value"] for t in shown["trials"]] == list(result.table["valid_loss"])


def test_a_sweep_that_cannot_be_read_does_not_hide_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = SweepStore.open(str(tmp_path / JOURNAL))
    for sweep in ("whole", "of-another-version"):
        storage.create(sweep, spec_with(), {"created": "2026-11-29T00:00:00Z"})
    storage.load("of-another-version").study.set_user_attr("spec", {"name": "b", "nonsense": 1})
    assert [sweep.id for sweep in es.sweeps(home=tmp_path)] == ["whole"]
    assert "of-another-version: another version wrote its spec" in capsys.readouterr().err


# --- a run, and what it printed --------------------------------------------------------------------------------------


@pytest.mark.parametrize("progress", [True, False])
def test_what_went_wrong_is_printed_once(
    progress: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On the way where the progress is shown, else at the end; never both."""

    def drive(spec: es.SweepSpec, home: Home, watch: Callable[[Progress], Any], *_: Any) -> Summary:
        kept = Progress.of("line-1", spec, 0.0)
        with watch(kept):
            kept.note("cohort-0: its worker ended")
        return Summary("line-1", spec, [], None, False, True, 1.0, 0, 0, None, notes=kept.notes)

    monkeypatch.setattr("espalier.sweeps.running.driver.start", drive)
    monkeypatch.setattr("espalier.sweeps.running.machine.RaySession.start", lambda session: None)
    result = es.sweep("line", home=tmp_path / "home", progress=progress)
    assert result.notes == ("cohort-0: its worker ended",)
    assert capsys.readouterr().err.count("its worker ended") == 1


def test_a_sweep_is_read_once_for_its_best_and_its_curves(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []
    read = SweepRecord.results
    monkeypatch.setattr(SweepRecord, "results", lambda record: reads.append(record.id) or read(record))
    result = ran.open()
    assert result.best and len(result.curves("valid_mae")) and len(result.table)
    assert reads == [ran.id]


# --- what is refused -------------------------------------------------------------------------------------------------


class NoTask:
    def __init__(self, width: int) -> None:
        self.width = width

    def model(self) -> None: ...

    def loss(self) -> None: ...

    def data(self) -> None: ...


class Positional(es.Task):
    def __init__(self, *widths: int) -> None:
        self.widths = widths

    def model(self) -> Any: ...


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "an unknown sweep": (lambda home: es.open("nothing", home=home), "unknown sweep 'nothing'"),
    "no file": (lambda home: es.sweep("nowhere.yaml", home=home), "nowhere.yaml: cannot be read"),
    "no ready sweep": (lambda home: es.sweep("nmes", home=home), "nmes: cannot be read"),
    "an unknown field": (lambda home: es.sweep("names", trails=3, home=home), "did you mean 'trials'"),
    "a bad value": (lambda home: es.sweep("names", trials=0, home=home), "trials: input should be greater"),
    "no task": (lambda home: es.sweep({"name": "a"}, home=home), "task: missing"),
    "a number": (lambda home: es.sweep(3, home=home), "3 has no model()"),
    "no class of a task": (lambda home: es.sweep(object, home=home), "has no model()"),
    "an object that is no Task": (lambda home: es.sweep(NoTask(3), home=home), "inherit from Task"),
    "options without names": (lambda home: es.sweep(Positional(1, 2), home=home), "give them by name"),
    "no best file": (lambda home: es.rerun(home / "nothing.yaml"), "cannot be read"),
    "a range upside down": (lambda home: es.lr_range("thermometer", low=1, high=0, home=home), "low must be below"),
    "a home that is a file": (lambda home: es.sweeps(home=Path(__file__)), "cannot be read"),
    "no address": (lambda home: es.open("a", server="nowhere"), "write http://HOST:PORT"),
}


@pytest.mark.parametrize("call, why", REFUSED.values(), ids=REFUSED)
def test_bad_input_is_one_line(call: Callable[[Path], Any], why: str, tmp_path: Path) -> None:
    with pytest.raises(es.BadInput) as caught:
        call(tmp_path / "home")
    assert why in str(caught.value) and "\n" not in str(caught.value)


def test_a_check_and_a_range_test_are_values(tmp_path: Path) -> None:
    found = es.check("thermometer", home=tmp_path / "home")
    assert found.passed and "parts: " in str(found) and found.document["passed"]
    test = es.lr_range("thermometer", steps=60, seeds=2, home=tmp_path / "home")
    assert test.interval is None or test.interval[0] < test.interval[1]
    assert set(test.rules)
