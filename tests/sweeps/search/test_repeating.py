"""A search that asks for the same points again, whatever the timing, the cores and the deaths."""

import itertools
import json
import random
import secrets
from pathlib import Path
from typing import Any

import pytest

from espalier.core.errors import BadInput
from espalier.core.training.events import Event
from espalier.sweeps.spec.spec import SweepSpec
from tests.sweeps.made import end, life, spec_with
from tests.sweeps.search.desk import BRANCHED, STRUCTURED, Desk, loss_of

pytestmark = pytest.mark.filterwarnings("ignore:QMCSampler is experimental")


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


@pytest.mark.sampled(3)
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
