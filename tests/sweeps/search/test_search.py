"""The search without Ray: cohorts asked for, events told, and a study taken up after its process died anywhere."""

import itertools
import json
import math
import random
import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState

from espalier.core.errors import BadInput
from espalier.core.training.events import Event, Forked, Scored, Started
from espalier.sweeps.search.cohort_plan import PlannedTrial
from espalier.sweeps.search.rule import stopping_rule
from espalier.sweeps.search.search import Search
from espalier.sweeps.search.store import SweepStore
from espalier.sweeps.search.trial_events import Fork, Outcome, Report, Start, TrialEvent
from espalier.sweeps.spec.space import Choice, DecayPoints, Range
from espalier.sweeps.spec.spec import SweepSpec
from tests.sweeps.made import end, life, report, spec_with
from tests.tiers import examples

pytestmark = pytest.mark.filterwarnings("ignore:QMCSampler is experimental")

BRANCHED = spec_with(
    space={"lr_exponent": {"low": -3, "high": -1}, "decay_points": {"low": 0.4, "high": 0.9, "branches": 4}},
    search={"sampler": "random", "seed": 3},
    trials=16,
)
STRUCTURED = spec_with(
    space={"lr_exponent": {"low": -3, "high": -1}, "scale": [0.1, 1.0], "batch_size": [4, 11]},
    search={"sampler": "random", "seed": 3},
    trials=20,
)


class Desk:
    """A sweep on disk, and one process after another that works on it; each remembers nothing of the one before."""

    def __init__(self, folder: Path, spec: SweepSpec, cohorts: int = 2, cohort_trials: int = 4):
        self.spec, self.cohorts, self.cohort_trials = spec, cohorts, cohort_trials
        self.journal = str(folder / "home" / "optuna.journal")
        SweepStore.open(self.journal).create("warm-20260101-abcd", spec, {"created": "2026-01-01"})
        self.events: list[TrialEvent] = []
        self.runs: dict[int, str] = {}
        self.checkpoints: dict[str, str] = {}
        self.search = self.take_up()

    def take_up(self) -> Search:
        """Return the search of a new process, which knows what the storage knows."""
        record = SweepStore.open(self.journal).find("warm")
        self.search = Search(record, self.cohorts, self.cohort_trials, self.checkpoints)
        return self.search

    def hear(self, events: Sequence[Event]) -> None:
        """Let the search hear events, and keep what it makes of them."""
        self.events += self.search.take_events(events)

    def settle(self) -> None:
        """Tell Optuna of every trial that has ended."""
        self.search.settle(self.runs, everything=True)

    @property
    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """The trials as another process reads them."""
        return SweepStore.open(self.journal).find("warm").study.get_trials()

    def states(self) -> Counter[str]:
        """How many trials are in each state."""
        return Counter(trial.state.name for trial in self.trials)

    def of(self, kind: type) -> list[Any]:
        """The events of trials of one kind."""
        return [event for event in self.events if isinstance(event, kind)]


def loss_of(point: Mapping[str, Any]) -> float:
    return (point["lr_exponent"] + 2) ** 2 + sum(point.get("decay_points", []))


def finish(search: Search, lives: Callable[[int, float], list[Event]] = life) -> list[Sequence[PlannedTrial]]:
    """Train all cohorts to their ends; return the trials of each."""
    seen = []
    while not search.exhausted:
        suggestion = search.next_cohort()
        assert suggestion is not None
        seen.append(suggestion.trials)
        for trial in suggestion.trials:
            search.take_events(lives(trial.number, loss_of(trial.point)))
        search.cohort_over(suggestion.id)
    search.settle(everything=True)
    return seen


# --- asking -----------------------------------------------------------------------------------------------------------


def test_every_trial_is_given_out_exactly_once(tmp_path: Path) -> None:
    desk = Desk(tmp_path, spec_with(trials=11))
    seen = finish(desk.search)
    assert sorted(trial.number for cohort in seen for trial in cohort) == list(range(11))
    assert desk.states() == {"COMPLETE": 11}
    assert desk.search.next_cohort() is None


def test_no_more_cohorts_train_at_once_than_are_wanted(tmp_path: Path) -> None:
    search = Desk(tmp_path, spec_with(trials=12), cohorts=2, cohort_trials=2).search
    first, second = search.next_cohort(), search.next_cohort()
    assert first and second
    assert search.next_cohort() is None
    assert not search.exhausted
    search.cohort_over(first.id)
    third = search.next_cohort()
    assert third
    assert len({first.id, second.id, third.id}) == 3


def test_a_cohort_has_as_many_trials_as_wanted_and_the_last_has_the_rest(tmp_path: Path) -> None:
    assert list(map(len, finish(Desk(tmp_path, spec_with(trials=10), cohort_trials=4).search))) == [4, 4, 2]


def test_the_branches_of_a_trunk_share_all_but_the_decay_points(tmp_path: Path) -> None:
    space = BRANCHED.space.model_dump() | {"momentum": {"low": 0, "high": 0.9}, "scale": {"low": 0.1, "high": 1}}
    desk = Desk(tmp_path, spec_with(space=space, trials=16), cohort_trials=8)
    points = {trial.number: trial.point for cohort in finish(desk.search) for trial in cohort}
    trunks = [[points[4 * trunk + branch] for branch in range(4)] for trunk in range(4)]
    for trunk in trunks:
        shared = [{name: value for name, value in point.items() if name != "decay_points"} for point in trunk]
        assert all(point == shared[0] for point in shared)
        assert len({tuple(point["decay_points"]) for point in trunk}) == 4
    assert len({(trunk[0]["lr_exponent"], trunk[0]["momentum"], trunk[0]["scale"]) for trunk in trunks}) == 4


