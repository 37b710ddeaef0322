"""A wrong value is refused by its field, by what arrived and by what would work."""

import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from espalier.core.errors import BadInput
from espalier.core.schedules.registry import SCHEDULES
from espalier.sweeps import cohorts as plan
from espalier.sweeps.spec.spec import SweepSpec, make_spec
from tests.sweeps.made import THERMOMETER, spec_with
from tests.sweeps.spec.refusals import refusal

WRONG = [
    ({"name": "no spaces"}, ["name", "no spaces"]),
    ({"name": ""}, ["name"]),
    ({"name": "a" * 41}, ["name", "a" * 41]),
    ({"trials": 0}, ["trials", "0 arrived", "greater than or equal to 1"]),
    ({"trials": -3}, ["trials", "-3"]),
    ({"trials": "many"}, ["trials", "many", "integer"]),
    ({"replicates": 0}, ["replicates", "0 arrived", "1"]),
    ({"budget": {"steps": 0}}, ["budget.steps", "0 arrived", "1"]),
    ({"budget": {"steps": 1.5}}, ["budget.steps", "1.5", "integer"]),
    ({"budget": {"batch_size": 0}}, ["budget.batch_size", "0 arrived", "1"]),
    ({"budget": {"reports": 0}}, ["budget.reports", "0 arrived", "1"]),
    ({"budget": 5}, ["budget", "5"]),
    ({"optimizer": "sdg"}, ["optimizer", "sdg", "sgd", "adam", "adamw"]),
    ({"optimizer": {"kind": "sgd", "momentum": 1.0}}, ["optimizer.momentum", "1.0", "less than 1"]),
    ({"optimizer": {"kind": "sgd", "weight_decay": -1}}, ["optimizer.weight_decay", "-1", "0"]),
    ({"optimizer": {"kind": "sgd", "beta1": 0.9}}, ["optimizer", "beta1", "momentum"]),
    ({"stopping": {}, "objective": {"metric": "train_loss"}}, ["stopping", "train_loss", "valid_ metric"]),
    ({"stopping": {"reduction": float("inf")}}, ["stopping.reduction", "finite", "inf arrived"]),
    (
        {"stopping": True},
        ["stopping: True", "{} for the defaults", "rungs, reduction, least, score, probe_share, probe"],
    ),
    (
        {"resources": {"lanes": 0}},
        ["resources.lanes: input should be greater than or equal to 1, or 'auto'; 0 arrived"],
    ),
    ({"space": {"decay_points": 0.5}}, ["space.decay_points: 0.5", "[0.5]", "low: 0.3, high: 0.9"]),
    ({"space": {"decay_points": [True]}}, ["space.decay_points", "a decay point of True"]),
    ({"space": {"decay_points": {"choices": [0.5], "branches": 4}}}, ["branches with choices", "stands alone"]),
    ({"space": {"decay_points": {"choices": [[0.5], [0.2, "abc"]]}}}, ["space.decay_points: a decay point of 'abc'"]),
    ({"space": {"decay_points": [k / 20 for k in range(17)]}}, ["'step' has 16 decay points at most"]),
    ({"optimizer": {"kind": "adam", "momentum": 0.9}}, ["optimizer", "momentum", "beta1"]),
    ({"optimizer": {"kind": "adamw", "nesterov": True}}, ["optimizer", "nesterov", "beta1"]),
    ({"optimizer": {"kind": "adam", "eps": 0}}, ["optimizer.eps", "0"]),
    ({"schedule": "stair"}, ["schedule", "stair", "constant", "step", "cosine"]),
    ({"schedule": {"kind": "cosine", "floor": 1.5}}, ["schedule.floor", "1.5", "1"]),
    ({"search": {"sampler": "bayes"}}, ["search.sampler", "bayes", "tpe", "random", "qmc", "grid", "gp"]),
    ({"objective": {"mode": "minimum"}}, ["objective.mode", "minimum", "min", "max"]),
    ({"resources": {"cpus": 0}}, ["resources.cpus", "0"]),
    ({"resources": {"gpus": -1}}, ["resources.gpus", "-1"]),
    ({"resources": {"lanes": "some"}}, ["resources.lanes", "some"]),
    ({"resources": {"program": "jit"}}, ["resources.program", "jit", "plain", "vmap"]),
    ({"resources": {"precision": "float16"}}, ["resources.precision", "float16", "float32", "float64"]),
    ({"task": 5}, ["task", "5"]),
    ({"space": {"lr_exponent": {"low": 0, "high": -3}}}, ["space.lr_exponent", "low 0", "high -3", "exceed"]),
    ({"space": {"lr_exponent": {"low": 0}}}, ["space.lr_exponent.high", "missing"]),
    ({"space": {"lr_exponent": "small"}}, ["space.lr_exponent", "small", "number", "-40"]),
    ({"space": {"lr_exponent": {"low": -50, "high": 0}}}, ["space.lr_exponent", "-50", "[-40, 40]"]),
    ({"space": {"lr_exponent": [-1, None]}}, ["space.lr_exponent", "None", "number"]),
    ({"space": {"lr_exponent": []}}, ["space.lr_exponent"]),
    ({"space": {"lr_exponent": {"choices": []}}}, ["space.lr_exponent"]),
    ({"space": {"lr_exponent": {"low": math.nan, "high": 0}}}, ["space.lr_exponent", "nan"]),
    ({"space": {"lr_exponent": {"low": -3, "high": 0, "log": True}}}, ["space.lr_exponent", "-3", "above 0"]),
    ({"space": {"scale": {"low": 0.1, "high": 1, "log": True, "step": 0.1}}}, ["space.scale", "log", "step"]),
    ({"space": {"scale": {"low": 0.5, "high": 4, "integer": True}}}, ["space.scale", "0.5", "whole"]),
    ({"space": {"scale": {"low": 1, "high": 4, "step": 0}}}, ["space.scale.step", "0"]),
    ({"space": {"decay_factor": 1.5}}, ["space.decay_factor", "1.5", "[0, 1]"]),
    ({"space": {"momentum": {"low": 0, "high": 1.5}}}, ["space.momentum", "1.5", "[0, 1)"]),
    ({"space": {"momentum": 1}}, ["space.momentum: 1 is no number in [0, 1)"]),
    ({"space": {"momentum": [0.9, 1.0]}}, ["space.momentum: 1.0 is no number in [0, 1)"]),
    ({"budget": {"reports": 10_001}}, ["budget.reports", "10001 arrived", "less than or equal to 10000"]),
    ({"replicates": 1001}, ["replicates", "1001 arrived", "less than or equal to 1000"]),
    ({"space": {"weight_decay": -0.1}}, ["space.weight_decay", "-0.1"]),
    ({"space": {"warmup": 2}}, ["space.warmup", "2", "[0, 1]"]),
    ({"space": {"warmup": True}}, ["space.warmup", "True", "number"]),
    ({"space": {"seed": -1}}, ["space.seed", "-1", "whole", "0"]),
    ({"space": {"seed": 0.5}}, ["space.seed", "0.5", "whole"]),
    ({"space": {"seed": {"low": 0, "high": 9}}}, ["space.seed", "integer"]),
    ({"space": {"batch_size": [16, 0]}}, ["space.batch_size", "0", "whole"]),
    ({"space": {"batch_size": {"low": 16, "high": 64}}}, ["space.batch_size", "integer"]),
    ({"space": {"decay_points": {"low": 0.5, "high": 1.5}}}, ["space.decay_points.high", "1.5", "1"]),
    ({"space": {"decay_points": {"low": -0.5}}}, ["space.decay_points.low", "-0.5", "0"]),
    ({"space": {"decay_points": {"low": 0.8, "high": 0.4}}}, ["space.decay_points", "low 0.8", "high 0.4"]),
    ({"space": {"decay_points": {"count": 0}}}, ["space.decay_points.count", "0"]),
    ({"space": {"decay_points": {"branches": 0}}}, ["space.decay_points.branches", "0"]),
    ({"space": {"decay_points": [0.5, 1.5]}}, ["space.decay_points", "1.5", "1"]),
    ({"space": {"decay_points": {"choices": [[0.5], [0.7, 1.5]]}}}, ["space.decay_points", "1.5", "[0, 1]"]),
    ({"space": {"decay_points": 0.5}}, ["space.decay_points", "0.5"]),
    ({"space": 5}, ["space", "5"]),
    ({"task_options": [1]}, ["task_options"]),
]


