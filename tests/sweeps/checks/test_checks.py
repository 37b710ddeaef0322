"""`sweep check` and `sweep lr-range`: pages, exit codes, what is recorded, and the exponent that is found by itself."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result

from espalier.core.errors import BadInput
from espalier.core.measures.verdicts import Thresholds
from espalier.sweeps import cohorts as plan
from espalier.sweeps.checks import checkup, lr_range
from espalier.sweeps.home import Home
from espalier.sweeps.results.comparison import judged_together
from espalier.sweeps.spec.spec import make_spec
from espalier.sweeps.spec.stopping import Stopping
from tests.conftest import generated_words
from tests.sweeps.made import THERMOMETER, row, spec_with

Command = Callable[..., Result]


@pytest.fixture
def small_file(tmp_path: Path) -> Path:
    """A spec of the names task on few words."""
    words = tmp_path / "words.txt"
    words.write_text("\n".join(generated_words(83, "abcdefghijkl", 7)))
    fields = {
        "name": "tiny",
        "task": "espalier.core.tasks.names:Names",
        "task_options": {"path": str(words), "hidden": 20, "validation": 50},
        "budget": {"steps": 60, "batch_size": 16},
        "space": {"lr_exponent": {"low": -2, "high": 0}, "decay_points": {"branches": 4}},
        "trials": 8,
    }
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(fields))
    return file


def recorded(home: Path, kind: str) -> Any:
    """Return MLflow's only run of a kind."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")
    places = [e.experiment_id for e in client.search_experiments()]
    (run,) = client.search_runs(places, f"tags.`espalier.kind` = '{kind}'")
    return client, run


# --- check ------------------------------------------------------------------------------------------------------------


def test_check_prints_a_page_and_records_it_with_its_figure(sweep: Command, small_file: Path, tmp_path: Path) -> None:
    said = sweep("check", str(small_file))
    assert said.exit_code == 0, said.output
    for what in ("parts", "order", "first loss", "initialisation", "movement", "descent", "one batch", "ratios"):
        assert f"  {what}: " in said.output, what
    assert "core-hours" in said.output and "of memory" in said.output
    assert " 0 failed" in said.output
    client, run = recorded(tmp_path / "home", "check")
    assert run.info.status == "FINISHED" and run.data.tags["espalier.passed"] == "true"
    assert {a.path for a in client.list_artifacts(run.info.run_id)} >= {"check.txt", "check.json", "spec.yaml"}
    assert [a.path for a in client.list_artifacts(run.info.run_id, "figures")] == ["figures/check.png"]


def test_check_as_json_is_one_document(sweep: Command, small_file: Path) -> None:
    said = sweep("check", str(small_file), "--json", "--lsuv")
    found = json.loads(said.stdout)
    assert found["passed"] and {f["level"] for f in found["findings"]} <= {"pass", "warn"}
    assert [f for f in found["findings"] if f["what"] == "LSUV"]
    assert found["forecast"]["lane_steps"] + found["forecast"]["shared"] == 4 * 60, "8 trials, 4 trainings' worth"
    assert set(found["ratios"]) == {"-2.0", "-1.0", "0.0"}
    assert {layer["kind"] for layer in found["layers"]} == {"embedding", "linear", "tanh"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("def foward(self, x):\n            return self.a * x", "forward is missing"),
        ("def forward(self, x):\n            return (self.a * x).detach().requires_grad_()", "no parameter changed"),
    ],
)
def test_check_of_a_task_that_cannot_train_says_what_a_person_would_see(
    sweep: Command, tmp_path: Path, body: str, words: str
) -> None:
    (tmp_path / "bad.py").write_text(
        f"""import torch
from espalier.core.task import Data, Task


class Bad(Task):
    def model(self):
        return Net()

    def loss(self, model, batch):
        return (model(batch[0]) - batch[1]).square().mean()

    def data(self):
        x = torch.linspace(0, 1, 20)
        return Data((x, 2 * x), (x, 2 * x))


class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = torch.nn.Parameter(torch.zeros(()))

        {body}
"""
    )
    (tmp_path / "bad.yaml").write_text("name: bad\ntask: bad.py:Bad\n")
    said = sweep("check", "bad.yaml")
    assert said.exit_code == 1
    assert f"FAIL  parts: {words}" in said.output
    assert "1 failed" in said.output


