"""A sweep that is given more to train: what there was stays, and what comes is what a longer sweep has."""

import itertools
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest

from espalier.core.errors import BadInput
from espalier.sweeps.home import Home
from espalier.sweeps.results.coverage import why_fewer
from espalier.sweeps.results.trial_result import searched
from espalier.sweeps.search.adding import add_points
from espalier.sweeps.search.extending import extension_of
from espalier.sweeps.search.extension import More
from espalier.sweeps.search.piece_planning import PiecePlanner
from espalier.sweeps.search.search import Search
from espalier.sweeps.search.store import SweepStore
from espalier.sweeps.search.study import SweepRecord
from espalier.sweeps.search.time_budget import TIME_UP
from espalier.sweeps.search.trial_events import Start
from espalier.sweeps.spec.spec import SweepSpec
from tests.sweeps.made import end, life, spec_with
from tests.sweeps.search.desk import BRANCHED, Desk, finish
from tests.sweeps.search.test_pieces import STEPS, Crew, by_pieces, pieces_of
from tests.sweeps.search.test_time_budget import Clock, TimedCrew, desk_of

pytestmark = pytest.mark.filterwarnings("ignore:QMCSampler is experimental")
WARM = "warm-20260101-abcd"


def extend(desk: Desk, **more: float) -> Search:
    """Give a sweep more to train; return the search of the process that trains it."""
    record = SweepStore.open(desk.journal).load(WARM)
    record.extended(extension_of(record, More(**more))).store_extensions()
    return desk.take_up()


def whole(trial: optuna.trial.FrozenTrial) -> tuple[object, ...]:
    return trial.number, trial.state, trial.value, trial.params, trial.user_attrs, trial.intermediate_values


def points(record: SweepRecord) -> list[dict[str, Any]]:
    return [trial.params for trial in searched(record.results())]


@pytest.mark.parametrize("sampler", ["tpe", "grid"])
def test_points_for_what_a_sweep_will_be_extended_to_are_its_next_trials(sampler: str, tmp_path: Path) -> None:
    """As in a queue, where the extension is stored once the job begins."""
    space = {"lr_exponent": {"low": -3, "high": -1, "step": 0.125}}
    desk = Desk(tmp_path, spec_with(space=space, search={"sampler": sampler}, trials=8))
    finish(desk.search)
    home = Home(tmp_path / "home")
    with pytest.raises(BadInput, match="all of its 8 exist"):
        add_points(home, WARM, [{"lr_exponent": -1.5}])
    with pytest.raises(BadInput, match="room for 3 further points"):
        add_points(home, WARM, [{"lr_exponent": -1.5}] * 4, extended={"trials": 11})
    add_points(home, WARM, [{"lr_exponent": -1.5}], extended={"trials": 11})
    assert SweepStore.open(desk.journal).load(WARM).spec.trials == 8
    finish(extend(desk, trials=3))
    assert len(points(desk.search.record)) == 11
    assert -1.5 in [point["lr_exponent"] for point in points(desk.search.record)[-3:]] or sampler == "grid"
    with pytest.raises(BadInput, match="all of its 11 exist"):
        add_points(home, WARM, [{"lr_exponent": -1.5}], extended={"trials": 11})