@pytest.mark.parametrize(("changed", "words"), WRONG, ids=lambda value: str(value)[:60])
def test_a_wrong_value_is_refused_by_field_by_what_arrived_and_by_what_would_work(
    changed: Any, words: list[str]
) -> None:
    said = refusal(**changed)
    for word in words:
        assert word in said
    assert "Value error" not in said


NUMBERS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "health.hot": lambda value: {"health": {"hot": value}},
    "health.stuck": lambda value: {"health": {"stuck": value}},
    "optimizer.weight_decay": lambda value: {"optimizer": {"weight_decay": value}},
    "optimizer.eps": lambda value: {"optimizer": {"kind": "adam", "eps": value}},
    "schedule.power": lambda value: {"schedule": {"kind": "polynomial", "power": value}},
    "schedule.phases.0.2": lambda value: {"schedule": {"kind": "phases", "phases": [[1, "linear", value, 0]]}},
    "resources.cpus": lambda value: {"resources": {"cpus": value}},
    "trials": lambda value: {"trials": value},
    "budget.steps": lambda value: {"budget": {"steps": value}},
    "space.lr_exponent.low": lambda value: {"space": {"lr_exponent": {"low": value, "high": 0}}},
    "space.decay_points.count": lambda value: {"space": {"decay_points": {"count": value}}},
}
FREE: dict[str, Callable[[Any], dict[str, Any]]] = {
    "task_options.scale": lambda value: {"task_options": {"scale": value}},
    "task_options.scales": lambda value: {"task_options": {"scales": {"of": [1.0, value]}}},
    "space.scale": lambda value: {"space": {"scale": value}},
    "space.scale.1": lambda value: {"space": {"scale": [0.5, value]}},
    "space.scale.choices.1": lambda value: {"space": {"scale": {"choices": [0.5, value]}}},
}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=str)
@pytest.mark.parametrize(("field", "changed"), [*NUMBERS.items(), *FREE.items()], ids=[*NUMBERS, *FREE])
def test_a_number_that_is_not_finite_is_refused_wherever_it_stands(
    field: str, changed: Callable[[Any], dict[str, Any]], value: float
) -> None:
    said = refusal(**changed(value))
    assert f"{field}: " in said
    assert "finite number" in said
    assert repr(value) in said


