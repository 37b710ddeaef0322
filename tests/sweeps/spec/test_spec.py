"""The schema of a spec: what it takes, and what it says of what it does not know."""

from pathlib import Path
from typing import Any

import pytest

from espalier.core.errors import BadInput
from espalier.sweeps.spec.header import header
from espalier.sweeps.spec.overrides import without_search
from espalier.sweeps.spec.space import Space
from espalier.sweeps.spec.spec import SweepSpec, load_spec, make_spec
from tests.sweeps.made import spec_with
from tests.sweeps.spec.refusals import LIBRARY, refusal


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.stem)
def test_the_specs_of_the_library_are_right(path: Path) -> None:
    spec = load_spec(str(path))
    assert spec.name == path.stem
    assert make_spec(spec.model_dump(mode="json")) == spec


def test_name_and_task_are_enough_and_the_rest_has_defaults() -> None:
    spec = make_spec({"name": "a", "task": "espalier.core.tasks.names:Names"})
    assert (spec.optimizer.kind, spec.schedule.kind) == ("sgd", "step")
    assert (spec.search.sampler, spec.objective.metric, spec.objective.mode) == ("thaw", "valid_loss", "min")
    assert (spec.replicates, spec.tracking_uri) == (1, None)
    assert {spec.resources.cpus, spec.resources.gpus, spec.resources.cohorts, spec.resources.lanes} == {"auto"}


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_an_optimizer_may_be_its_name_alone(kind: str) -> None:
    assert spec_with(optimizer=kind) == spec_with(optimizer={"kind": kind})


@pytest.mark.parametrize("kind", ["constant", "step", "cosine"])
def test_a_schedule_may_be_its_name_alone(kind: str) -> None:
    assert spec_with(schedule=kind) == spec_with(schedule={"kind": kind})


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "gp", "thaw"])
def test_every_sampler_is_taken(sampler: str) -> None:
    assert spec_with(search={"sampler": sampler, "seed": 5}).search.seed == 5


def test_a_spec_survives_its_way_through_json() -> None:
    space = {
        "lr_exponent": {"low": -3, "high": 0, "step": 0.25},
        "decay_points": {"choices": [[0.5], [0.4, 0.8]]},
        "momentum": [0.0, 0.9],
        "scale": {"low": 0.01, "high": 1, "log": True},
    }
    spec = spec_with(space=space, resources={"lanes": 8, "cpus": 0.5}, tracking_uri="http://localhost:5000")
    assert SweepSpec.model_validate_json(spec.model_dump_json()) == spec
    assert make_spec(spec.model_dump(mode="json")) == spec


@pytest.mark.parametrize(
    ("changed", "field", "right"),
    [
        ({"trails": 8}, "trails", "trials"),
        ({"budget": {"step": 5}}, "budget.step", "steps"),
        ({"budget": {"batchsize": 5}}, "budget.batchsize", "batch_size"),
        ({"optimizer": {"kind": "sgd", "momentun": 0.9}}, "optimizer.momentun", "momentum"),
        ({"schedule": {"knd": "step"}}, "schedule.knd", "kind"),
        ({"search": {"samplr": "tpe"}}, "search.samplr", "sampler"),
        ({"objective": {"metrics": "valid_loss"}}, "objective.metrics", "metric"),
        ({"resources": {"gpu": 1}}, "resources.gpu", "gpus"),
        ({"space": {"lr_exponent": {"low": -3, "hihg": 0}}}, "space.lr_exponent.hihg", "high"),
        ({"space": {"decay_points": {"branchs": 3}}}, "space.decay_points.branchs", "branches"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_right_one(changed: Any, field: str, right: str) -> None:
    said = refusal(**changed)
    assert f"{field}: unknown field" in said
    assert f"did you mean '{right}'?" in said


@pytest.mark.parametrize("name", ["points", "range", "auto", "int", "list"])
def test_an_unknown_key_that_is_called_like_a_type_is_refused_like_any_other(name: str) -> None:
    assert f"{name}: unknown field" in refusal(**{name: 3})
    assert f"budget.{name}: unknown field" in refusal(budget={name: 3})


def test_a_key_that_resembles_none_is_refused_with_all_that_are_known() -> None:
    said = refusal(search={"zzz": 1})
    assert "search.zzz" in said
    assert "sampler" in said
    assert "seed" in said


@pytest.mark.parametrize("rates", [{"lr_exponent": {"low": -3, "high": 0}}, {"lr": [0.1, 0.01]}, {"lr": "auto"}, {}])
def test_where_rates_are_searched_the_search_is_by_pieces(rates: dict[str, Any]) -> None:
    spec = make_spec({"name": "a", "task": "names", "space": rates})
    assert spec.search.sampler == "thaw"
    assert make_spec({"name": "a", "task": "names", "space": rates, "search": {"seed": 3}}).search.by_pieces
    assert make_spec({"name": "a", "task": "names", "space": rates, "search": {"sampler": "auto"}}) == spec
    assert SweepSpec(name="a", task="names", space=Space(**rates)) == spec
    assert SweepSpec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize(
    "changed",
    [
        {"space": {"lr_exponent": -2, "momentum": {"low": 0, "high": 0.9}}},
        {"space": {"lr_exponent": {"low": -2, "high": -2}, "momentum": {"low": 0, "high": 0.9}}},
        {"budget": {"steps": 1}},
        {"objective": {"metric": "train_loss"}},
    ],
)
def test_where_no_rate_is_searched_or_nothing_scores_trials_on_their_way_it_is_by_tpe(changed: dict[str, Any]) -> None:
    assert make_spec({"name": "a", "task": "names", **changed}).search.sampler == "tpe"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"stopping": {"reduction": 2}}, "stopping: thaw takes its rungs and its score"),
        ({"space": {"decay_points": {"branches": 4}}}, "space.decay_points.branches: thaw branches"),
        ({"budget": {"trainings": 4}, "trials": 9}, "so 9 is not used"),
    ],
)
def test_what_a_search_by_pieces_does_not_use_is_said(changed: dict[str, Any], said: str) -> None:
    fields = {"name": "a", "task": "names", **changed}
    assert [said in note for note in make_spec(fields).notes()] == [True]
    assert make_spec({"name": "a", "task": "names", "stopping": {}}).notes() == []