EQUAL: dict[str, dict[str, Any]] = {
    "qmc": {"search": {"sampler": "qmc"}},
    "random, repeatable": {"search": {"sampler": "random", "repeatable": True}},
    "tpe, repeatable": {"search": {"sampler": "tpe", "repeatable": True}},
    "gp, repeatable": {"search": {"sampler": "gp", "repeatable": True}},
    "tpe, repeatable, branches": {
        "search": {"sampler": "tpe", "repeatable": True},
        "space": BRANCHED.space.model_dump(),
    },
    "grid": {"search": {"sampler": "grid"}, "space": {"lr_exponent": {"low": -3, "high": -1, "step": 0.1}}},
    "tpe, repeatable, confirmed": {"search": {"sampler": "tpe", "repeatable": True}, "confirm": 2},
    "branches, confirmed": {
        "search": {"sampler": "random", "repeatable": True},
        "space": BRANCHED.space.model_dump(),
        "confirm": 3,
    },
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("parts", [(8, 4), (12, 4, 7), (10, 6)], ids=str)
@pytest.mark.parametrize("name", EQUAL)
def test_the_trials_of_an_extended_sweep_are_those_of_one_that_was_as_long_at_once(
    name: str, parts: Sequence[int], tmp_path: Path
) -> None:
    fields = EQUAL[name]
    fields = fields | {"search": fields["search"] | {"seed": 5}}
    desk = Desk(tmp_path / "extended", spec_with(**fields, trials=parts[0]), cohorts=2)
    finish(desk.search)
    for more in parts[1:]:
        before = [whole(trial) for trial in desk.trials]
        finish(extend(desk, trials=more))
        assert [whole(trial) for trial in desk.trials][: len(before)] == before
    at_once = Desk(tmp_path / "at once", spec_with(**fields, trials=sum(parts)), cohorts=2)
    finish(at_once.search)
    assert points(desk.search.record) == points(at_once.search.record)
    assert desk.search.record.wanted() == len(desk.trials)


@pytest.mark.each_value
@pytest.mark.parametrize("sampler", ["tpe", "gp", "random", "qmc", "grid"])
@pytest.mark.parametrize("confirm", [0, 2])
def test_what_there_was_stays_and_there_are_as_many_as_the_new_spec_says(
    sampler: str, confirm: int, tmp_path: Path
) -> None:
    space = {"lr_exponent": {"low": -3, "high": -1, "step": 0.125}}
    SweepStore.open(str(tmp_path / "home" / "optuna.journal")).create("cold", spec_with(), {"created": "2025"})
    desk = Desk(tmp_path, spec_with(space=space, search={"sampler": sampler}, trials=8, confirm=confirm))
    finish(desk.search)
    before = [whole(trial) for trial in desk.trials]
    finish(extend(desk, trials=4))
    assert [whole(trial) for trial in desk.trials][: len(before)] == before
    record = desk.search.record
    assert len(searched(record.results())) == 12
    assert (record.spec.trials, record.begun_spec.trials, record.stored_spec["trials"]) == (12, 8, 12)
    best = sorted((t for t in searched(record.results())), key=lambda t: t.value or 0.0)[:confirm]
    assert {t.number for t in best} <= {t.confirms for t in record.results()}
    assert extension_of(record, More(trials=1)).before == 12


def test_branches_go_on_where_their_trunk_was_left(tmp_path: Path) -> None:
    fields = {"space": BRANCHED.space.model_dump(), "search": {"sampler": "random", "repeatable": True}, "confirm": 1}
    desk = Desk(tmp_path, spec_with(**fields, trials=6))  # the second trunk has two of its four branches
    finish(desk.search)
    search = extend(desk, trials=2)
    while plan := search.next_cohort():
        for trial in plan.trials:
            desk.hear(life(trial.number, 1.0))
        search.cohort_over(plan.id)
    rates = [point["lr_exponent"] for point in points(search.record)]
    assert len(set(rates[4:])) == 1 and rates[0] != rates[4]
    assert [start.trunk for start in desk.of(Start) if start.confirms is None] == [4, 4]


# --- a search by pieces ----------------------------------------------------------------------------------------------


def trained(spec: SweepSpec, folder: Path, seed: int) -> Desk:
    desk = Desk(folder, spec, cohorts=2)
    Crew(desk, random.Random(seed)).finish()
    return desk


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("repeatable", [False, True])
def test_a_search_by_pieces_spends_what_was_added_and_its_trials_stay(
    seed: int, repeatable: bool, tmp_path: Path
) -> None:
    search = {"sampler": "thaw", "seed": seed, "repeatable": repeatable}
    desk = trained(by_pieces(search=search), tmp_path, seed)
    before, spent = [whole(trial) for trial in desk.trials], cost_of(desk)
    assert not any(trial.state.name == "RUNNING" for trial in desk.trials)
    search = extend(desk, trainings=3)
    assert not search.record.search_over
    crew = Crew(desk, random.Random(seed), keeps="nothing" if seed else "all")
    crew.finish()
    assert [whole(trial) for trial in desk.trials][: len(before)] == before
    assert search.record.search_over and search.record.spec.budget.trainings == 8
    assert spent + 1 < cost_of(desk) <= 8 + 1e-9
    pieces = pieces_of(desk.trials)
    assert [piece["order"] for piece in pieces] == list(range(len(pieces)))
    assert min(trial.value for trial in desk.trials if trial.value is not None) <= min(
        float(str(row[2])) for row in before if row[2] is not None
    )
    finish_again = desk.take_up()  # what is stored is understood by a later process
    assert finish_again.exhausted and finish_again.planner.all_asked


def cost_of(desk: Desk) -> float:
    pieces = pieces_of(desk.trials)
    return sum(p.get("end", 1.0) - p["begin"] + p.get("again", 0.0) for p in pieces)  # type: ignore[operator]


def test_a_parked_trunk_that_had_ended_goes_on_as_another_trial(tmp_path: Path) -> None:
    found = 0
    for seed in range(2):
        desk = trained(by_pieces(search={"sampler": "thaw", "seed": seed}), tmp_path / str(seed), seed)
        count = len(desk.trials)
        extend(desk, trainings=6)
        Crew(desk, random.Random(seed)).finish()
        for trial in desk.trials[count:]:
            first = trial.user_attrs["pieces"][0]
            if "of" in first:
                found += 1
                other = desk.trials[first["of"]]
                assert other.state.name == "PRUNED" and first["trunk"] == trial.number
                assert other.params["lr_exponent"] == trial.params["lr_exponent"]
                assert first["again"] == first["begin"] > 0
    assert found


@pytest.mark.parametrize("seed", range(3))
def test_a_process_that_dies_in_an_extension_forgets_nothing(seed: int, tmp_path: Path) -> None:
    fields = {"search": {"sampler": "thaw", "seed": seed, "repeatable": True}}
    straight, broken = (trained(by_pieces(**fields), tmp_path / name, seed) for name in ("straight", "broken"))
    for desk in (straight, broken):
        extend(desk, trainings=4)
    Crew(straight, random.Random(seed)).finish()
    dice = random.Random(seed)
    crew = Crew(broken, dice)
    for k in itertools.count():
        if not crew.begin():
            break
        crew.train_one()
        if k % 5 == 4:
            broken.settle()
            broken.take_up()
            crew = Crew(broken, dice)
    broken.settle()
    keys = ("order", "trunk", "point", "begin", "end", "decay", "again", "of")
    asked = [[{k: p.get(k) for k in keys} for p in pieces_of(desk.trials)] for desk in (straight, broken)]
    assert asked[0] == asked[1]
    assert STEPS == 400


def test_by_trials_a_search_by_pieces_begins_no_more_than_there_are_to_be(tmp_path: Path) -> None:
    for seed in range(2):
        fields = {"trials": 10, "search": {"sampler": "thaw", "seed": seed}}
        fields |= {"budget": {"steps": STEPS, "batch_size": 11}}
        desk = trained(by_pieces(**fields), tmp_path / str(seed), seed)
        assert len(desk.trials) == 10
        extend(desk, trials=6)
        Crew(desk, random.Random(seed)).finish()
        assert len(desk.trials) == 16


# --- a budget in time -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["thaw", "random"])
def test_a_budget_in_time_goes_on_and_what_was_cut_off_says_nothing_of_its_point(sampler: str, tmp_path: Path) -> None:
    clock = Clock()
    desk = desk_of(sampler, 3.0, tmp_path, clock, cohorts=2)
    crew = TimedCrew(desk, random.Random(0), clock=clock)
    while clock.now < 1000 + 2.4 * 3600 and crew.begin():
        crew.train_one()
    crew.begin()
    clock.now = 1000 + 3.0 * 3600
    desk.search.planner.close()
    cut = [trial.number for trials in crew.working.values() for trial in trials]
    for cohort, trials in crew.working.items():
        for trial in trials:
            begin = trial.piece.begin if trial.piece else 0
            desk.search.take_events([end(f"{trial.number}/0", begin + 7, 3.0, "stopped", evidence=TIME_UP)])
        desk.search.cohort_over(cohort)
    desk.search.parked_events()
    time = desk.search.time
    assert cut and time
    time.stop()
    desk.search.record.set_time(time.state())
    desk.search.record.set_search_over()
    desk.settle()
    before = [whole(trial) for trial in desk.trials]
    clock.now += 1e6  # weeks later
    search = extend(desk, hours=3)
    if isinstance(search.planner, PiecePlanner):
        results = search.planner.pieces.model.results
        scores = results.scores(len(results.asked))
        assert len(scores) == len(results.asked) - len(cut)
        assert all(score.value is not None for score in scores), "none of them counts as diverged"
    assert search.time and search.time.left_s == pytest.approx(3 * 3600, rel=1e-6)
    later = TimedCrew(desk, random.Random(0), clock=clock)
    later.finish()
    assert [whole(trial) for trial in desk.trials][: len(before)] == before
    assert len(desk.trials) > len(before) and later.ended
    assert max(later.ended) - 1e6 <= 1000 + 6 * 3600 + 1e-6


# --- refusals --------------------------------------------------------------------------------------------------------

GRID = {"search": {"sampler": "grid"}, "space": {"lr_exponent": [-3, -2, -1]}}


@pytest.mark.parametrize(
    ("fields", "more", "message"),
    [
        ({}, {}, "extend: nothing arrived; give one of trials, trainings, hours, gpu_hours"),
        ({}, {"trials": 1, "hours": 2}, "extend: trials 1, hours 2 arrived; give one of"),
        ({}, {"trials": 0}, "trials: 0 is nothing to add; give a whole number above 0"),
        ({}, {"trials": -4}, "trials: -4 is nothing to add"),
        ({}, {"trials": -3.0}, "trials: -3 is nothing to add"),
        ({}, {"trials": 1.5}, "trials: 1.5 is nothing to add; give a whole number above 0"),
        ({}, {"trials": float("nan")}, "trials: nan is nothing to add"),
        ({}, {"hours": float("inf")}, "hours: inf is nothing to add; give a number above 0"),
        ({}, {"trials": 10**9}, f"{WARM}: extended: trials"),
        ({}, {"trainings": 2}, f"trainings: the budget of {WARM} counts trials; extend it by trials; random trains"),
        ({"budget": {"hours": 1}}, {"trials": 2}, f"trials: the budget of {WARM} counts hours; extend it by hours"),
        ({"budget": {"gpu_hours": 1}}, {"hours": 2}, f"hours: the budget of {WARM} counts GPU-hours; extend it by g"),
        (GRID, {"trials": 1}, f"{WARM}: all 3 points of its grid are among its trials; nothing is left"),
    ],
)
def test_what_cannot_be_added_is_refused(fields: dict[str, Any], more: Any, message: str, tmp_path: Path) -> None:
    if "gpu_hours" in fields.get("budget", {}):
        fields = fields | {"resources": {"gpus": 1}}
    desk = Desk(tmp_path, spec_with(**fields))
    record = SweepStore.open(desk.journal).load(WARM)
    with pytest.raises(BadInput) as refusal:
        extension_of(record, More(**more))
    assert str(refusal.value).startswith(message), refusal.value
    assert "\n" not in str(refusal.value)
    assert not SweepStore.open(desk.journal).load(WARM).extensions


def test_a_grid_takes_no_more_than_it_has(tmp_path: Path) -> None:
    desk = Desk(tmp_path, spec_with(**GRID | {"trials": 2}))
    finish(desk.search)
    assert extension_of(desk.search.record, More(trials=50)).after == 3


def test_a_space_of_which_all_has_been_trained_is_not_extended(tmp_path: Path) -> None:
    space = {"lr_exponent": [-3, -2, -1]}
    desk = Desk(tmp_path, by_pieces(trials=9, budget={"steps": STEPS}, space=space, schedule="cosine"))
    crew = Crew(desk, random.Random(0))
    while crew.begin():
        crew.train_one()
    record = SweepStore.open(desk.journal).load(WARM)
    assert why_fewer(record.spec, record.results()).startswith("there are 3 trials, not 9: every configuration")
    with pytest.raises(BadInput, match=f"{WARM}: all 3 configurations of its space have been trained"):
        extension_of(record, More(trials=4))
    assert not record.extensions