def test_a_word_that_reads_as_no_number_is_refused_for_a_number() -> None:
    assert "finite number; 'nan' arrived" in refusal(health={"hot": "nan"})


@pytest.mark.parametrize("field", [field for field in NUMBERS if "phases" not in field])
def test_true_and_false_are_no_numbers(field: str) -> None:
    for value in (True, False):
        assert f"{field}: {value} is no number" in refusal(**NUMBERS[field](value))


def test_true_and_a_number_in_quotes_stay_what_they_are_where_they_fit() -> None:
    spec = spec_with(trials="8", optimizer={"nesterov": True}, space={"scale": [True, False]}, task_options={"a": True})
    assert (spec.trials, spec.optimizer.nesterov, spec.task_options) == (8, True, {"a": True})
    assert spec.space.own() == {"scale": [True, False]}


def test_options_that_hold_themselves_are_refused() -> None:
    options: list[Any] = [1.0]
    options.append(options)
    assert "task_options.a.1: more than 40 levels" in refusal(task_options={"a": options})


@pytest.mark.parametrize(
    ("space", "points"),
    [
        ({"lr_exponent": {"low": -3, "high": 0, "step": 1e-7}}, "30,000,001"),
        ({"lr_exponent": -1, **{name: {"low": 1, "high": 101, "integer": True} for name in "abc"}}, "1,030,301"),
        ({"lr_exponent": -1, "scale": {"low": -1e10, "high": 1e10, "step": 1e-9}}, "1,000,000,000,000,000,001"),
    ],
)
def test_a_grid_that_nobody_could_write_down_is_refused_at_once(space: dict[str, Any], points: str) -> None:
    said = refusal(search={"sampler": "grid"}, space=space)
    assert f"space: a grid of {points} points; 1,000,000 at most" in said
    spec_with(search={"sampler": "random"}, space=space)


