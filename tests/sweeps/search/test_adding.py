"""Points that are added to a sweep: its process takes them at its next ask, whether it ran or was stopped meanwhile."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from espalier.core.errors import BadInput
from espalier.sweeps.home import Home
from espalier.sweeps.search.adding import add_points
from espalier.sweeps.search.driver_lock import DriverLock
from espalier.sweeps.search.given import Given
from espalier.sweeps.search.store import SweepStore
from tests.sweeps.made import life, spec_with
from tests.sweeps.search.desk import Desk, finish
from tests.sweeps.search.test_given import OTHER, PIECES_SPACE, SPACE, with_other
from tests.sweeps.search.test_pieces import Crew, by_pieces

pytestmark = pytest.mark.filterwarnings("ignore:QMCSampler is experimental")
WARM = "warm-20260101-abcd"
POINT = {"lr_exponent": -2, "kind": "sgd", "momentum": 0.25}
STORED = {"lr_exponent": -2.0, "kind": "sgd", "momentum": 0.25}


def home_of(folder: Path) -> Home:
    return Home(folder / "home")


def desk_of(folder: Path, sampler: str = "tpe", **changed: Any) -> Desk:
    spec = spec_with(**{"space": SPACE, "search": {"sampler": sampler, "seed": 2}, "trials": 16} | changed)
    return Desk(folder, spec, cohorts=1, cohort_trials=3)


def train_one(desk: Desk) -> list[int]:
    """Train the next cohort; return its trials."""
    plan = desk.search.next_cohort()
    assert plan
    for number in plan.numbers:
        desk.hear(life(number, float(number)))
    desk.search.cohort_over(plan.id)
    return plan.numbers


@pytest.mark.each_value
@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "gp", "grid"])
@pytest.mark.parametrize("stopped", [False, True])
def test_the_next_trials_of_a_sweep_are_at_the_added_points(sampler: str, stopped: bool, tmp_path: Path) -> None:
    desk = desk_of(tmp_path, sampler)
    before = len(train_one(desk) + train_one(desk))
    desk.settle()
    add_points(home_of(tmp_path), "warm", [POINT, {"lr": 0.1}])
    if stopped:
        desk.take_up()
    add_points(home_of(tmp_path), WARM, [{"kind": "adam"}])
    finish(desk.search)
    points = [dict(trial.params) for trial in desk.trials]
    assert len(points) == 16
    if sampler != "grid":
        assert points[before] == STORED
    assert STORED in points
    assert points[before + 1]["lr_exponent"] == -1.0 or sampler == "grid"
    assert sum("first" in trial.user_attrs for trial in desk.trials) == 3 or sampler == "grid"
    if sampler == "grid":
        assert max(Counter(json.dumps(point, sort_keys=True) for point in points).values()) == 1


@pytest.mark.parametrize("seed", range(3))
def test_a_search_by_pieces_begins_a_trunk_at_each(seed: int, tmp_path: Path) -> None:
    desk = Desk(tmp_path, by_pieces(space=PIECES_SPACE, search={"sampler": "thaw", "seed": seed}), cohorts=2)
    crew = Crew(desk, random.Random(seed))
    for k in range(12):
        crew.begin()
        crew.train_one()
        if k == 4:
            add_points(home_of(tmp_path), "warm", [{"lr_exponent": -2, "kind": "sgd", "momentum": 0.25}])
        if k in (5, 8):  # another process goes on, before and after it was taken
            desk.settle()
            crew = Crew(desk, random.Random(seed))
            crew.search = desk.take_up()
        if k == 8:
            add_points(home_of(tmp_path), "warm", [{"kind": "adam"}])
    crew.finish()
    added = [trial for trial in desk.trials if "first" in trial.user_attrs]
    assert len(added) == 2
    for trial in added:
        assert trial.user_attrs["pieces"][0]["trunk"] == trial.number
    assert {name: v for name, v in added[0].params.items() if name != "decay_point"} == STORED
    assert added[1].params["kind"] == "adam"
    ends = [piece for trial in desk.trials for piece in trial.user_attrs["pieces"]]
    assert sum(piece.get("end", 1.0) - piece["begin"] for piece in ends) <= 5 + 1e-9
    assert sorted(piece["order"] for piece in ends) == list(range(len(ends)))


def test_the_best_of_another_sweep_is_added_with_where_it_is_from(tmp_path: Path) -> None:
    store = with_other(tmp_path, {0: 3.0, 1: 1.0, 2: None, 3: 2.0})
    desk = desk_of(tmp_path)
    add_points(home_of(tmp_path), "warm", [{"lr": 0.1}], other="other", top=2)
    assert [entry["of"] for entry in store.load(WARM).enqueued().values()] == [
        "",
        f"{OTHER}, trial 1",
        f"{OTHER}, trial 3",
    ]
    finish(desk.search)
    theirs = store.load(OTHER).study.get_trials()[1].params
    assert desk.trials[1].params == {name: value for name, value in theirs.items() if name != "depth"}


def test_what_happens_to_them_is_said(tmp_path: Path) -> None:
    desk = desk_of(tmp_path, search={"sampler": "random", "repeatable": True})
    home = home_of(tmp_path)
    stopped = add_points(home, "warm", [POINT])
    assert stopped[0].startswith(f"added 1 point to {WARM}; it takes them when it goes on: sweep resume {WARM}")
    assert stopped[1].startswith("it is repeatable no more")
    with DriverLock(home, WARM):
        running = add_points(home, "warm", [{}, {}])
    assert running[0] == f"added 2 points to {WARM}, which runs: it takes each when it next asks for a trial"
    record = SweepStore.open(desk.journal).load(WARM)
    assert len(list(Given(record, record.trials()).added())) == 3


def test_a_point_is_no_fact_of_a_sweep(tmp_path: Path) -> None:
    desk = desk_of(tmp_path)
    before = SweepStore.open(desk.journal).load(WARM).facts
    add_points(home_of(tmp_path), "warm", [POINT])
    assert SweepStore.open(desk.journal).load(WARM).facts == before


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([{"lr": 1}], "point 1.lr: 1 lies outside 0.001 ... 0.1"),
        ([POINT, {"kind": "sdg"}], "point 2.kind: 'sdg' is none of sgd, adam"),
        ([3], "point 1: 3 is no point; write values by name, as {lr: 0.001}"),
        ([], "no points; write one, as '{lr: 0.001}', or name another sweep by --from"),
        ([POINT] * 17, f"{WARM} has room for 16 further points among its trials; leave some out"),
    ],
)
def test_a_point_that_cannot_be_is_refused_and_none_is_added(points: Any, message: str, tmp_path: Path) -> None:
    desk = desk_of(tmp_path)
    with pytest.raises(BadInput) as refusal:
        add_points(home_of(tmp_path), "warm", points)
    assert str(refusal.value).startswith(message)
    assert not SweepStore.open(desk.journal).load(WARM).enqueued()


@pytest.mark.parametrize("sampler", ["random", "thaw"])
def test_a_sweep_that_asks_for_no_more_trials_takes_none(sampler: str, tmp_path: Path) -> None:
    if sampler == "thaw":
        desk = Desk(tmp_path, by_pieces())
        Crew(desk, random.Random(0)).finish()
        SweepStore.open(desk.journal).load(WARM).set_search_over()
    else:
        finish(desk_of(tmp_path, sampler).search)
    with pytest.raises(
        BadInput, match=f"{WARM} asks for no more trials: all of its .* exist; give the points to a new"
    ):
        add_points(home_of(tmp_path), "warm", [{"lr": 0.1}])


def test_an_unknown_sweep_takes_none(tmp_path: Path) -> None:
    desk_of(tmp_path)
    with pytest.raises(BadInput, match="unknown sweep 'worm'; did you mean 'warm'"):
        add_points(home_of(tmp_path), "worm", [{"lr": 0.1}])
    with pytest.raises(BadInput, match="--from: unknown sweep 'nobody'"):
        add_points(home_of(tmp_path), "warm", [], other="nobody")
