"""What a sweep takes from another: hints where the spaces overlap, stored with it, and no trials of its own."""

import random
from pathlib import Path
from typing import Any

import pytest

from espalier.core.errors import BadInput
from espalier.sweeps.results.trial_result import best_trial
from espalier.sweeps.search.store import SweepStore
from espalier.sweeps.spec.spec import SweepSpec, make_spec
from tests.sweeps.made import THERMOMETER, life, spec_with
from tests.sweeps.search.desk import Desk, finish
from tests.sweeps.search.test_pieces import Crew, by_pieces, pieces_of

OTHER, WARM = "other-20260101-abcd", "warm-20260101-abcd"
SPACE = {"lr_exponent": {"low": -4, "high": 0}, "momentum": {"low": 0.0, "high": 0.9}}


def make_other(
    folder: Path, losses: dict[int, float], facts: dict[str, Any] | None = None, **fields: Any
) -> SweepStore:
    """Make a sweep beside which a desk's is to be; return the store."""
    store = SweepStore.open(str(folder / "home" / "optuna.journal"))
    fields = {"space": SPACE, "search": {"sampler": "random"}, "name": "other"} | fields
    spec = spec_with(**fields | {"trials": len(losses)})
    record = store.create(OTHER, spec, {"created": "2026-01-01"} | (facts or {}))
    finish_with(Of(record), losses)
    return store


class Of:
    """A search of a record."""

    def __init__(self, record: Any):
        from espalier.sweeps.search.search import Search

        self.search = Search(record, 1, 64)


def finish_with(desk: Any, losses: dict[int, float]) -> None:
    while plan := desk.search.next_cohort():
        for trial in plan.trials:
            desk.search.take_events(life(trial.number, losses[trial.number]))
        desk.search.cohort_over(plan.id)
    desk.search.settle(everything=True)


def learning(sampler: str = "tpe", **fields: Any) -> SweepSpec:
    fields = {"space": SPACE, "search": {"sampler": sampler, "seed": 3}, "trials": 12} | fields
    return make_spec(dict(THERMOMETER) | fields | {"from": "other"})


def test_it_is_stored_with_the_sweep_and_the_other_may_go(tmp_path: Path) -> None:
    store = make_other(tmp_path, {k: 3.0 - k / 10 for k in range(8)}, {"data": "d1"})
    desk = Desk(tmp_path, learning())
    store.delete(OTHER)
    record = desk.search.record
    assert record.taken and record.taken.of == OTHER
    assert record.taken.names == ["lr_exponent", "momentum"] and record.taken.missing == []
    assert [value for _, value in record.taken.trials] == pytest.approx([2.3 + k / 10 for k in range(8)])
    desk.take_up()
    finish(desk.search)
    assert len(desk.trials) == 12
    best = best_trial(desk.search.record.results(), "min")
    assert best and best.value not in [value for _, value in record.taken.trials]
    assert "taken" not in record.facts


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
@pytest.mark.parametrize("repeatable", [False, True])
def test_every_other_one_of_the_first_trials_knows_it(sampler: str, repeatable: bool, tmp_path: Path) -> None:
    """The other sweep's best is at a rate of its own; half of the first trials go there, the others know nothing."""
    other = dict.fromkeys(range(24), 3.0)
    store = make_other(tmp_path, other, space={"lr_exponent": {"low": -4, "high": 0}})
    rates = [t.params["lr_exponent"] for t in store.load(OTHER).results()]
    store.delete(OTHER)
    make_other(
        tmp_path, {k: (rate + 3) ** 2 for k, rate in enumerate(rates)}, space={"lr_exponent": SPACE["lr_exponent"]}
    )
    search = {"sampler": sampler, "seed": 3, "repeatable": repeatable}
    desk = Desk(tmp_path, learning(space={"lr_exponent": SPACE["lr_exponent"]}, search=search), cohorts=1)
    finish(desk.search)
    points = [trial.params["lr_exponent"] for trial in desk.trials]
    knowing, others = points[0:8:2], points[1:8:2]
    assert sum(abs(p + 3) for p in knowing) / 4 < 0.5 < sum(abs(p + 3) for p in others) / 4