def test_a_trunk_may_lie_in_two_cohorts(tmp_path: Path) -> None:
    points = {t.number: t.point for c in finish(Desk(tmp_path, BRANCHED, cohort_trials=3).search) for t in c}
    for trunk in range(4):
        assert len({points[4 * trunk + branch]["lr_exponent"] for branch in range(4)}) == 1


def test_structural_choices_part_cohorts(tmp_path: Path) -> None:
    desk = Desk(tmp_path, STRUCTURED, cohort_trials=10)
    seen = finish(desk.search)
    for cohort in seen:
        assert len({(trial.point["scale"], trial.point["batch_size"]) for trial in cohort}) == 1
    asked_together = [{number // 10 for trial in cohort for number in [trial.number]} for cohort in seen]
    structures = Counter(
        (min(batch), cohort[0].point["scale"], cohort[0].point["batch_size"])
        for batch, cohort in zip(asked_together, seen, strict=True)
    )
    assert set(structures.values()) == {1}
    assert len(structures) > 4
    assert desk.states() == {"COMPLETE": 20}


def test_the_cohort_of_a_trial_stands_in_its_attributes(tmp_path: Path) -> None:
    desk = Desk(tmp_path, STRUCTURED, cohort_trials=10)
    suggestion = desk.search.next_cohort()
    assert suggestion
    of_cohort = [t.number for t in desk.trials if t.user_attrs.get("cohort") == suggestion.id]
    assert of_cohort == [trial.number for trial in suggestion.trials]
    assert all("cohort" in trial.user_attrs for trial in desk.trials)


# --- every sampler ----------------------------------------------------------------------------------------------------

MIXED = {
    "lr_exponent": {"low": -3, "high": -1},
    "decay_points": {"count": 2, "low": 0.4, "high": 0.9, "branches": 2},
    "weight_decay": {"low": 1e-6, "high": 1e-2, "log": True},
    "momentum": {"low": 0, "high": 0.9, "step": 0.3},
    "batch_size": {"low": 2, "high": 9, "integer": True},
    "scale": [0.1, 1.0],
    "warmup": 0.1,
}


def assert_inside(point: Mapping[str, Any], spec: SweepSpec) -> None:
    """Hold a point to its space, by the space's own words."""
    named = {name: getattr(spec.space, name) for name in type(spec.space).model_fields} | spec.space.own()
    for name, domain in named.items():
        value = point.get(name)
        if isinstance(domain, Choice):
            assert value in domain.choices
        elif isinstance(domain, DecayPoints):
            assert len(value) == domain.count
            assert value == sorted(value)
            assert all(domain.low <= share <= domain.high for share in value)
        elif isinstance(domain, Range):
            assert domain.low <= value <= domain.high
            assert not domain.integer or value == int(value)
            steps = 0 if domain.step is None else (value - domain.low) / domain.step
            assert abs(steps - round(steps)) < 1e-6
        elif isinstance(domain, list):
            assert value in domain
        else:
            assert value == domain


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "gp"])
def test_a_sampler_gives_trials_inside_the_space(sampler: str, tmp_path: Path) -> None:
    spec = spec_with(space=MIXED, search={"sampler": sampler, "seed": 1}, trials=24)
    desk = Desk(tmp_path, spec, cohort_trials=8)
    points = [trial.point for cohort in finish(desk.search) for trial in cohort]
    assert len(points) == 24
    for point in points:
        assert_inside(point, spec)
    assert len({point["lr_exponent"] for point in points}) > 8  # of 12 trunks: a model may ask for an end twice
    assert len({tuple(point["decay_points"]) for point in points}) > 18
    assert desk.states() == {"COMPLETE": 24}


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "gp"])
def test_the_same_seed_gives_the_same_trials_and_another_seed_others(sampler: str, tmp_path: Path) -> None:
    def points(name: str, seed: int) -> list[Any]:
        spec = spec_with(space=BRANCHED.space.model_dump(), search={"sampler": sampler, "seed": seed}, trials=8)
        return [t.point for cohort in finish(Desk(tmp_path / name, spec).search) for t in cohort]

    assert points("a", 1) == points("b", 1)
    assert points("c", 2) != points("d", 1)


def test_a_search_that_learns_ends_nearer_to_the_best(tmp_path: Path) -> None:
    spec = spec_with(space={"lr_exponent": {"low": -30, "high": 30}}, search={"sampler": "tpe", "seed": 0}, trials=36)
    losses = [loss_of(t.point) for cohort in finish(Desk(tmp_path, spec).search) for t in cohort]
    assert sorted(losses[24:])[6] < sorted(losses[:12])[6]


# --- the same points again --------------------------------------------------------------------------------------------

REPEATED: dict[str, dict[str, Any]] = {
    "tpe": {"search": {"sampler": "tpe"}, "trials": 37},
    "tpe with branches": {"space": BRANCHED.space.model_dump(), "search": {"sampler": "tpe"}, "trials": 44},
    "tpe with structures": {"space": STRUCTURED.space.model_dump(), "search": {"sampler": "tpe"}, "trials": 33},
    "gp": {"search": {"sampler": "gp"}, "trials": 18},
    "random": {"search": {"sampler": "random"}, "trials": 20},
    "qmc": {"space": STRUCTURED.space.model_dump(), "search": {"sampler": "qmc"}, "trials": 20},
    "grid": {
        "space": {"lr_exponent": {"low": -3, "high": -1, "step": 0.1}, "scale": [0.1, 1.0]},
        "search": {"sampler": "grid"},
        "trials": 20,
    },
}


def repeated(name: str, **search: Any) -> SweepSpec:
    """Return a spec of those above that repeats."""
    fields = REPEATED[name]
    return spec_with(**fields | {"search": fields["search"] | {"seed": 4, "repeatable": True} | search})