@pytest.mark.parametrize("command", ["check", "lr-range"])
def test_a_bad_spec_is_bad_input(sweep: Command, tmp_path: Path, command: str) -> None:
    (tmp_path / "bad.yaml").write_text("name: bad\ntask: espalier.core.tasks.names:Nmes\n")
    for arguments in (["nowhere.yaml"], ["bad.yaml"], ["bad.yaml", "--set", "budgt=3"]):
        said = sweep(command, *arguments)
        assert said.exit_code == 2
        assert said.stderr.splitlines()[-1].startswith("sweep: ") and "Traceback" not in said.stderr


# --- the forecast -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("branches", [1, 2, 4, 8])
def test_the_share_of_shared_steps_is_that_of_drawn_points(branches: int) -> None:
    import numpy as np

    spec = spec_with(schedule="step", space={"decay_points": {"low": 0.4, "high": 0.9, "branches": branches}})
    draw = np.random.default_rng(0)
    points = np.sort(draw.uniform(0.4, 0.9, (20_000, branches)), axis=1)
    assert checkup.shared_share(spec) == pytest.approx(points[:, :-1].sum(1).mean() / branches, abs=0.005)


def test_halving_and_sharing_shorten_the_forecast() -> None:
    plain = checkup.foresee(spec_with())
    halved = checkup.foresee(spec_with(stopping=Stopping(rungs=(0.25, 0.5), reduction=2).model_dump()))
    assert plain.lane_steps == 6 * 40 and plain.shared == 0
    assert halved.lane_steps == pytest.approx(6 * 40 * (0.25 + 0.25 / 2 + 0.5 / 4), abs=1)
    assert plain.wall_s > 10 and plain.memory_bytes > 2**28
    assert "core-hours" in plain.sentence()


def test_a_budget_in_time_is_forecast_to_take_its_time_on_all_cores() -> None:
    forecast = checkup.foresee(spec_with(budget={"steps": 40, "batch_size": 11, "hours": 3}))
    assert forecast.busy_s / 3600 == pytest.approx(3 * forecast.cohorts, rel=0.01)


# --- lr-range ---------------------------------------------------------------------------------------------------------


def test_lr_range_prints_every_rule_and_an_interval(sweep: Command, small_file: Path, tmp_path: Path) -> None:
    said = sweep("lr-range", str(small_file), "--seeds", "4", "--steps", "300", "--figure", "f.png")
    assert said.exit_code == 0, said.output
    for rule in ("fastai valley", "fastai slide", "Lightning", "torch-lr-finder", "binned minimum"):
        assert f"\n{rule}" in said.output
    assert "interval: exponents" in said.output and "--set 'space.lr_exponent={low: " in said.output
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    client, run = recorded(tmp_path / "home", "lr-range")
    assert run.data.metrics["interval_low"] < run.data.metrics["interval_high"]
    assert len(client.get_metric_history(run.info.run_id, "loss")) > 10
    assert [a.path for a in client.list_artifacts(run.info.run_id, "figures")] == ["figures/lr-range.png"]


def test_lr_range_of_a_flat_curve_gives_no_interval_and_says_why(sweep: Command, small_file: Path) -> None:
    said = sweep("lr-range", str(small_file), "--low", "-12", "--high", "-9", "--steps", "60", "--seeds", "2")
    assert said.exit_code == 1
    assert "no interval can be given" in said.output and "note: the curve is flat" in said.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--low", "1", "--high", "0"], "low must be below high"),
        (["--seeds", "0"], "seeds: 0"),
        (["--steps", "3"], "at least 30"),
    ],
)
def test_lr_range_refuses_what_cannot_be_tested(
    sweep: Command, small_file: Path, arguments: list[str], words: str
) -> None:
    said = sweep("lr-range", str(small_file), *arguments)
    assert said.exit_code == 2 and words in said.stderr


def test_an_exponent_of_auto_becomes_the_range_that_a_test_finds(tmp_path: Path) -> None:
    spec = make_spec(dict(THERMOMETER) | {"space": {"lr_exponent": "auto"}})
    found, noted = lr_range.resolved(spec, Home.at(str(tmp_path)))
    domain = found.space.lr_exponent
    test = lr_range.run_test(spec)
    assert test.interval and domain.model_dump()["low"] == pytest.approx(test.interval[0] - 0.5, abs=0.01)
    assert domain.model_dump()["high"] == pytest.approx(test.interval[1] + 0.5, abs=0.01)
    assert noted["lr_exponent_low"] < -1.4818 < noted["lr_exponent_high"], "the exact limit lies within"
    assert lr_range.resolved(found, Home.at(str(tmp_path))) == (found, {})