def test_a_sampler_to_which_stopped_trials_teach_nothing_is_noted_and_not_refused() -> None:
    (note,) = spec_with(search={"sampler": "gp"}, stopping={}).notes()
    assert "gp learns from complete trials alone" in note
    said = json.dumps(SweepSpec.model_json_schema()["$defs"]["Search"]["properties"]["sampler"])
    assert "gp learns from complete trials alone" in said
    for fields in ({"search": {"sampler": "gp"}}, {"stopping": {}}, {"search": {"sampler": "tpe"}, "stopping": {}}):
        assert spec_with(**fields).notes() == []


def test_several_wrong_fields_are_named_together() -> None:
    said = refusal(trials=0, budget={"steps": 0}, serach={})
    assert all(field in said for field in ("trials", "budget.steps", "serach"))


@pytest.mark.parametrize("field", ["name", "task"])
def test_a_missing_field_is_named(field: str) -> None:
    fields = {key: value for key, value in THERMOMETER.items() if key != field}
    with pytest.raises(BadInput, match=f"{field}: missing"):
        make_spec(fields)


@pytest.mark.parametrize("fields", [None, [], "text", 5])
def test_what_is_no_mapping_is_no_spec(fields: Any) -> None:
    with pytest.raises(BadInput, match="mapping"):
        make_spec(fields)


@pytest.mark.parametrize("name", ["lr_exponent", "decay_factor", "warmup", "seed"])
def test_a_hyperparameter_that_every_trial_needs_cannot_be_null(name: str) -> None:
    assert f"space.{name}" in refusal(space={name: None})


@pytest.mark.parametrize("name", ["scale", "seed", "batch_size", "weight_decay"])
@pytest.mark.parametrize("integer", [False, True])
def test_a_range_without_an_end_is_refused(name: str, integer: bool) -> None:
    assert f"space.{name}" in refusal(space={name: {"low": 1, "high": math.inf, "integer": integer}})


@pytest.mark.parametrize("step", [0.5, 2.5])
def test_whole_numbers_cannot_be_a_fraction_apart(step: float) -> None:
    said = refusal(space={"batch_size": {"low": 1, "high": 9, "integer": True, "step": step}})
    assert "space.batch_size" in said
    assert f"{step}" in said


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_of_the_search_that_no_generator_takes_is_refused(seed: int) -> None:
    assert "search.seed" in refusal(search={"seed": seed})


def test_a_seed_of_a_trial_that_no_generator_takes_is_refused() -> None:
    assert "space.seed" in refusal(space={"seed": 2**64})


@pytest.mark.parametrize(
    ("schedule", "points"),
    [
        ("constant", {"count": 1}),
        ("cosine", {"count": 2}),
        ("linear", [0.2, 0.4]),
        ("wsd", {"choices": [0.5, [0.2, 0.4]]}),
        ({"kind": "phases", "phases": [[1, "linear", 1, 0]]}, [0.5]),
    ],
)
def test_decay_points_need_a_schedule_that_has_as_many(schedule: Any, points: Any) -> None:
    said = refusal(schedule=schedule, space={"decay_points": points})
    assert "space.decay_points" in said
    assert (schedule if isinstance(schedule, str) else schedule["kind"]) in said
    assert "'step'" in said


