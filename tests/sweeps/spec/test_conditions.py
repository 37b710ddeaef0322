"""Conditions of a space: what exists where, what a grid on it has, and which of them are refused."""

import itertools
import json
from typing import Any

import pytest

from espalier.core.errors import BadInput
from espalier.sweeps.spec.space import GRID_MOST, Space
from espalier.sweeps.spec.spec import make_spec
from tests.sweeps.made import THERMOMETER, spec_with

SGD = {"kind": "sgd"}
NESTED: dict[str, Any] = {
    "lr_exponent": [-3, -2],
    "nesterov": {"choices": [True, False], "when": {"momentum": [0.5, 0.9]}},
    "momentum": {"choices": [0, 0.5, 0.9], "when": {"kind": "sgd"}},
    "kind": ["sgd", "adam", "rmsprop"],
    "eps": {"value": 1e-8, "when": {"kind": ["adam", "rmsprop"]}},
    "warmup": {"choices": [0.1, 0.2], "when": {"lr_exponent": -2, "kind": "adam"}},
}


def space_of(**fields: Any) -> Space:
    return spec_with(space=fields).space


def by_hand(point: dict[str, Any]) -> set[str]:
    """What exists at a point of NESTED, in other words."""
    kind = point["kind"]
    names = {"lr_exponent", "kind", "decay_factor", "seed"}
    if kind == "sgd":
        names |= {"momentum"} | ({"nesterov"} if point["momentum"] else set())
    else:
        names |= {"eps"} | ({"warmup"} if kind == "adam" and point["lr_exponent"] == -2 else set())
    return names


def test_a_point_has_what_exists_there_and_nothing_else() -> None:
    space = space_of(**NESTED)
    names, values = zip(*((name, domain.choices) for name, domain in space.domains()), strict=True)  # type: ignore[union-attr]
    for sampled in itertools.product(*values):
        point = space.resolve(dict(zip(names, sampled, strict=True)))
        assert set(point) == by_hand(dict(zip(names, sampled, strict=True)))


def test_what_is_missing_depends_on_what_was_drawn() -> None:
    space = space_of(**NESTED)
    assert set(space.missing({})) == {"lr_exponent", "kind"}
    assert set(space.missing({"kind": "sgd"})) == {"lr_exponent", "momentum"}
    assert space.missing({"lr_exponent": -2, "kind": "sgd", "momentum": 0}) == []
    assert space.missing({"lr_exponent": -2, "kind": "sgd", "momentum": 0.5}) == ["nesterov"]
    assert space.missing({"lr_exponent": -3, "kind": "adam"}) == []


def test_what_others_depend_on_is_drawn_before_them() -> None:
    names = [name for name, _ in space_of(**NESTED).domains()]
    assert names.index("kind") < names.index("momentum") < names.index("nesterov")


def test_a_condition_on_a_constant_is_the_condition_of_the_constant() -> None:
    fields = {"scale": {"choices": [1.0, 2.0], "when": {"eps": 1e-8}}}
    conditions = space_of(**NESTED | fields).sampled_conditions()
    assert conditions["scale"] == {"kind": ["adam", "rmsprop"]}
    assert conditions["warmup"] == {"lr_exponent": [-2], "kind": ["adam"]}


def test_a_condition_may_name_rates_however_they_are_written() -> None:
    space = space_of(lr=[0.1, 0.01], scale={"choices": [1.0, 2.0], "when": {"lr": 0.1}})
    assert space.exists("scale", {"lr_exponent": -1.0})
    assert not space.exists("scale", {"lr_exponent": -2.0})


def test_a_condition_may_name_whole_numbers_and_steps() -> None:
    parents = {"depth": {"low": 1, "high": 5, "integer": True}, "share": {"low": 0.1, "high": 0.7, "step": 0.2}}
    space = space_of(**parents, scale={"choices": [1.0, 2.0], "when": {"depth": [2, 3], "share": 0.3}})
    assert space.exists("scale", {"depth": 3, "share": 0.1 + 0.2})
    assert not space.exists("scale", {"depth": 4, "share": 0.3})
    assert not space.exists("scale", {"depth": 3, "share": 0.5})