@pytest.mark.parametrize("rates", [{"choices": [[0.5], "a", None]}, [None, "x"], "high", None])
def test_rates_that_are_none_are_refused_in_one_line_also_where_no_sampler_is_named(rates: object) -> None:
    with pytest.raises(BadInput, match=r"space\.lr_exponent"):
        make_spec({"name": "a", "task": "names", "space": {"lr_exponent": rates}})


def test_a_budget_in_trainings_is_of_a_search_by_pieces_alone() -> None:
    assert "budget.trainings: random asks for whole trials" in refusal(budget={"trainings": 4})
    assert "budget.trainings: input should be greater than or equal to 1" in refusal(
        budget={"trainings": 0.5}, search={"sampler": "thaw"}
    )
    assert "budget.until: random foresees nothing" in refusal(budget={"until": "settled"})
    spec = spec_with(budget={"steps": 40, "trainings": 4}, search={"sampler": "thaw"}, trials=30)
    assert (spec.trainings, spec.trials_wanted) == (4, 10)
    assert spec_with(search={"sampler": "thaw"}, trials=30).trainings == 12
    few = {trials: spec_with(search={"sampler": "thaw"}, trials=trials).trainings for trials in (1, 3, 8, 10, 20)}
    assert few == {1: 1, 3: 3, 8: 4, 10: 4, 20: 8}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"budget": {"hours": 1, "gpu_hours": 8}}, "budget: hours and gpu_hours exclude each other; keep one of them"),
        ({"budget": {"hours": 1, "trainings": 2}}, "budget: trainings and hours exclude each other"),
        ({"budget": {"hours": 0}}, "budget.hours: input should be greater than 0"),
        ({"budget": {"hours": 1}, "search": {"repeatable": True}}, "how much trains in some hours depends on the mac"),
        ({"budget": {"gpu_hours": 1}, "resources": {"gpus": 0}}, "budget.gpu_hours: this sweep trains on CPUs; write"),
    ],
)
def test_a_budget_in_time_stands_alone_and_is_no_promise_of_the_same_points(changed: dict[str, Any], said: str) -> None:
    assert said in refusal(**changed)


def test_a_budget_in_time_is_named_in_the_first_line_and_bounds_the_search_in_place_of_trials() -> None:
    spec = spec_with(budget={"steps": 40, "hours": 1.5}, trials=7)
    assert spec.budget.seconds == 5400
    assert header(spec).startswith("sweep warm: 1.5 hours of trials of 40 steps")
    assert any("the search ends when 1.5 hours are over" in note for note in spec.notes())
    assert spec.asks_late
    assert spec.open_ended
    assert without_search({"budget": {"steps": 40, "hours": 2, "gpu_hours": None}})["budget"] == {"steps": 40}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"budget": {"steps": 1}}, "search.sampler: thaw: a trial of one step has no rungs"),
        ({"objective": {"metric": "train_loss"}}, "train_loss is not; seek a valid_ metric"),
        ({"space": {"lr_exponent": -2.0}}, "thaw needs a rate, or another number, that is searched"),
        ({"space": {"lr_exponent": -2.0, "decay_points": {"low": 0.4, "high": 0.9}}}, "thaw needs a rate"),
    ],
)
def test_where_a_search_by_pieces_is_impossible_it_is_refused(changed: dict[str, Any], said: str) -> None:
    assert said in refusal(**changed, search={"sampler": "thaw"})