def train_in_any_order(desk: Desk, dice: random.Random, deaths: int = 0, diverging: float = -1.2) -> dict[int, Any]:
    """Train cohorts whose events come in any order, in processes that die anywhere; return each trial's parameters."""
    search = desk.take_up()
    feeds: dict[str, list[Event]] = {}
    runs: dict[int, str] = {}
    while True:
        if not feeds or dice.random() < 0.3:
            ask, last = search.record.study.ask, dice.randrange(1, 60) if deaths else None
            calls = itertools.count(1)

            def mortal_ask(*arguments: Any, ask: Any = ask, last: Any = last, calls: Any = calls) -> Any:
                if next(calls) == last:
                    raise KeyboardInterrupt
                return ask(*arguments)

            search.record.study.ask = mortal_ask
            try:
                suggestion = search.next_cohort(runs)
            except KeyboardInterrupt:
                deaths, feeds, runs, search = deaths - 1, {}, {}, desk.take_up()
                continue
            search.record.study.ask = ask
            if suggestion:
                lives = [
                    life(t.number, loss_of(t.point))
                    if t.point["lr_exponent"] < diverging
                    else [end(f"{t.number}/0", 7, 9.0, "diverged")]
                    for t in suggestion.trials
                ]
                feeds[suggestion.id] = [event for story in itertools.zip_longest(*lives) for event in story if event]
        if not feeds:
            if search.exhausted:
                search.settle(everything=True)
                return {trial.number: trial.params for trial in desk.trials}
            continue
        cohort = dice.choice(list(feeds))
        for _ in range(min(dice.choice([1, 3, 50]), len(feeds[cohort]))):
            search.take_events([feeds[cohort].pop(0)])
            search.settle(runs)
        if dice.random() < 0.2:
            runs[dice.choice(list(search.asker.trials))] = "run"
            search.settle(runs)
        if not feeds[cohort]:
            search.cohort_over(cohort)
            del feeds[cohort]
        if deaths and dice.random() < 0.03:
            deaths, feeds, runs, search = deaths - 1, {}, {}, desk.take_up()


@pytest.mark.parametrize("name", REPEATED)
def test_a_repeatable_search_asks_for_the_same_points_whatever_the_timing_the_cores_and_the_deaths(
    name: str, tmp_path: Path
) -> None:
    spec = repeated(name)
    expected = train_in_any_order(Desk(tmp_path / "0", spec, cohorts=1, cohort_trials=64), random.Random(0))
    assert len({json.dumps(params) for params in expected.values()}) > len(expected) * 0.9
    for k in range(1, 6):
        seed = {4: secrets.randbelow(2**32), 5: 504850403}.get(
            k, k
        )  # the last: deaths while none was complete or running
        print(f"seed of the timing: {seed}")
        dice = random.Random(seed)
        desk = Desk(
            tmp_path / str(k), spec, cohorts=dice.choice([2, 3, 5, 16]), cohort_trials=4 * dice.choice([1, 2, 6])
        )
        assert train_in_any_order(desk, dice, deaths=dice.choice([0, 1, 4])) == expected


def test_another_seed_repeats_other_points(tmp_path: Path) -> None:
    first, other = (
        train_in_any_order(Desk(tmp_path / str(seed), repeated("tpe", seed=seed)), random.Random(0)) for seed in (4, 5)
    )
    assert not {params["lr_exponent"] for params in first.values()} & {p["lr_exponent"] for p in other.values()}


def test_without_it_timing_decides(tmp_path: Path) -> None:
    def points(name: str, order: int) -> dict[int, Any]:
        return train_in_any_order(Desk(tmp_path / name, repeated("tpe", repeatable=False)), random.Random(order))

    assert points("a", 1) != points("b", 2)


def test_a_repeatable_search_learns(tmp_path: Path) -> None:
    fields = {"space": {"lr_exponent": {"low": -30, "high": 30}}, "search": {"sampler": "tpe", "repeatable": True}}
    params = train_in_any_order(Desk(tmp_path, spec_with(**fields, trials=48)), random.Random(0), diverging=99)
    losses = [(params[n]["lr_exponent"] + 2) ** 2 for n in range(48)]
    assert sorted(losses[36:])[6] < sorted(losses[:12])[6]


def test_a_round_is_shared_by_all_cohorts_and_its_trunks_stay_whole(tmp_path: Path) -> None:
    desk = Desk(tmp_path, repeated("tpe with branches"), cohorts=2, cohort_trials=24)
    assert desk.spec.round_trials == 12
    first, second = desk.search.next_cohort(), desk.search.next_cohort()
    assert first and second and [len(c.trials) for c in (first, second)] == [8, 4]
    assert desk.search.next_cohort() is None and len(desk.trials) == 12


def test_a_search_that_waits_for_nothing_more_goes_on(tmp_path: Path) -> None:
    desk = Desk(tmp_path, repeated("tpe"), cohorts=2, cohort_trials=5)
    first, second = desk.search.next_cohort(), desk.search.next_cohort()
    assert first and second
    desk.search.cohort_failed(first.id)
    assert desk.search.next_cohort() is None
    desk.search.cohort_failed(second.id)
    assert desk.search.next_cohort()


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_stopping_and_a_search_that_repeats_exclude_each_other(sampler: str) -> None:
    with pytest.raises(BadInput, match=r"search.repeatable: stopping ranks trials as they arrive"):
        spec_with(stopping={}, search={"sampler": sampler, "repeatable": True})
    for other in ("random", "qmc"):
        assert spec_with(stopping={}, search={"sampler": other, "repeatable": True}).round_trials == 0


def test_a_seed_that_does_not_repeat_a_search_says_so_where_it_stands() -> None:
    for name in ("tpe", "gp"):
        (note,) = spec_with(search={"sampler": name, "seed": 3}).notes()
        assert f"search.seed: {name} goes on from the trials that have ended" in note and "repeatable: true" in note
        assert spec_with(search={"sampler": name, "seed": 3, "repeatable": True}).notes() == []
        assert spec_with(search={"sampler": name}).notes() == []
    assert spec_with(search={"sampler": "random", "seed": 3}).notes() == []
    said = json.dumps(SweepSpec.model_json_schema()["$defs"]["Search"]["properties"]["seed"])
    assert "only with repeatable: true" in said