def test_true_is_no_one() -> None:
    space = space_of(flag=[True, 1], scale={"choices": [1.0, 2.0], "when": {"flag": True}})
    assert space.exists("scale", {"flag": True})
    assert not space.exists("scale", {"flag": 1})


def test_conditional_decay_points_are_left_out_where_they_do_not_exist() -> None:
    points = {"low": 0.4, "high": 0.9, "count": 2, "when": {"schedule": "step"}}
    space = space_of(schedule=["step", "cosine"], decay_points=points)
    sampled = {"decay_point_1": 0.7, "decay_point_2": 0.5, "lr_exponent": -1.0}
    assert space.resolve(sampled | {"schedule": "step"})["decay_points"] == [0.5, 0.7]
    assert "decay_points" not in space.resolve({"lr_exponent": -1.0, "schedule": "cosine"})
    assert {"decay_point_1", "decay_point_2"} <= set(space.missing({"schedule": "step"}))
    assert not any(name.startswith("decay") for name in space.missing({"schedule": "cosine"}))


def test_a_space_with_conditions_survives_its_way_through_json() -> None:
    space = space_of(**NESTED)
    stored = json.loads(json.dumps(space.model_dump(mode="json")))
    assert Space.model_validate(stored) == space
    assert Space.model_validate(stored).conditions == space.conditions


def test_a_space_without_conditions_is_stored_as_it_always_was() -> None:
    space = space_of(momentum={"low": 0, "high": 0.9}, hidden={"choices": [1, 2]}, decay_points={"low": 0.4})
    assert "when" not in json.dumps(space.model_dump(mode="json"))


def test_a_grid_has_points_that_differ_in_what_exists() -> None:
    spec = spec_with(space=NESTED, search={"sampler": "grid"})
    names, values = zip(*((name, domain.choices) for name, domain in spec.space.domains()), strict=True)  # type: ignore[union-attr]
    points = [spec.space.resolve(dict(zip(names, each, strict=True))) for each in itertools.product(*values)]
    distinct = {json.dumps(point, sort_keys=True) for point in points}
    assert spec.space.grid_size() == len(distinct) == 2 * (1 + 2 * 2) + (1 + 2) + 2


def test_a_grid_of_too_many_conditions_is_refused_without_counting_all_of_it() -> None:
    space = {f"on{k}": [True, False] for k in range(30)}
    space |= {f"size{k}": {"choices": [1, 2], "when": {f"on{k}": True}} for k in range(30)}
    assert space_of(**space).grid_size() > GRID_MOST


