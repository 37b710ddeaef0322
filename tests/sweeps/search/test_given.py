"""Points that are given to a search: trained first and in order by every sampler, whatever processes do."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from espalier.core.errors import BadInput
from espalier.sweeps.search.store import SweepStore
from espalier.sweeps.spec.spec import SweepSpec
from tests.sweeps.made import spec_with
from tests.sweeps.search.desk import Desk, finish
from tests.sweeps.search.test_pieces import BUDGET, Crew, by_pieces

pytestmark = pytest.mark.filterwarnings("ignore:QMCSampler is experimental")

SPACE: dict[str, Any] = {
    "lr_exponent": {"low": -3, "high": -1, "step": 0.5},
    "kind": ["sgd", "adam"],
    "momentum": {"low": 0, "high": 0.75, "step": 0.25, "when": {"kind": "sgd"}},
}
FIRST = [{"lr_exponent": -2, "kind": "sgd", "momentum": 0.5}, {"kind": "adam"}, {"lr": 0.1}]


def search_of(sampler: str, **changed: Any) -> SweepSpec:
    fields = {"space": SPACE, "search": {"sampler": sampler, "seed": 2}, "trials": 16, "first": FIRST}
    return spec_with(**fields | changed)


def drawn(desk: Desk) -> list[dict[str, Any]]:
    """The sampled values of trials, by number."""
    return [dict(trial.params) for trial in desk.trials]


def assert_first(points: list[dict[str, Any]]) -> None:
    assert points[0] == {"lr_exponent": -2.0, "kind": "sgd", "momentum": 0.5}
    assert points[1]["kind"] == "adam"
    assert -3 <= points[1]["lr_exponent"] <= -1
    assert points[2]["lr_exponent"] == -1.0


@pytest.mark.each_value
@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "gp", "grid"])
@pytest.mark.parametrize("repeatable", [False, True])
def test_given_points_come_first_and_count_among_the_trials(sampler: str, repeatable: bool, tmp_path: Path) -> None:
    spec = search_of(sampler, search={"sampler": sampler, "seed": 2, "repeatable": repeatable})
    desk = Desk(tmp_path, spec)
    finish(desk.search)
    points = drawn(desk)
    assert len(points) == 16
    assert_first(points)
    assert desk.states() == {"COMPLETE": 16}
    if sampler == "grid":
        assert max(Counter(json.dumps(point, sort_keys=True) for point in points).values()) == 1


def test_a_grid_is_whole_with_them_and_has_no_point_twice(tmp_path: Path) -> None:
    twice = [FIRST[0], FIRST[0], {"kind": "adam"}]
    desk = Desk(tmp_path, search_of("grid", first=twice, trials=100))
    finish(desk.search)
    points = [json.dumps(point, sort_keys=True) for point in drawn(desk)]
    assert len(points) == len(set(points)) == 5 * (4 + 1)


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "grid"])
def test_a_repeatable_search_gives_them_again_whatever_dies(sampler: str, tmp_path: Path) -> None:
    spec = search_of(sampler, search={"sampler": sampler, "seed": 2, "repeatable": True})

    def points_of(name: str, deaths: int) -> list[dict[str, Any]]:
        desk = Desk(tmp_path / name, spec, cohort_trials=2)
        for _ in range(deaths):
            desk.search.next_cohort()
            desk.take_up()
        finish(desk.search)
        return drawn(desk)

    points = points_of("whole", 0)
    assert_first(points)
    assert points_of("dying", 3) == points


@pytest.mark.parametrize("sampler", ["random", "grid"])
@pytest.mark.parametrize("begun", [False, True])
def test_a_point_is_given_once_where_its_process_died_while_it_asked(sampler: str, begun: bool, tmp_path: Path) -> None:
    """Between queueing a trial and beginning it, or between beginning it and sampling it."""
    desk = Desk(tmp_path, search_of(sampler))
    study = SweepStore.open(desk.journal).find("warm").study
    study.enqueue_trial({"lr_exponent": -2.0, "kind": "sgd", "momentum": 0.5}, user_attrs={"first": "0"})
    if begun:
        study.ask()
    desk.take_up()
    finish(desk.search)
    assert_first(drawn(desk))
    assert desk.states() == {"COMPLETE": 16}
    assert [trial.user_attrs.get("first") for trial in desk.trials[:4]] == ["0", "1", "2", None]


def test_the_branches_of_a_trunk_share_a_given_point(tmp_path: Path) -> None:
    space = {"lr_exponent": {"low": -3, "high": -1}, "decay_points": {"low": 0.4, "high": 0.9, "branches": 3}}
    first = [{"lr_exponent": -2.25, "decay_points": 0.5}, {"lr_exponent": -1.5}]
    desk = Desk(tmp_path, spec_with(space=space, search={"sampler": "random"}, trials=12, first=first))
    finish(desk.search)
    points = drawn(desk)
    assert [point["lr_exponent"] for point in points[:6]] == [-2.25] * 3 + [-1.5] * 3
    assert points[0]["decay_point"] == 0.5
    assert len({point["decay_point"] for point in points}) == 12


# --- pieces -----------------------------------------------------------------------------------------------------------

PIECES_SPACE = {
    "lr_exponent": {"low": -4, "high": 0},
    "decay_points": {"low": 0.4, "high": 0.9},
    "kind": ["sgd", "adam"],
    "momentum": {"low": 0, "high": 0.9, "when": {"kind": "sgd"}},
}
PIECES_FIRST = [{"lr_exponent": -1.5, "kind": "sgd", "momentum": 0.25}, {"lr": 0.01}, {"kind": "adam"}]


@pytest.mark.each_value
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("deaths", [0, 4])
def test_pieces_begin_with_trunks_at_the_given_points(workers: int, deaths: int, tmp_path: Path) -> None:
    spec = by_pieces(space=PIECES_SPACE, first=PIECES_FIRST)
    desk = Desk(tmp_path, spec, cohorts=workers)
    crew = Crew(desk, random.Random(0))
    for _ in range(deaths):
        crew.begin()
        crew.train_one()
        desk.settle()
        crew = Crew(desk, random.Random(0))
        crew.search = desk.take_up()
    crew.finish()
    trunks = [trial for trial in desk.trials if trial.user_attrs["pieces"][0]["trunk"] == trial.number]
    first = [{name: v for name, v in trial.params.items() if name != "decay_point"} for trial in trunks[:3]]
    assert first[0] == {"lr_exponent": -1.5, "kind": "sgd", "momentum": 0.25}
    assert first[1]["lr_exponent"] == -2.0
    assert first[2]["kind"] == "adam"
    assert len(trunks) > 3, "the search has begun others"
    spent = sum(piece.get("end", 1.0) - piece["begin"] for trial in desk.trials for piece in trial.user_attrs["pieces"])
    assert spent <= 5 + 1e-9


def test_pieces_leave_the_budget_an_answer_whatever_is_given(tmp_path: Path) -> None:
    spec = by_pieces(budget=dict(BUDGET, trainings=1.2), space=PIECES_SPACE, first=[{"lr_exponent": -1}] * 30)
    desk = Desk(tmp_path, spec)
    Crew(desk, random.Random(0)).finish()
    assert any(trial.state == TrialState.COMPLETE for trial in desk.trials)


# --- from another sweep -----------------------------------------------------------------------------------------------

OTHER = "other-20260101-abcd"


def with_other(folder: Path, values: dict[int, float | None]) -> SweepStore:
    """Return a store with a sweep of so many trials, of which those with a value are complete."""
    store = SweepStore.open(str(folder / "home" / "optuna.journal"))
    spec = spec_with(name="other", space=SPACE | {"depth": [1, 2]}, search={"sampler": "random"}, trials=len(values))
    store.create(OTHER, spec, {"created": "2025-12-31"})
    study = store.load(OTHER).study
    from espalier.sweeps.search.asking import Asker

    asker = Asker(store.load(OTHER))
    for value in values.values():
        trial = asker.ask()
        if value is not None:
            study.tell(trial.number, value)
    return store


def test_the_best_points_of_another_sweep_are_taken_as_far_as_the_spaces_overlap(tmp_path: Path) -> None:
    store = with_other(tmp_path, {0: 3.0, 1: 1.0, 2: None, 3: 2.0, 4: 9.0})
    theirs = [dict(trial.params) for trial in store.load(OTHER).study.get_trials()]
    first = [{"top": 2, "of": "other"}, {"lr": 0.1}, {"best": OTHER}]
    desk = Desk(tmp_path, search_of("random", first=first))
    finish(desk.search)
    for trial, number in zip(desk.trials, (1, 3, None, 1), strict=False):
        if number is not None:
            assert trial.params == {name: value for name, value in theirs[number].items() if name != "depth"}
    stored = SweepStore.open(desk.journal).find("warm").spec.first
    assert [[(found["of"], found["trial"]) for found in entry.get("resolved", [])] for entry in stored] == [
        [(OTHER, 1), (OTHER, 3)],
        [],
        [(OTHER, 1)],
    ]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"best": "nobody"}, "first.0: unknown sweep 'nobody'; "),
        ({"best": "other"}, f"first.0: {OTHER} has no complete trial; name another sweep, or wait for one"),
    ],
)
def test_a_sweep_that_has_no_best_is_refused_before_anything_begins(
    entry: dict[str, Any], message: str, tmp_path: Path
) -> None:
    store = with_other(tmp_path, {0: None})
    with pytest.raises(BadInput) as refusal:
        store.create("warm-20260101-abcd", search_of("random", first=[entry]), {})
    assert str(refusal.value).startswith(message)
    assert not store.exists("warm-20260101-abcd")


def test_a_sweep_of_other_hyperparameters_is_refused(tmp_path: Path) -> None:
    store = with_other(tmp_path, {0: 1.0})
    spec = spec_with(space={"lr_exponent": -5, "hidden": [1, 2]}, search={"sampler": "random"}, first=[{"best": OTHER}])
    with pytest.raises(BadInput, match=f"first.0: of what {OTHER} searched, this space has nothing; leave it out"):
        store.create("warm-20260101-abcd", spec, {})