GRIDS: dict[str, tuple[dict[str, Any], int]] = {
    "lists": ({"lr_exponent": [-3, -2, -1], "scale": [0.1, 1.0]}, 6),
    "steps": ({"lr_exponent": {"low": -3, "high": -1, "step": 0.1}}, 21),
    "integers": ({"lr_exponent": -2, "batch_size": {"low": 2, "high": 9, "integer": True, "step": 3}}, 3),
    "decay points": (
        {"lr_exponent": [-2, -1], "decay_points": {"low": 0.1, "high": 0.7, "step": 0.2, "branches": 3}},
        8,
    ),
    "choices of points": ({"lr_exponent": [-2, -1], "decay_points": {"choices": [[0.5], [0.4, 0.8]]}}, 4),
    "steps that do not meet the end": ({"lr_exponent": {"low": -3, "high": -1, "step": 0.75}}, 3),
}


@pytest.mark.parametrize(("space", "size"), GRIDS.values(), ids=GRIDS.keys())
@pytest.mark.parametrize("cohort_trials", [2, 64])
def test_a_grid_gives_each_of_its_points_once(
    space: dict[str, Any], size: int, cohort_trials: int, tmp_path: Path
) -> None:
    spec = spec_with(space=space, search={"sampler": "grid"}, trials=100)
    desk = Desk(tmp_path, spec, cohort_trials=cohort_trials)
    points = [trial.point for cohort in finish(desk.search) for trial in cohort]
    assert spec.trials_wanted == spec.space.grid_size() == size == len(points)
    assert len({json.dumps(point, sort_keys=True) for point in points}) == size
    for point in points:
        assert_inside(point, spec)
    assert desk.states() == {"COMPLETE": size}


def test_a_grid_larger_than_the_wish_stops_at_the_wish(tmp_path: Path) -> None:
    spec = spec_with(space={"lr_exponent": {"low": -3, "high": -1, "step": 0.1}}, search={"sampler": "grid"}, trials=5)
    points = [t.point["lr_exponent"] for cohort in finish(Desk(tmp_path, spec).search) for t in cohort]
    assert len(set(points)) == len(points) == 5


def test_a_constant_space_is_trained_as_often_as_wished(tmp_path: Path) -> None:
    desk = Desk(tmp_path, spec_with(space={"lr_exponent": -2}, trials=3))
    finish(desk.search)
    assert desk.states() == {"COMPLETE": 3}


@pytest.mark.parametrize("value", ["[a", "[1, 2]", "plain"])
def test_a_choice_of_words_gives_the_words(value: str, tmp_path: Path) -> None:
    desk = Desk(tmp_path, spec_with(space={"lr_exponent": -2, "kind": [value, value + "b"]}, trials=4))
    points = [t.point["kind"] for cohort in finish(desk.search) for t in cohort]
    assert set(points) <= {value, value + "b"}


# --- telling ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A sweep of six trials in one cohort."""
    return Desk(tmp_path, spec_with(trials=6), cohort_trials=6)


def test_a_complete_trial_has_its_last_value_and_its_reports(desk: Desk) -> None:
    desk.search.next_cohort()
    desk.hear(life(2, 7.5))
    desk.settle()
    trial = desk.trials[2]
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 7.5)
    assert trial.intermediate_values == {10: 7.5, 20: 7.5, 30: 7.5, 40: 7.5}
    assert trial.user_attrs["status"] == "complete"
    assert trial.user_attrs["verdict"] == "healthy"
    assert desk.states() == {"COMPLETE": 1, "RUNNING": 5}


def test_a_diverged_trial_is_a_failed_one_that_says_why(desk: Desk) -> None:
    desk.search.next_cohort()
    desk.hear([report("3/0", 10, 2.0), end("3/0", 17, 9.0, "diverged")])
    desk.settle()
    trial = desk.trials[3]
    assert (trial.state, trial.values) == (TrialState.FAIL, None)
    assert trial.intermediate_values == {10: 2.0}
    said = {name: trial.user_attrs[name] for name in ("status", "verdict", "evidence")}
    assert said == {"status": "diverged", "verdict": "diverged", "evidence": "evidence of 3/0"}
    assert desk.search.record.results()[3].state == "diverged"


def test_a_stopped_trial_is_a_pruned_one_with_the_values_it_reported(desk: Desk) -> None:
    desk.search.next_cohort()
    desk.hear([report("1/0", 10, 3.0), report("1/0", 20, 2.0), end("1/0", 20, 2.0, "stopped")])
    desk.settle()
    trial = desk.trials[1]
    assert trial.state == TrialState.PRUNED
    assert trial.intermediate_values == {10: 3.0, 20: 2.0}
    assert desk.search.record.results()[1].state == "stopped"


def test_a_trial_of_several_replicates_is_told_once_by_their_mean(tmp_path: Path) -> None:
    desk = Desk(tmp_path, spec_with(trials=3, replicates=3))
    finish(desk.search, lambda number, loss: life(number, 2.0, replicates=3))
    assert desk.states() == {"COMPLETE": 3}
    for trial in desk.trials:
        assert (trial.value, trial.user_attrs["spread"]) == (3.0, 1.0)
        assert trial.intermediate_values[20] == 3.0


def test_a_replicate_that_diverges_fails_its_trial(tmp_path: Path) -> None:
    desk = Desk(tmp_path, spec_with(trials=1, replicates=2))
    desk.search.next_cohort()
    desk.hear([end("0/0", 40, 1.0), end("0/1", 3, 9.0, "diverged")])
    desk.settle()
    assert desk.trials[0].state == TrialState.FAIL
    assert desk.trials[0].user_attrs["status"] == "diverged"