def test_many_conditions_that_share_their_parents_are_decided_at_once() -> None:
    """Each level doubles the ways up: followed one by one they would never end."""
    space: dict[str, Any] = {"a0": [1, 2], "b0": [1, 2]}
    for k in range(1, 30):
        when = {f"a{k - 1}": 1, f"b{k - 1}": 1}
        space |= {f"a{k}": {"choices": [1, 2], "when": when}, f"b{k}": {"choices": [1, 2], "when": when}}
    made = space_of(**space)
    ones = dict.fromkeys(space, 1)
    assert made.missing({"lr_exponent": -2.5} | ones) == []
    assert set(made.missing({"lr_exponent": -2.5, "a0": 1, "b0": 1})) == {"a1", "b1"}
    assert len(made.sampled_conditions()) == 58


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown name": (
        {"kind": ["sgd"], "m": {"choices": [1, 2], "when": {"kindd": "sgd"}}},
        "space.m.when: kindd is not in the space; did you mean 'kind'?",
    ),
    "a value that never comes": (
        {"kind": ["sgd", "adam"], "m": {"choices": [1, 2], "when": {"kind": "sdg"}}},
        "space.m.when: kind is never 'sdg'; it is one of sgd, adam",
    ),
    "a constant of another value": (
        {"kind": "adam", "m": {"choices": [1, 2], "when": {"kind": "sgd"}}},
        "space.m.when: kind is never 'sgd'; it is adam",
    ),
    "a value between two steps": (
        {"s": {"low": 0, "high": 1, "step": 0.5}, "m": {"choices": [1, 2], "when": {"s": 0.4}}},
        "space.m.when: s is never 0.4; it is 0 to 1 in steps of 0.5",
    ),
    "a continuous range": (
        {"s": {"low": 0, "high": 1}, "m": {"choices": [1, 2], "when": {"s": 0.4}}},
        "space.m.when: s is a continuous range, of which no value ever comes twice",
    ),
    "itself": (
        {"m": {"choices": [1, 2], "when": {"m": 1}}},
        "space.m.when: it depends on itself: m -> m",
    ),
    "a circle": (
        {
            "a": {"choices": [1, 2], "when": {"c": 1}},
            "b": {"choices": [1, 2], "when": {"a": 1}},
            "c": {"choices": [1, 2], "when": {"b": 1}},
        },
        "space.a.when: it depends on itself: a -> c -> b -> a",
    ),
    "a chain without end": (
        {"a0": [1, 2]} | {f"a{k}": {"choices": [1, 2], "when": {f"a{k - 1}": 1}} for k in range(1, 3000)},
        "more than 40 conditions one above the other",
    ),
    "a rate": (
        {"lr": {"choices": [0.1, 0.01], "when": {"kind": "sgd"}}, "kind": ["sgd", "adam"]},
        "space.lr: every trial has a rate; leave when out",
    ),
    "an exponent": (
        {"lr_exponent": {"choices": [-1, -2], "when": {"kind": "sgd"}}, "kind": ["sgd", "adam"]},
        "space.lr_exponent.when: every trial has one; leave when out",
    ),
    "a seed": (
        {"seed": {"choices": [1, 2], "when": {"kind": "sgd"}}, "kind": ["sgd", "adam"]},
        "space.seed.when: every trial has one; leave when out",
    ),
    "the other name of rates": (
        {"m": {"choices": [1, 2], "when": {"lr": 0.1}}},
        "space.m.when: lr: this space has lr_exponent; name that",
    ),
    "decay points": (
        {"decay_points": {"choices": [0.5, 0.6]}, "m": {"choices": [1, 2], "when": {"decay_points": 0.5}}},
        "space.m.when: decay_points are decided last; name another hyperparameter",
    ),
    "branches": (
        {"kind": ["a", "b"], "decay_points": {"branches": 3, "when": {"kind": "a"}}},
        "space.decay_points: branches of a trunk always have decay points; leave when or branches out",
    ),
    "no values": (
        {"kind": ["a", "b"], "m": {"choices": [1, 2], "when": {"kind": []}}},
        "space.m.when.kind: list should have at least 1 item",
    ),
    "a value without a condition": ({"m": {"value": 3}}, "space.m.when: missing; it is required"),
    "a constant with more": (
        {"kind": ["a", "b"], "m": {"value": 3, "low": 1, "when": {"kind": "a"}}},
        "space.m.low: unknown field",
    ),
}


@pytest.mark.parametrize(("space", "message"), REFUSED.values(), ids=REFUSED)
def test_a_condition_that_nobody_could_decide_is_refused_in_one_line(space: dict[str, Any], message: str) -> None:
    exponent = {} if "lr" in space else {"lr_exponent": [-2, -3]}
    with pytest.raises(BadInput) as refusal:
        make_spec({**THERMOMETER, "space": exponent | space})
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_copy_with_other_fields_knows_nothing_of_the_old_ones() -> None:
    space = space_of(**NESTED)
    assert len(list(space.domains())) == 5
    other = space.model_copy(update={"lr_exponent": -1.0, "warmup": 0.5})
    assert "warmup" not in other.conditions
    assert "lr_exponent" not in dict(other.domains())
    assert other.resolve({"kind": "rmsprop"})["warmup"] == 0.5
