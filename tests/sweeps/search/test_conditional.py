"""Hyperparameters that exist only under a condition: every sampler, each grid point once, resumed, confirmed, shown."""

import csv
import io
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from espalier.core.foreign.command import check_placeholders, filled
from espalier.core.foreign.folder import TrialFolder
from espalier.core.training.events import Event
from espalier.sweeps.assignments import assignments
from espalier.sweeps.process_checks import value_names
from espalier.sweeps.results.figures import table_csv
from espalier.sweeps.search.cohort_plan import PlannedTrial
from espalier.sweeps.search.store import SweepStore
from espalier.sweeps.spec.spec import SweepSpec, make_spec
from tests.sweeps.made import life, spec_with
from tests.sweeps.search.desk import Desk, finish
from tests.sweeps.search.test_pieces import BUDGET, Crew

pytestmark = pytest.mark.filterwarnings("ignore:QMCSampler is experimental")

SPACE: dict[str, Any] = {
    "lr_exponent": {"low": -3, "high": -1},
    "momentum": {"low": 0.5, "high": 0.99, "when": {"kind": "sgd"}},
    "nesterov": {"choices": ["yes", "no"], "when": {"kind": "sgd", "depth": [2, 3]}},
    "kind": ["sgd", "adam", "rmsprop"],
    "depth": {"low": 1, "high": 3, "integer": True},
    "eps": {"value": 1e-8, "when": {"kind": "adam"}},
}
GRID = SPACE | {"lr_exponent": [-3, -2], "momentum": {"choices": [0.5, 0.9], "when": {"kind": "sgd"}}}
ALWAYS = {"lr_exponent", "decay_factor", "warmup", "seed", "kind", "depth"}


def names_at(point: dict[str, Any]) -> set[str]:
    """What exists at a point, in other words than the space's."""
    kind = point["kind"]
    own = {"sgd": {"momentum"}, "adam": {"eps"}}.get(kind, set())
    return ALWAYS | own | ({"nesterov"} if kind == "sgd" and point["depth"] >= 2 else set())


def loss_at(point: dict[str, Any]) -> float:
    return (
        (point["lr_exponent"] + 2) ** 2 + {"sgd": 0.0, "adam": 1.0}.get(point["kind"], 3.0) - point.get("momentum", 0)
    )


def search_of(sampler: str, **more: Any) -> SweepSpec:
    search = {"sampler": sampler, "seed": 1} | more
    return spec_with(space=GRID if sampler == "grid" else SPACE, search=search, trials=40)


def points_of(desk: Desk) -> list[dict[str, Any]]:
    return [dict(trial.point) for cohort in finish(desk.search) for trial in cohort]


@pytest.mark.each_value
@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "gp", "grid"])
@pytest.mark.parametrize("repeatable", [False, True])
def test_a_trial_has_what_exists_there_and_nothing_else(sampler: str, repeatable: bool, tmp_path: Path) -> None:
    desk = Desk(tmp_path, search_of(sampler, repeatable=repeatable))
    points = {trial.number: dict(trial.point) for cohort in finish(desk.search) for trial in cohort}
    assert all(set(point) == names_at(point) for point in points.values())
    assert {point["kind"] for point in points.values()} == {"sgd", "adam", "rmsprop"}
    for trial in desk.trials:  # Optuna has what was drawn, and no more
        assert set(trial.params) == set(points[trial.number]) - {"eps", "decay_factor", "warmup", "seed"}
        assert trial.state == TrialState.COMPLETE


@pytest.mark.parametrize("sampler", ["tpe", pytest.param("gp", marks=pytest.mark.slow)])
def test_what_not_every_trial_has_is_learnt_too(sampler: str, tmp_path: Path) -> None:
    """The loss falls with a number that one kind has: later it is high more often than at first, over three seeds."""
    space = {"lr_exponent": -2, "kind": ["a", "b"], "x": {"low": 0, "high": 100, "when": {"kind": "a"}}}
    late: list[float] = []
    for seed in range(3):
        desk = Desk(tmp_path / str(seed), spec_with(space=space, search={"sampler": sampler, "seed": seed}, trials=40))
        points: list[dict[str, Any]] = []
        while not desk.search.exhausted and (cohort := desk.search.next_cohort()):
            for trial in cohort.trials:
                points.append(dict(trial.point))
                desk.hear(life(trial.number, 200.0 - trial.point.get("x", 0)))
            desk.search.cohort_over(cohort.id)
        late += [point["x"] for point in points[25:] if "x" in point]
    assert len(late) > 15
    assert sum(late) / len(late) > 65, "at random it would be 50"


@pytest.mark.each_value
@pytest.mark.parametrize("cohort_trials", [2, 64])
@pytest.mark.parametrize("repeatable", [False, True])
def test_a_grid_gives_each_distinct_point_once(cohort_trials: int, repeatable: bool, tmp_path: Path) -> None:
    spec = search_of("grid", repeatable=repeatable)
    points = points_of(Desk(tmp_path, spec, cohort_trials=cohort_trials))
    assert len(points) == spec.trials_wanted == 2 * (2 * (1 + 2 * 2) + 3 + 3) == 32
    assert max(Counter(json.dumps(point, sort_keys=True) for point in points).values()) == 1