def test_a_search_by_pieces_begins_where_the_other_was_best_and_repeats_itself(tmp_path: Path) -> None:
    asked = []
    for name in ("a", "b"):
        make_other(tmp_path / name, {k: 2.0 + k for k in range(6)}, space={"lr_exponent": {"low": -4, "high": 0}})
        fields = by_pieces(search={"sampler": "thaw", "seed": 1, "repeatable": True}).model_dump(mode="json")
        desk = Desk(tmp_path / name, make_spec(fields | {"learn_from": "other"}, stored=True))
        best = SweepStore.open(desk.journal).load(OTHER).results()[0].params["lr_exponent"]
        crew = Crew(desk, random.Random(1))
        for _ in range(7):
            crew.begin()
            crew.train_one()
        desk.settle()
        crew = Crew(desk, random.Random(2))
        crew.search = desk.take_up()
        crew.finish()
        asked.append([(p["trunk"], p["point"], p.get("end"), p.get("decay")) for p in pieces_of(desk.trials)])
        assert desk.trials[0].params["lr_exponent"] == pytest.approx(best)
    assert asked[0] == asked[1]


def test_what_differs_and_what_is_missing_is_said(tmp_path: Path) -> None:
    store = make_other(
        tmp_path,
        {k: 1.0 + k for k in range(6)},
        {"data": "d1", "code": "c1"},
        space={"lr_exponent": {"low": -4, "high": 0}},
        budget={"steps": 80, "batch_size": 11, "reports": 4},
    )
    record = store.create(WARM, learning(), {"created": "2026", "data": "d2", "code": "c1"})
    assert record.taken
    assert record.taken.sentence == (
        f"6 ends of {OTHER}, over lr_exponent; nothing on momentum; another budget, another data there"
    )
    space = {"lr_exponent": {"low": -4, "high": 0}, "hidden": [4, 8]}
    other = store.create("third", learning(space=space, task="names", budget={"steps": 80}), {"created": "2026"})
    assert other.taken and other.taken.sentence.endswith(
        "over lr_exponent; nothing on hidden; another budget, another task there"
    )


def test_only_trials_in_the_ranges_count(tmp_path: Path) -> None:
    store = make_other(tmp_path, {k: 1.0 + k for k in range(12)}, space={"lr_exponent": {"low": -4, "high": 0}})
    narrow = learning(space={"lr_exponent": {"low": -4, "high": -1}})
    record = store.create(WARM, narrow, {"created": "2026"})
    assert record.taken and len(record.taken.trials) < 12
    assert all(-4 <= point["lr_exponent"] <= -1 for point, _ in record.taken.trials)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"from": "nobody"}, "from: unknown sweep 'nobody'; "),
        (
            {"objective": {"metric": "valid_loss", "mode": "max"}},
            f"from: {OTHER} has the objective min valid_loss, this s",
        ),
        ({"space": {"lr_exponent": {"low": 1, "high": 2}}}, f"from: of what {OTHER} searched, this space has nothing"),
    ],
)
def test_what_cannot_be_taken_is_refused(fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    store = make_other(tmp_path, {0: 1.0, 1: 2.0}, space={"lr_exponent": {"low": -4, "high": 0}})
    base = {"space": {"lr_exponent": {"low": -3, "high": 0}}, "search": {"sampler": "tpe"}, "from": "other"}
    spec = make_spec(dict(THERMOMETER) | base | fields, stored=True)
    with pytest.raises(BadInput) as refusal:
        store.create(WARM, spec, {"created": "2026"})
    assert str(refusal.value).startswith(message)
    assert not store.exists(WARM)


@pytest.mark.parametrize("sampler", ["random", "qmc", "grid"])
def test_a_sampler_that_learns_nothing_takes_nothing(sampler: str) -> None:
    space = {"lr_exponent": {"low": -3, "high": 0, "step": 0.5}}
    with pytest.raises(BadInput, match=f"from: {sampler} learns from no result, nor from another sweep's"):
        make_spec(dict(THERMOMETER) | {"search": {"sampler": sampler}, "space": space, "from": "other"})


def test_from_is_learn_from_where_from_is_a_word_of_the_language() -> None:
    one, other = learning(), make_spec(dict(THERMOMETER) | {"space": SPACE, "trials": 12, "learn_from": "other",
                                                            "search": {"sampler": "tpe", "seed": 3}})  # fmt: skip
    assert one == other and one.model_dump(mode="json")["learn_from"] == "other"
    assert make_spec(one.model_dump(mode="json"), stored=True) == one
    with pytest.raises(BadInput, match="from and learn_from are one field"):
        make_spec(dict(THERMOMETER) | {"from": "a", "learn_from": "b"})
    assert {"from", "learn_from"} <= set(SweepSpec.model_json_schema()["properties"])