def test_another_objective_is_told_for_what_it_is(tmp_path: Path) -> None:
    desk = Desk(tmp_path, spec_with(trials=2, objective={"metric": "valid_accuracy", "mode": "max"}))
    desk.search.next_cohort()
    for number in range(2):
        values = {"valid_accuracy": 0.5 + number / 4}
        desk.hear([report(f"{number}/0", 40, 1.0, **values)])
        desk.hear([end(f"{number}/0", 40, 1.0, values=values)])
    desk.settle()
    assert [trial.value for trial in desk.trials] == [0.5, 0.75]
    study = SweepStore.open(desk.journal).find("warm").study
    assert (study.direction.name, study.best_trial.number) == ("MAXIMIZE", 1)


def test_a_trial_without_the_objective_fails_and_is_not_left_running(desk: Desk) -> None:
    desk.search.next_cohort()
    desk.hear([end("0/0", 40, 1.0, values={"train_loss": 1.0})])
    desk.settle()
    assert desk.trials[0].state == TrialState.FAIL


def test_a_trial_whose_objective_is_no_number_at_its_end_fails_and_says_so(desk: Desk) -> None:
    desk.search.next_cohort()
    desk.hear([end("0/0", 40, 1.0, values={"train_loss": 1.0})])
    desk.settle()
    row = desk.search.record.results()[0]
    assert (row.state, row.evidence) == ("failed", "valid_loss was no number at step 40")


def test_a_trial_stopped_before_its_first_report_is_pruned_at_what_it_was_worth(tmp_path: Path) -> None:
    desk = Desk(tmp_path, spec_with(trials=4, stopping={"rungs": [0.25, 0.5]}))
    desk.search.next_cohort()
    scores = [Scored("1/0", step, {"valid_loss": 5.0 - step}, "average") for step in (1, 2)]
    desk.hear([*scores, end("1/0", 2, 3.0, "stopped")])
    desk.settle()
    assert (desk.trials[1].state, desk.trials[1].intermediate_values) == (TrialState.PRUNED, {2: 3.0})


def test_what_a_cohort_says_of_its_failure_is_the_evidence_of_its_trials(desk: Desk) -> None:
    suggestion = desk.search.next_cohort()
    assert suggestion
    desk.search.cohort_failed(suggestion.id, "IndexError: Target -1 is out of bounds (mine.py, line 7)")
    desk.search.cohort_over(suggestion.id)
    desk.settle()
    assert {row.evidence for row in desk.search.record.results()} == {
        "IndexError: Target -1 is out of bounds (mine.py, line 7)"
    }


def test_a_cohort_that_failed_for_good_fails_the_trials_it_had_not_finished(desk: Desk) -> None:
    suggestion = desk.search.next_cohort()
    assert suggestion
    desk.hear([*life(0, 1.0), report("1/0", 10, 2.0)])
    desk.search.cohort_failed(suggestion.id)
    desk.settle()
    assert desk.states() == {"COMPLETE": 1, "FAIL": 5}
    assert {t.user_attrs["status"] for t in desk.trials[1:]} == {"failed"}
    assert [row.state for row in desk.search.record.results()] == ["complete"] + ["failed"] * 5


def test_a_trial_that_fails_before_anything_was_heard_of_it_begins_with_its_point(desk: Desk) -> None:
    """Its worker died at its first steps: the record still has what it was to be trained with."""
    suggestion = desk.search.next_cohort()
    assert suggestion
    desk.hear([Started("0/0", 0)])
    desk.events += desk.search.fail([0, 1], "Segmentation fault", 137)
    assert [(start.trial, start.params) for start in desk.of(Start)] == [
        (number, desk.search.point_of(number)) for number in (0, 1)
    ]
    assert [(type(event), event.trial) for event in desk.events] == [
        (Start, 0),
        (Outcome, 0),
        (Start, 1),
        (Outcome, 1),
    ]


def test_the_run_of_a_trial_stands_in_its_attributes_whenever_it_becomes_known(desk: Desk) -> None:
    suggestion = desk.search.next_cohort()
    assert suggestion
    desk.runs[0] = "known before the end"
    desk.hear(life(0, 1.0))
    desk.hear(life(1, 1.0))
    desk.search.settle(desk.runs)
    desk.runs[1] = "known after the end"
    desk.hear(life(2, 1.0))
    desk.settle()
    assert [t.user_attrs.get("mlflow_run") for t in desk.trials[:2]] == ["known before the end", "known after the end"]
    desk.runs |= {0: "another", 2: "known after it was told"}
    desk.search.settle(desk.runs)
    assert [t.mlflow_run for t in desk.search.record.results()[:3]] == [
        "another",
        "known after the end",
        "known after it was told",
    ]


def test_what_happens_to_a_trial_is_listened_to_once_and_in_order(desk: Desk) -> None:
    desk.search.next_cohort()
    fork = Forked("5/0", 20, "2/0")
    desk.hear([*life(2, 1.0), fork, *life(5, 2.0)[3:]])
    (start,), (fork,) = desk.of(Start), desk.of(Fork)
    assert (start.trial, start.params) == (2, desk.search.point_of(2))
    assert (fork.trial, fork.trunk, fork.parted_from, fork.step) == (5, 2, 2, 20)
    assert [(said.trial, said.step) for said in desk.of(Report)] == [(2, s) for s in (10, 20, 30, 40)] + [
        (5, s) for s in (30, 40)
    ]
    assert [said.trial for said in desk.of(Outcome)] == [2, 5]


