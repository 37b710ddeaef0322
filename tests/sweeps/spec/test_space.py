"""The search space: domains, and how what was sampled becomes a point."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from espalier.sweeps.spec.space import Choice, DecayPoints, Range, Space, extremes


def space_of(**fields: Any) -> Space:
    return Space.model_validate(fields)


# --- any space, and any sample of it ----------------------------------------------------------------------------------

NUMBER = st.floats(-30, 30).map(lambda x: round(x, 3) + 0.0)
POSITIVE = st.floats(1e-3, 30).map(lambda x: round(x, 4))


@st.composite
def ranges(draw: Any) -> dict[str, Any]:
    kind = draw(st.sampled_from(["linear", "log", "stepped", "integer"]))
    if kind == "integer":
        low, high = sorted([draw(st.integers(1, 40)), draw(st.integers(1, 40))])
        return {"low": low, "high": high, "integer": True}
    low, high = sorted([draw(POSITIVE if kind == "log" else NUMBER) for _ in range(2)])
    more = {"log": {"log": True}, "stepped": {"step": draw(POSITIVE)}}.get(kind, {})
    return {"low": low, "high": high, **more}


LISTED = st.lists(NUMBER, min_size=1, max_size=4, unique=True)
DOMAINS = st.one_of(ranges(), NUMBER, LISTED, LISTED.map(lambda values: {"choices": values}))
SHARES = st.floats(0, 1).map(lambda x: round(x, 3) + 0.0)


@st.composite
def point_domains(draw: Any) -> Any:
    low, high = sorted([draw(SHARES), draw(SHARES)])
    sampled = {"low": low, "high": high, "count": draw(st.integers(1, 4)), "branches": draw(st.integers(1, 4))}
    several = st.lists(st.lists(SHARES, min_size=1, max_size=3), min_size=1, max_size=3)
    return draw(
        st.one_of(st.none(), st.just(sampled), st.lists(SHARES, max_size=3), several.map(lambda c: {"choices": c}))
    )


@st.composite
def spaces(draw: Any) -> Space:
    names = ["lr_exponent", "decay_factor", "momentum", "weight_decay", "warmup", "hidden", "scale"]
    chosen = draw(st.lists(st.sampled_from(names), unique=True))
    return space_of(**{name: draw(DOMAINS) for name in chosen}, decay_points=draw(point_domains()))


def draw_from(data: st.DataObject, domain: Range | Choice) -> Any:
    """Draw as a search does."""
    if isinstance(domain, Choice):
        return data.draw(st.sampled_from(domain.choices))
    if domain.integer:
        return data.draw(st.integers(int(domain.low), int(domain.high)))
    if domain.step:
        return domain.low + domain.step * data.draw(st.integers(0, int((domain.high - domain.low) / domain.step)))
    return data.draw(st.floats(domain.low, domain.high))


def lies_in(value: Any, domain: Any) -> bool:
    if isinstance(domain, Range):
        return domain.low <= value <= domain.high + 1e-9 and (not domain.integer or value == int(value))
    if isinstance(domain, Choice):
        return value in domain.choices
    return value in domain if isinstance(domain, list) else value == domain


@given(spaces(), st.data())
def test_any_point_lies_in_its_space(space: Space, data: st.DataObject) -> None:
    point = space.resolve({name: draw_from(data, domain) for name, domain in space.domains()})
    named = {name: getattr(space, name) for name in type(space).model_fields} | space.own()
    points = named.pop("decay_points")
    assert set(point) == {name for name, domain in named.items() if domain is not None} | (
        set() if points is None else {"decay_points"}
    )
    assert all(lies_in(point[name], domain) for name, domain in named.items() if domain is not None)
    if points is not None:
        assert point["decay_points"] == sorted(point["decay_points"])
        assert all(0 <= share <= 1 for share in point["decay_points"])
    if isinstance(points, DecayPoints):
        assert len(point["decay_points"]) == points.count
        assert all(points.low <= share <= points.high for share in point["decay_points"])
    if isinstance(points, list):
        assert point["decay_points"] == sorted(points)


@given(spaces())
def test_a_space_survives_its_way_through_json(space: Space) -> None:
    assert Space.model_validate(space.model_dump(mode="json")) == space


# --- domains ----------------------------------------------------------------------------------------------------------


def test_a_constant_is_not_sampled() -> None:
    space = space_of(lr_exponent=-1.5, hidden=64, batchnorm=True, kind="relu")
    assert list(space.domains()) == []
    point = space.resolve({})
    assert (point["lr_exponent"], point["hidden"], point["batchnorm"], point["kind"]) == (-1.5, 64, True, "relu")


def test_a_list_means_a_choice() -> None:
    assert list(space_of(lr_exponent=[-2, -1]).domains()) == list(space_of(lr_exponent={"choices": [-2, -1]}).domains())


def test_a_choice_keeps_the_types_of_its_values() -> None:
    (_, domain), *_ = space_of(lr_exponent=-1, hidden=[32, 64]).domains()
    assert [type(value) for value in domain.choices] == [int, int]
    (_, domain), *_ = space_of(lr_exponent=-1, flag=[True, False]).domains()
    assert [type(value) for value in domain.choices] == [bool, bool]


def test_decay_points_are_sampled_each_by_a_name_of_its_own() -> None:
    space = space_of(lr_exponent=-1, decay_points={"count": 3, "low": 0.2, "high": 0.8})
    assert [name for name, _ in space.domains()] == ["decay_point_1", "decay_point_2", "decay_point_3"]
    sampled = {"decay_point_1": 0.7, "decay_point_2": 0.3, "decay_point_3": 0.5}
    assert space.resolve(sampled)["decay_points"] == [0.3, 0.5, 0.7]


def test_decay_points_may_be_chosen_between() -> None:
    space = space_of(lr_exponent=-1, decay_points={"choices": [[0.8, 0.5], 0.6]})
    assert space.resolve({"decay_points": [0.8, 0.5]})["decay_points"] == [0.5, 0.8]
    assert space.resolve({"decay_points": 0.6})["decay_points"] == [0.6]


def test_what_the_engine_does_not_know_is_the_tasks_own() -> None:
    assert set(space_of(lr_exponent=-1, hidden=[8, 16], scale=1.0).own()) == {"hidden", "scale"}


def test_the_branches_of_a_trunk_are_one_unless_said() -> None:
    assert space_of().branches == 1
    assert space_of(decay_points=[0.5]).branches == 1
    assert space_of(decay_points={"branches": 5}).branches == 5


@pytest.mark.parametrize(
    ("domain", "ends"),
    [
        (Range(low=1, high=4, integer=True), [1, 4]),
        (Range(low=0.5, high=4), [0.5, 4.0]),
        (Choice(choices=[3, 1, 2]), [3, 1, 2]),
        ([True, "a"], [True, "a"]),
        (0.25, [0.25]),
        (None, [None]),
    ],
    ids=str,
)
def test_the_extremes_of_a_domain_are_its_ends_or_all_it_lists(domain: Any, ends: list[Any]) -> None:
    assert extremes(domain) == ends
    assert [type(value) for value in extremes(domain)] == [type(value) for value in ends]


@pytest.mark.parametrize(
    "fields",
    [
        {"low": 1, "high": 0},
        {"low": -1, "high": 1, "log": True},
        {"low": 0, "high": 1, "log": True},
        {"low": 1, "high": 2, "log": True, "step": 1},
        {"low": 0.5, "high": 2, "integer": True},
        {"low": 0, "high": 2, "step": -1},
        {"low": 0, "high": math.inf},
        {"low": math.nan, "high": 1},
        {"low": 0, "high": 1, "middle": 0.5},
    ],
    ids=str,
)
def test_a_range_that_cannot_be_is_refused(fields: Any) -> None:
    with pytest.raises(ValidationError):
        Range.model_validate(fields)


def test_a_range_may_be_one_number() -> None:
    assert extremes(Range(low=2, high=2)) == [2, 2]