@pytest.mark.parametrize("sampler", ["random", "qmc", "grid", "tpe"])
def test_another_process_draws_what_the_first_left_open(sampler: str, tmp_path: Path) -> None:
    """Its process ended between two hyperparameters: the rest of a trial is drawn, and what does not exist is not."""
    desk = Desk(tmp_path, search_of(sampler))
    study = SweepStore.open(desk.journal).find("warm").study
    for _ in range(3):
        study.ask().suggest_categorical("kind", ["sgd", "adam", "rmsprop"])
    desk.take_up()
    points = points_of(desk)
    assert len(points) == desk.spec.trials_wanted
    assert all(set(point) == names_at(point) for point in points)
    if sampler == "grid":
        assert max(Counter(json.dumps(point, sort_keys=True) for point in points).values()) == 1


def test_a_confirmation_has_what_its_trial_has(tmp_path: Path) -> None:
    spec = spec_with(space=SPACE, search={"sampler": "random", "seed": 1}, trials=12, confirm=3)
    desk = Desk(tmp_path, spec)

    def lives(number: int, _: float) -> list[Event]:
        return life(number, loss_at(dict(desk.search.point_of(number))))

    finish(desk.search, lives)
    rows = {row.number: row for row in SweepStore.open(desk.journal).find("warm").results()}
    again = [row for row in rows.values() if row.confirms is not None]
    assert len(again) == 3
    for row in again:
        assert row.confirms is not None
        assert dict(row.params) | {"seed": 0} == dict(rows[row.confirms].params)


def test_the_table_leaves_out_what_a_trial_does_not_have(tmp_path: Path) -> None:
    desk = Desk(tmp_path, search_of("random"))
    finish(desk.search)
    record = SweepStore.open(desk.journal).find("warm")
    rows = record.results()
    assert all(set(row.params) == names_at(dict(row.params)) for row in rows)
    for line, row in zip(csv.DictReader(io.StringIO(table_csv(rows))), rows, strict=True):
        assert {name for name, cell in list(line.items())[6:] if cell} == set(row.params)
    from espalier.frames import trials_frame

    frame = trials_frame(rows, record.spec)
    assert frame["momentum"].dtype == "float64"
    for row in rows:
        assert frame["momentum"].isna()[row.number] == ("momentum" not in row.params)
        assert frame["nesterov"].isna()[row.number] == ("nesterov" not in row.params)


@pytest.mark.parametrize("seed", range(3))
def test_pieces_of_trials_have_what_exists_there(seed: int, tmp_path: Path) -> None:
    spec = spec_with(
        budget=dict(BUDGET, trainings=6),
        schedule="step",
        space=SPACE | {"decay_points": {"low": 0.4, "high": 0.9}},
        search={"sampler": "thaw", "seed": seed},
    )
    desk = Desk(tmp_path, spec, cohorts=3)
    crew = Crew(desk, random.Random(seed))
    for _ in range(9):
        assert crew.begin()
        crew.train_one()
    desk.settle()
    crew = Crew(desk, random.Random(seed))  # another process goes on
    crew.search = desk.take_up()
    crew.finish()
    trials = desk.trials
    assert len(trials) > 10
    for trial in trials:
        point = spec.space.resolve(dict(trial.params))
        assert set(point) - {"decay_points"} == names_at(point)
        assert set(trial.params) - {"decay_point"} == set(point) - {
            "eps",
            "decay_factor",
            "warmup",
            "seed",
            "decay_points",
        }
    assert {trial.params["kind"] for trial in trials} == {"sgd", "adam", "rmsprop"}


def test_decay_points_under_a_condition_are_numbers_like_others_to_pieces(tmp_path: Path) -> None:
    points = {"low": 0.4, "high": 0.9, "when": {"schedule": "step"}}
    spec = spec_with(
        budget=dict(BUDGET, trainings=5),
        space={"lr_exponent": {"low": -3, "high": -1}, "schedule": ["step", "cosine"], "decay_points": points},
        search={"sampler": "thaw"},
    )
    crew = Crew(Desk(tmp_path, spec), random.Random(0))
    crew.finish()
    for _, trial in crew.trained:
        assert ("decay_points" in trial.point) == (trial.point["schedule"] == "step")


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_a_command_and_a_function_get_what_exists(kind: str, tmp_path: Path) -> None:
    command = ["train", "--kind", "${kind}", "--momentum", "${momentum}", "--eps=${eps}"]
    space = {name: SPACE[name] for name in ("kind", "momentum", "eps")}
    spec = make_spec({"name": "a", "command": command, "space": space, "search": {"sampler": "random"}})
    check_placeholders(spec.command, value_names(spec))
    sampled = {"kind": kind} | ({"momentum": 0.75} if kind == "sgd" else {})
    (given,) = assignments(spec, PlannedTrial(0, spec.space.resolve(sampled)))
    assert given.values == {"sgd": sampled, "adam": sampled | {"eps": 1e-8}}[kind]
    words = filled(spec.command, given, TrialFolder(tmp_path))
    assert words[1:] == ["--kind", kind, *(["--momentum", "0.75"] if kind == "sgd" else ["--eps=1e-08"])]