def test_a_branch_is_paired_with_the_trunk_it_was_proposed_for_whether_or_not_it_leaves_it(tmp_path: Path) -> None:
    """It may be stopped on the way; and after a warm-up's first step trunks part that have nothing else in common."""
    desk = Desk(tmp_path, spec_with(trials=6, space={"decay_points": {"branches": 3}}), cohort_trials=6)
    desk.search.next_cohort()
    forks = [Forked(f"{trial}/0", step, "0/0") for trial, step in ((3, 1), (1, 20))]
    desk.hear([*(Started(f"{trial}/0", 0) for trial in range(6)), *forks])
    assert [start.trunk for start in desk.of(Start)] == [None, 0, 0, None, 3, 3]
    assert [(fork.trial, fork.trunk) for fork in desk.of(Fork)] == [(3, None), (1, 0)]


def test_where_no_trunks_are_proposed_the_one_that_was_shared_is_told(desk: Desk) -> None:
    desk.search.next_cohort()
    desk.hear([Forked(f"{trial}/0", step, "0/0") for trial, step in ((3, 1), (1, 20))])
    assert [(fork.trial, fork.trunk) for fork in desk.of(Fork)] == [(3, None), (1, 0)]


def test_replayed_events_of_an_ended_trial_change_nothing(desk: Desk) -> None:
    desk.search.next_cohort()
    desk.hear([*life(0, 1.0), *life(1, 2.0)])
    desk.settle()
    before, heard = desk.trials, len(desk.events)
    desk.hear([*life(0, 5.0), *life(1, 5.0)[-1:]])
    desk.settle()
    assert desk.trials == before
    assert len(desk.events) == heard


def test_replayed_reports_of_a_running_trial_change_nothing_in_the_storage(desk: Desk) -> None:
    desk.search.next_cohort()
    desk.hear(life(0, 1.0)[:3])
    before = desk.trials
    desk.hear(life(0, 1.0)[:3])
    assert desk.trials == before
    desk.hear(life(0, 1.0)[1:])
    desk.settle()
    assert desk.trials[0].intermediate_values == {10: 1.0, 20: 1.0, 30: 1.0, 40: 1.0}


def test_the_table_has_every_trial_with_its_whole_point(tmp_path: Path) -> None:
    desk = Desk(tmp_path, BRANCHED)
    points = {t.number: t.point for cohort in finish(desk.search) for t in cohort}
    for row in desk.search.record.results():
        assert row.params == points[row.number]
        assert row.value == loss_of(row.params)
        assert row.reports == dict.fromkeys((10, 20, 30, 40), row.value)
        assert row.duration_s is not None


# --- interrupted anywhere ---------------------------------------------------------------------------------------------


def assert_whole(desk: Desk) -> None:
    """Hold a study to what was asked for: every trial once, none running, each outcome as it was first told."""
    wanted = desk.spec.trials_wanted
    trials = desk.trials
    assert [trial.number for trial in trials] == list(range(wanted))
    assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.FAIL}
    for trial in trials:
        point = desk.spec.space.resolve(trial.params)
        assert_inside(point, desk.spec)
        if trial.state == TrialState.COMPLETE:
            assert trial.value == loss_of(point)


def work(desk: Desk, moves: int, dies_asking: int | None = None) -> bool:
    """Let a process make so many moves (a cohort given out, an event told) and die. Return whether the sweep ended."""
    search, feeds = desk.take_up(), {}
    asked = itertools.count()
    ask = search.record.study.ask

    def mortal_ask(*arguments: Any) -> Any:
        if next(asked) == dies_asking:
            raise KeyboardInterrupt
        return ask(*arguments)

    search.record.study.ask = mortal_ask
    for _ in range(moves):
        suggestion = search.next_cohort()
        if suggestion:
            ended = {t.number for t in desk.trials if t.state.is_finished()}
            alive = [t for t in suggestion.trials if suggestion.resume_from or t.number not in ended]
            assert alive == list(suggestion.trials)
            lives = [life(t.number, loss_of(t.point)) for t in alive]
            feeds[suggestion.id] = [event for story in itertools.zip_longest(*lives) for event in story if event]
        elif not feeds:
            break
        else:
            cohort = next(iter(feeds))
            search.take_events([feeds[cohort].pop(0)])
            if not feeds[cohort]:
                search.cohort_over(cohort)
                del feeds[cohort]
    if search.exhausted and not feeds:
        search.settle(everything=True)
        return True
    return False


@examples(15)  # each writes some hundred lines to the disk
@given(
    st.sampled_from(["tpe", "random", "qmc"]),
    st.lists(st.tuples(st.integers(0, 40), st.none() | st.integers(0, 9)), max_size=6),
    st.booleans(),
)
def test_a_sweep_that_dies_anywhere_ends_with_exactly_the_trials_asked_for(
    tmp_path_factory: pytest.TempPathFactory, sampler: str, deaths: list[tuple[int, int | None]], branched: bool
) -> None:
    space = BRANCHED.space.model_dump() if branched else STRUCTURED.space.model_dump()
    spec = spec_with(space=space, search={"sampler": sampler, "seed": 2}, trials=9)
    desk = Desk(tmp_path_factory.mktemp("deaths"), spec)
    for moves, dies_asking in deaths:
        try:
            work(desk, moves, dies_asking)
        except KeyboardInterrupt:
            continue
    assert work(desk, 1000)
    assert_whole(desk)
    assert desk.states() == {"COMPLETE": 9}


@pytest.mark.parametrize("dies_asking", range(6))
def test_a_grid_that_dies_while_it_asks_still_gives_each_point_once(dies_asking: int, tmp_path: Path) -> None:
    spec = spec_with(space={"lr_exponent": [-3, -2, -1], "scale": [0.1, 1.0]}, search={"sampler": "grid"}, trials=6)
    desk = Desk(tmp_path, spec, cohort_trials=6)
    with pytest.raises(KeyboardInterrupt):
        work(desk, 1, dies_asking)
    assert work(desk, 1000)
    assert_whole(desk)
    assert len({tuple(trial.params.values()) for trial in desk.trials}) == 6