def test_auto_that_finds_nothing_is_bad_input(small_file: Path, tmp_path: Path) -> None:
    (tmp_path / "flat.py").write_text(
        """import torch
from espalier.core.tasks.thermometer import Thermometer


class Flat(Thermometer):
    def loss(self, model, batch):
        return super().loss(model, batch) * 1e-30 + 1.0
"""
    )
    spec = make_spec(dict(THERMOMETER) | {"task": f"{tmp_path}/flat.py:Flat", "space": {"lr_exponent": "auto"}})
    with pytest.raises(BadInput, match="auto: no interval was found: the curve is flat"):
        lr_range.resolved(spec, Home.at(str(tmp_path)))


@pytest.mark.slow
def test_a_sweep_whose_exponent_is_auto_searches_what_its_test_found(
    in_process: Callable[..., Any], tmp_path: Path
) -> None:
    fields = dict(THERMOMETER) | {"space": {"lr_exponent": "auto"}, "trials": 3}
    (tmp_path / "auto.yaml").write_text(yaml.safe_dump(fields))
    said = in_process("run", "auto.yaml", "--json", folder=tmp_path)
    assert said.returncode == 0, said.stderr
    document = json.loads(said.stdout)
    assert document["trials"] == 3
    _, run = recorded(tmp_path / "sweep-data", "lr-range")
    low, high = run.data.metrics["interval_low"], run.data.metrics["interval_high"]
    assert low - 0.51 <= document["best"]["params"]["lr_exponent"] <= high + 0.51


# --- verdicts beside others -------------------------------------------------------------------------------------------


def test_a_trial_is_stuck_only_beside_one_that_is_not() -> None:
    flat = {10: 60.0, 20: 29.1, 30: 29.05, 40: 29.0}
    stuck = row(1, 29.0, verdict="healthy", reports=flat)
    best = row(0, 2.9, verdict="healthy", reports={10: 9.0, 20: 4.0, 30: 3.0, 40: 2.9})
    hot = row(2, 29.0, verdict="hot", reports=flat)
    found = judged_together([best, stuck, hot], Thresholds())
    assert [t.verdict for t in found] == ["healthy", "stuck", "hot"]
    assert "trial 0 reached" in found[1].evidence
    assert judged_together([stuck], Thresholds())[0].verdict == "healthy"
    assert judged_together([best, stuck], Thresholds(stuck=20.0))[1].verdict == "healthy"
    assert judged_together([], Thresholds()) == []


def test_the_thresholds_of_a_spec_are_those_that_judge() -> None:
    spec = spec_with(health={"hot": -0.5, "stuck": 3.0})
    assert plan.thresholds(spec) == Thresholds(hot=-0.5, stuck=3.0)
    assert plan.thresholds(spec_with()) == Thresholds()
    with pytest.raises(BadInput, match=r"health\.hott: unknown field; did you mean 'hot'"):
        spec_with(health={"hott": 1})


def test_watchers_are_found_by_name_or_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from espalier.core.training.watch import Watcher\n\n\n"
        "class Mine(Watcher):\n    pass\n\n\nclass Other:\n    pass\n\n\n"
        "class Short(Watcher):\n    def measure(self): return {}\n\n\n"
        "class Named(Watcher):\n    measure = 'loss'\n"
    )
    names = [type(w).__name__ for w in plan.watchers(spec_with(watchers=[f"{tmp_path}/mine.py:Mine"]))]
    assert names == ["Mine", "Ratios", "Health"]
    for reference, words in (
        (f"{tmp_path}/mine.py:Mnie", "watchers: .* has no class 'Mnie'; did you mean 'Mine'"),
        (f"{tmp_path}/mine.py:Other", "is no Watcher; inherit from espalier.Watcher"),
        ("nowhere.py:Mine", "watchers: no file nowhere.py"),
        (f"{tmp_path}/mine.py:Short", r"Short: measure\(\) cannot be called .*; write measure\(self, look\)"),
        (f"{tmp_path}/mine.py:Named", r"Named: measure is 'loss'; write a method measure\(look\)"),
    ):
        with pytest.raises(BadInput, match=words):
            plan.watchers(spec_with(watchers=[reference]))


def test_the_middle_of_a_space_is_a_point_of_it() -> None:
    spec = spec_with(
        space={"lr_exponent": {"low": -3, "high": -1}, "weight_decay": {"low": 1e-4, "high": 1e-2, "log": True}}
    )
    point = plan.first_point(spec)
    assert point["lr_exponent"] == -2 and math.isclose(point["weight_decay"], 1e-3)