@pytest.mark.parametrize("kind", [kind for kind in SCHEDULES if SCHEDULES[kind].decay_points == 1])
def test_where_the_rate_falls_once_a_decay_point_says_from_where(kind: str) -> None:
    spec = spec_with(schedule=kind, space={"decay_points": {"low": 0.3, "high": 0.6, "branches": 4}})
    assert spec.space.branches == 4


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"schedule": {"kind": "cosine", "power": 2}}, ["schedule.power", "'cosine' has none", "'polynomial'"]),
        ({"space": {"div": [5, 25]}}, ["space.div", "'step' has none", "'onecycle'"]),
        ({"schedule": {"kind": "linear", "floor": 0.1}, "space": {"floor": [0.1]}}, ["space.floor", "keep one"]),
        ({"schedule": {"kind": "exponential", "floor": 0}}, ["floor", "never reaches 0"]),
        ({"schedule": "exponential", "space": {"floor": {"low": 0, "high": 0.1}}}, ["floor", "never reaches 0"]),
        ({"schedule": "phases"}, ["schedule.phases"]),
        ({"schedule": {"kind": "cosine", "phases": [[1, "linear", 1, 0]]}}, ["schedule.phases"]),
        ({"schedule": {"kind": "phases", "phases": [[0.5, "linear", 1, 0]]}}, ["add up to 0.5"]),
        ({"schedule": {"kind": "phases", "phases": [[1, "linaer", 1, 0]]}}, ["linaer", "linear"]),
        ({"space": {"schedule": ["cosine", "lin"]}}, ["space.schedule", "'lin'", "linear"]),
        ({"schedule": "polynomial", "space": {"power": [0, 1]}}, ["space.power", "0 is no number in [0.001"]),
    ],
)
def test_a_wrong_number_of_a_schedule_is_refused(changed: dict[str, Any], words: list[str]) -> None:
    said = refusal(**changed)
    assert all(word in said for word in words), said


def test_the_kind_of_schedule_may_be_searched_and_parts_cohorts() -> None:
    spec = spec_with(space={"schedule": ["cosine", "linear", "wsd-sqrt"], "floor": {"low": 0.01, "high": 0.1}})
    assert spec.schedule_kinds() == ["cosine", "linear", "wsd-sqrt"]
    points = [
        spec.space.resolve({"lr_exponent": -2, "schedule": kind, "floor": 0.05}) for kind in spec.schedule_kinds()
    ]
    assert [plan.structure(spec, point).schedule for point in points] == spec.schedule_kinds()
    assert len({plan.structural_key(spec, point) for point in points}) == 3
    assert dict(plan.hyperparameters(spec, points[0]).numbers)["floor"] == 0.05


@pytest.mark.parametrize("name", ["momentum", "weight_decay"])
def test_a_number_stands_in_the_space_or_under_the_optimizer_but_not_in_both(name: str) -> None:
    said = refusal(optimizer={"kind": "sgd", name: 0.5}, space={name: [0.1, 0.2]})
    assert f"space.{name}" in said
    assert "optimizer" in said


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_momentum_in_the_space_needs_an_optimizer_that_has_it(kind: str) -> None:
    said = refusal(optimizer=kind, space={"momentum": 0.9})
    assert "space.momentum" in said
    assert kind in said


def test_a_grid_needs_its_points() -> None:
    said = refusal(search={"sampler": "grid"}, space={"lr_exponent": {"low": -3, "high": 0}})
    assert "space.lr_exponent" in said
    assert "step" in said
    spec_with(search={"sampler": "grid"}, space={"lr_exponent": {"low": -3, "high": 0, "step": 1}})
