"""`sweep compare`: the answer first, and what is not compared."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import espalier as es
from espalier.sweeps.browse.compare import Comparison, Side
from espalier.sweeps.browse.compare_figure import best_so_far, comparison_figure
from espalier.sweeps.cli.app import main
from espalier.sweeps.home import JOURNAL
from espalier.sweeps.report.figure import Missing
from espalier.sweeps.results.trial_result import TrialResult
from espalier.sweeps.search.search import Search
from espalier.sweeps.search.store import SweepStore
from espalier.sweeps.spec.spec import make_spec
from tests.sweeps.made import life, spec_with

Sweep = Callable[..., Result]


def make(home: Path, sweep: str, losses: dict[int, float], data: str = "d1", **fields: Any) -> None:
    """Make a sweep without training: the losses of its trials by number, confirmations last."""
    home.mkdir(exist_ok=True)
    spec = spec_with(**fields | {"trials": len(losses) - fields.get("confirm", 0)})
    record = SweepStore.open(str(home / JOURNAL)).create(sweep, spec, {"created": sweep, "data": data, "code": "c1"})
    search = Search(record, 1, 64)
    while plan := search.next_cohort():
        for trial in plan.trials:
            search.take_events(life(trial.number, losses[trial.number]))
        search.cohort_over(plan.id)
    search.settle(everything=True)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    make(home, "warm-1", {0: 2.5, 1: 2.4, 2: 2.6, 3: 2.41, 4: 2.51}, confirm=2)
    make(home, "warm-2", {0: 2.2, 1: 2.1, 2: 2.6, 3: 2.11, 4: 2.21}, confirm=2, budget={"steps": 80, "batch_size": 11})
    make(home, "warm-3", {0: 2.5, 1: 2.39})
    make(home, "warm-4", {0: 2.5, 1: 2.38})
    make(home, "other-data", {0: 2.5}, data="d2")
    make(home, "upwards", {0: 2.5}, objective={"metric": "valid_loss", "mode": "max"})
    return home


@pytest.mark.parametrize(
    ("first", "second", "verdict", "begin"),
    [
        ("warm-1", "warm-2", "better", "warm-2 did better by 0.30000, more than noise (valid_loss 2.10500, and 2.4"),
        ("warm-2", "warm-1", "worse", "warm-1 did worse by 0.30000, more than noise"),
        ("warm-1", "warm-3", "noise", "warm-3 is neither better nor worse than noise"),
        ("warm-1", "warm-1", "noise", "warm-1 is neither better nor worse than noise"),
        ("warm-3", "warm-4", "unknown", "warm-4 came out better by 0.01000"),
        ("warm-3", "other-data", "incomparable", "warm-3 and other-data cannot be compared: warm-3 was trained"),
        ("warm-3", "upwards", "incomparable", "warm-3 and upwards cannot be compared: warm-3 has the objective"),
    ],
)
def test_the_answer_comes_first(sweep: Sweep, home: Path, first: str, second: str, verdict: str, begin: str) -> None:
    done = sweep("compare", first, second)
    assert done.exit_code == 0 and done.stdout.startswith(begin), done.output
    document = json.loads(sweep("compare", first, second, "--json").stdout)
    assert (document["verdict"], document["schema"]) == (verdict, 1)
    assert document["sentence"] == done.stdout.splitlines()[0]
    comparison = es.compare(first, es.open(second, home=home), home=home)
    assert (comparison.verdict, comparison.sentence) == (verdict, document["sentence"])


def test_what_was_different_and_what_it_cost_is_listed(sweep: Sweep, home: Path) -> None:
    said = sweep("compare", "warm-1", "warm-2").stdout
    assert "  budget.steps: 40, then 80\n" in said
    assert "  the data: the same (d1)\n" in said and "  the task's code: the same (c1)\n" in said
    document = json.loads(sweep("compare", "warm-1", "warm-2", "--json").stdout)
    assert {"field": "budget.steps", "first": 40, "second": 80} in document["fields"]
    assert "name" not in {field["field"] for field in document["fields"]}
    assert [side["cost"]["trials"] for side in document["sweeps"]] == [3, 3]
    assert document["sweeps"][0]["best"]["params"]["lr_exponent"] == pytest.approx(
        es.open("warm-1", home=home).table["lr_exponent"][1]
    )
    assert document["difference"]["by"] == pytest.approx(0.3)


def test_a_sweep_without_a_complete_trial_is_said(sweep: Sweep, home: Path) -> None:
    SweepStore.open(str(home / JOURNAL)).create("begun", spec_with(), {"created": "z"})
    assert sweep("compare", "warm-1", "begun").stdout.startswith(
        "warm-1 and begun cannot be compared: begun has no complete trial"
    )


def test_the_interval_is_told_in_the_direction_of_the_sentence(sweep: Sweep, home: Path) -> None:
    worse = sweep("compare", "warm-2", "warm-1").stdout.splitlines()[0]
    better = sweep("compare", "warm-1", "warm-2").stdout.splitlines()[0]
    ends = r"; at 95 % by (0\.\d+) to (0\.\d+)\)$"
    interval = re.search(ends, worse)
    assert interval and interval.groups() == re.search(ends, better).groups()  # type: ignore[union-attr]
    noise = sweep("compare", "warm-1", "warm-3").stdout.splitlines()[0]
    assert re.search(r"; better by 0\.\d+, at 95 % from 0\.\d+ worse to 0\.\d+ better\)$", noise), noise


def test_two_functions_are_said_to_train_different_things(home: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text("def train(config, report):\n    report(1, valid_loss=1.0)\n")
    specs = [
        make_spec({"name": name, "function": f"{tmp_path}/{name}.py:train", "space": {"lr": [0.1, 0.01]}, **more})
        for name, more in (("one", {}), ("two", {}), ("one", {"trials": 7}))
    ]
    sides = [
        Side(f"s-{k}", spec, "finished", [TrialResult(0, "complete", 1.0 + k, {})], 40, {})
        for k, spec in enumerate(specs)
    ]
    assert re.search(
        r"but they train different things \(s-0 one.py:train, s-1 two.py:train\): it counts only if valid_loss",
        Comparison(sides[0], sides[1]).sentence,
    )
    assert "different things" not in Comparison(sides[0], sides[2]).sentence


def test_a_field_of_several_values_is_told_in_words(sweep: Sweep, home: Path) -> None:
    make(
        home,
        "warm-5",
        {0: 2.5, 1: 2.3},
        space={"lr_exponent": {"low": -3, "high": -2}, "momentum": {"low": 0.1, "high": 0.9}},
    )
    lines = sweep("compare", "warm-3", "warm-5").stdout
    assert "  space.momentum: -, then low 0.1, high 0.9\n" in lines, lines


def test_an_unknown_sweep_is_refused(sweep: Sweep, home: Path) -> None:
    done = CliRunner().invoke(main, ["compare", "warm-1", "warm-9"], prog_name="sweep")
    assert done.exit_code == 2 and "unknown sweep 'warm-9'" in done.stderr


def test_python_says_what_it_takes(home: Path) -> None:
    with pytest.raises(es.BadInput, match="first: 3 arrived; give the id or the name of a sweep, or a result"):
        es.compare(3, "warm-1", home=home)  # type: ignore[arg-type]


# --- the figure ------------------------------------------------------------------------------------------------------


def test_the_best_so_far_of_both_is_drawn_against_what_it_cost(sweep: Sweep, home: Path, tmp_path: Path) -> None:
    figure = comparison_figure(es.compare("warm-1", "warm-2", home=home))
    assert not isinstance(figure, Missing)
    rows = figure.tables["best"].rows
    assert [row for row in rows if row[0] == "warm-1"] == [
        ["warm-1", 40, 2.5],
        ["warm-1", 80, 2.4],
        ["warm-1", 120, 2.4],
    ]
    assert [row for row in rows if row[0] == "warm-2"][-1] == ["warm-2", 240, 2.1]
    for side in (es.compare("warm-1", "warm-2", home=home).first, es.compare("warm-3", "warm-4", home=home).second):
        values = [value for _, value in best_so_far(side)]
        assert values == sorted(values, reverse=True) and len(values) >= 2
    assert sweep("compare", "warm-1", "warm-2", "--figure", "best.png").exit_code == 0
    assert (tmp_path / "best.png").read_bytes().startswith(b"\x89PNG")
    done = sweep("compare", "warm-3", "upwards", "--figure", "never.png")
    assert done.exit_code == 2 and "never.png: not drawn: warm-3 has the objective" in done.stderr
    assert sweep("compare", "warm-1", "warm-2", "--figure", "no/such.png").exit_code == 2
    assert not isinstance(comparison_figure(es.compare("warm-1", "warm-1", home=home)), Missing)


def test_the_time_between_two_drivers_is_no_cost() -> None:
    def trial(number: int, begin: float, end: float) -> TrialResult:
        return TrialResult(number, "complete", 2.5, {}, duration_s=end - begin, ended=end)

    def cost(*trials: TrialResult) -> float | None:
        return Side("warm-1", spec_with(), "finished", trials, None, {}).cost()["seconds"]

    first, beside, later = trial(0, 100.0, 103.0), trial(1, 101.0, 105.0), trial(2, 825.0, 827.0)
    assert cost(first, beside) == 5.0 and cost(later, first, beside) == 7.0
    assert cost() is None and cost(TrialResult(0, "running", None, {})) is None