def test_a_trial_that_was_asked_for_but_not_yet_in_a_cohort_is_given_out(tmp_path: Path) -> None:
    desk = Desk(tmp_path, spec_with(trials=3))
    desk.search.record.study.ask(desk.search.asker.domains)
    assert "cohort" not in desk.trials[0].user_attrs
    search = desk.take_up()
    seen = finish(search)
    assert sorted(t.number for cohort in seen for t in cohort) == [0, 1, 2]
    assert_whole(desk)


@pytest.mark.parametrize("known", range(3))
def test_a_trial_that_died_while_it_was_sampled_is_sampled_to_the_end(known: int, tmp_path: Path) -> None:
    desk = Desk(tmp_path, STRUCTURED)
    names = list(desk.search.asker.domains)[:known]
    trial = desk.search.record.study.ask({name: desk.search.asker.domains[name] for name in names})
    finish(desk.take_up())
    assert_whole(desk)
    kept = desk.trials[0].params
    assert {name: kept[name] for name in names} == trial.params


def test_the_branches_asked_for_after_an_interruption_still_share_their_trunk(tmp_path: Path) -> None:
    desk = Desk(tmp_path, BRANCHED, cohort_trials=8)
    with pytest.raises(KeyboardInterrupt):
        work(desk, 1, dies_asking=6)
    assert [trial.number for trial in desk.trials] == list(range(6))
    assert work(desk, 1000)
    assert_whole(desk)
    for trunk in range(4):
        of_trunk = desk.trials[4 * trunk : 4 * trunk + 4]
        assert len({trial.params["lr_exponent"] for trial in of_trunk}) == 1
        assert len({trial.params["decay_point"] for trial in of_trunk}) == 4


def test_a_resumed_search_does_not_repeat_its_first_draws(tmp_path: Path) -> None:
    desk = Desk(tmp_path, spec_with(trials=12, search={"sampler": "random"}), cohorts=1)
    while not work(desk, 30):  # more than a cohort, so that each process ends one and dies in the next
        pass
    assert_whole(desk)
    assert len({trial.params["lr_exponent"] for trial in desk.trials}) == 12


def test_an_interrupted_cohort_without_a_checkpoint_begins_again_with_what_it_had_not_finished(tmp_path: Path) -> None:
    desk = Desk(tmp_path, spec_with(trials=4))
    suggestion = desk.search.next_cohort()
    assert suggestion
    desk.hear([*life(1, 1.0), report("2/0", 10, 1.0)])
    desk.settle()
    again = desk.take_up().next_cohort()
    assert again
    assert (again.id, again.resume_from) == (suggestion.id, None)
    assert [t.number for t in again.trials] == [0, 2, 3]
    points = {t.number: t.point for t in suggestion.trials}
    assert {t.number: t.point for t in again.trials} == {n: points[n] for n in (0, 2, 3)}


def test_an_interrupted_cohort_with_a_checkpoint_takes_all_its_trials_along(tmp_path: Path) -> None:
    desk = Desk(tmp_path, spec_with(trials=4))
    suggestion = desk.search.next_cohort()
    assert suggestion
    desk.hear(life(1, loss_of(suggestion.trials[1].point)))
    desk.settle()
    desk.checkpoints[suggestion.id] = "/the/checkpoint"
    search = desk.take_up()
    again = search.next_cohort()
    assert again == replace(suggestion, resume_from="/the/checkpoint")
    before = len(desk.events)
    search.take_events(life(1, 99.0)[-1:])  # replayed by the cohort: it was told already
    assert len(desk.events) == before
    for trial in again.trials:
        search.take_events(life(trial.number, loss_of(trial.point))[-1:])
    search.settle(everything=True)
    assert_whole(desk)


def test_a_cohort_all_of_whose_trials_ended_is_not_trained_again(tmp_path: Path) -> None:
    desk = Desk(tmp_path, spec_with(trials=8))
    first = desk.search.next_cohort()
    assert first
    for trial in first.trials:
        desk.hear(life(trial.number, 1.0))
    desk.settle()
    search = desk.take_up()
    again = search.next_cohort()
    assert again
    assert {t.number for t in again.trials}.isdisjoint(t.number for t in first.trials)


def test_a_sweep_that_has_ended_has_nothing_to_give(tmp_path: Path) -> None:
    desk = Desk(tmp_path, spec_with(trials=4))
    finish(desk.search)
    search = desk.take_up()
    assert search.exhausted
    assert search.next_cohort() is None
    assert desk.states() == {"COMPLETE": 4}


def test_a_resumed_sweep_knows_the_scores_and_who_went_on_or_was_stopped(tmp_path: Path) -> None:
    desk = Desk(tmp_path, spec_with(trials=4, stopping={"rungs": [0.25, 0.5], "least": 2}))
    assert desk.search.next_cohort()
    scored = [Scored(f"{k}/0", 10, {"valid_loss": 3.0 + k}, "average") for k in range(3)]
    desk.hear([*(report(f"{k}/0", 10, 3.0) for k in range(4)), *scored])
    desk.hear([report("0/0", 20, 2.0), end("2/0", 10, 5.0, "stopped"), end("3/0", 10, 9.0, "diverged")])
    rule = stopping_rule(desk.take_up().record)
    assert rule
    assert rule.decided == {(10, 0): "", (10, 2): "evidence of 2/0"}, "trial 1 is to be judged"
    assert rule.board[10] == {0: (3.0, 0), 1: (4.0, 1), 2: (5.0, 2)}


def test_a_stop_of_replicates_is_known_at_the_rung_that_all_of_them_reached(tmp_path: Path) -> None:
    """One of them may have run ahead of the others by then."""
    desk = Desk(tmp_path, spec_with(trials=3, replicates=2, stopping={"rungs": [0.25, 0.5], "least": 2}))
    assert desk.search.next_cohort()
    scored = [Scored(f"0/{r}", 10, {"valid_loss": 5.0}, "average") for r in range(2)]
    desk.hear([*scored, end("0/0", 17, 5.0, "stopped"), end("0/1", 10, 5.0, "stopped")])
    rule = stopping_rule(desk.take_up().record)
    assert rule
    assert rule.decided == {(10, 0): "evidence of 0/0"}
    better = [(10, trial, 1.0, trial) for trial in range(5, 9)]
    assert rule.judge(better, [(10, 0)]) == {(10, 0): "evidence of 0/0"}, "what was decided stays decided"


def test_a_trial_that_diverged_is_the_worst_at_the_rungs_it_did_not_reach_for_a_resumed_sweep_too(
    tmp_path: Path,
) -> None:
    desk = Desk(tmp_path, spec_with(trials=4, stopping={"rungs": [0.25, 0.5], "least": 2}))
    assert desk.search.next_cohort()
    desk.hear([report("1/0", 10, 3.0), end("1/0", 17, 9.0, "diverged")])
    desk.settle()
    rule = stopping_rule(desk.take_up().record)
    assert rule
    assert rule.board == {20: {1: (math.inf, 1)}}


def test_trials_of_one_history_that_diverged_under_a_later_seed_count_as_one_for_a_resumed_sweep_too(
    tmp_path: Path,
) -> None:
    """Their first seeds were stopped for it, and name no leader: only the seed that diverged does."""
    desk = Desk(tmp_path, spec_with(trials=2, replicates=2, stopping={"rungs": [0.25, 0.5], "least": 2}))
    assert desk.search.next_cohort()
    for trial in range(2):
        ends = [end(f"{trial}/0", 10, 5.0, "stopped"), end(f"{trial}/1", 7, 9.0, "diverged", leader="0/1")]
        desk.hear(ends)
    desk.settle()
    rule = stopping_rule(desk.take_up().record)
    assert rule
    assert rule.board == {rung: {0: (math.inf, 0), 1: (math.inf, 0)} for rung in (10, 20)}


# --- sweeps in a storage ----------------------------------------------------------------------------------------------


def stored(tmp_path: Path, *ids: str) -> SweepStore:
    store = SweepStore.open(str(tmp_path / "deep" / "optuna.journal"))
    for day, sweep in enumerate(ids):
        store.create(sweep, spec_with(name=sweep.rsplit("-", 2)[0]), {"created": f"2026-01-{day + 1:02}"})
    return store


def test_a_sweep_is_found_by_its_id_and_by_its_name_the_latest(tmp_path: Path) -> None:
    store = stored(tmp_path, "warm-20260101-aaaa", "cold-20260102-bbbb", "warm-20260103-0000")
    assert store.ids() == ["warm-20260101-aaaa", "cold-20260102-bbbb", "warm-20260103-0000"]
    assert store.find("warm").id == "warm-20260103-0000"
    assert store.find("warm-20260101-aaaa").id == "warm-20260101-aaaa"
    assert store.find("cold").spec == spec_with(name="cold")


def test_a_name_with_dashes_is_not_taken_for_another(tmp_path: Path) -> None:
    store = stored(tmp_path, "a-20260101-aaaa", "a-b-20260102-bbbb")
    assert store.find("a").id == "a-20260101-aaaa"
    assert store.find("a-b").id == "a-b-20260102-bbbb"


def test_a_name_is_the_specs_whatever_the_ids_look_like(tmp_path: Path) -> None:
    """Ids that people give; an id wins over a name; a spec of another version has its name all the same."""
    store = SweepStore.open(str(tmp_path / "optuna.journal"))
    begun = [("tiny-20260101-aaaa", "tiny"), ("exp-lr-high", "tiny"), ("best", "tiny"), ("tiny-9", "best")]
    for day, (sweep, name) in enumerate(begun):
        store.create(sweep, spec_with(name=name), {"created": f"2026-01-{day + 1:02}"})
    assert store.find("tiny").id == "best" == store.find("best").id
    assert store.find("exp-lr-high").id == "exp-lr-high"
    for wanted in ("exp", "exp-lr", "tiny-20260101", "9"):
        with pytest.raises(BadInput, match="unknown sweep"):
            store.find(wanted)
    foreign = optuna.create_study(storage=store.storage, study_name="x-1-2")
    foreign.set_user_attr("spec", {"name": "foreign", "of_another_version": True})
    foreign.set_user_attr("created", "2026-02-01")
    assert store.find("foreign").id == "x-1-2"
    broken = optuna.create_study(storage=store.storage, study_name="y-1-2")
    broken.set_user_attr("spec", "no mapping")
    assert store.find("tiny").id == "best" and store.find("y-1-2").id == "y-1-2"


def test_an_unknown_sweep_is_refused_with_the_nearest_known(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="unknown sweep 'warn'; did you mean 'warm'"):
        stored(tmp_path, "warm-20260101-aaaa").find("warn")


def test_an_empty_home_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="unknown sweep 'warm'; there is none here"):
        stored(tmp_path).find("warm")


def test_studies_of_others_are_left_alone(tmp_path: Path) -> None:
    store = stored(tmp_path, "warm-20260101-aaaa")
    optuna.create_study(storage=store.storage, study_name="somebody-else-here")
    assert store.ids() == ["warm-20260101-aaaa"]


def test_a_database_serves_as_storage_too(tmp_path: Path) -> None:
    store = SweepStore.open(f"sqlite:///{tmp_path / 'optuna.db'}")
    record = store.create("warm-20260101-abcd", spec_with(trials=2), {})
    finish(Search(record, 1, 2))
    assert [trial.state for trial in record.trials()] == ["complete"] * 2
