"""First points in a spec: how they may be written, and which are refused."""

from typing import Any

import pytest

from espalier.core.errors import BadInput
from espalier.sweeps.spec.first import overlap
from espalier.sweeps.spec.normal_form import normal_fields
from espalier.sweeps.spec.overrides import without_search
from espalier.sweeps.spec.spec import make_spec
from tests.sweeps.made import THERMOMETER, spec_with

SPACE: dict[str, Any] = {
    "lr": {"low": 1e-4, "high": 0.1, "log": True},
    "kind": ["sgd", "adam"],
    "momentum": {"low": 0, "high": 0.75, "step": 0.25, "when": {"kind": "sgd"}},
    "depth": {"low": 1, "high": 4, "integer": True},
    "width": 64,
    "decay_points": {"low": 0.4, "high": 0.9, "count": 2},
}


def points(*first: Any, **changed: Any) -> list[dict[str, Any]]:
    return spec_with(**{"space": SPACE, "first": list(first)} | changed).first_points


def test_a_point_is_what_its_domains_make_of_it() -> None:
    whole = {"lr": 0.001, "kind": "sgd", "momentum": 0.5, "depth": 2.0, "width": 64, "decay_points": [0.8, 0.5]}
    (point,) = points(whole)
    at_points = {"decay_point_1": 0.5, "decay_point_2": 0.8}
    assert point == {"lr_exponent": -3.0, "kind": "sgd", "momentum": 0.5, "depth": 2, **at_points}
    assert type(point["depth"]) is int


def test_points_may_be_in_part_and_keep_their_order() -> None:
    assert points({"lr": 0.1}, {}, {"lr_exponent": -4}) == [{"lr_exponent": -1.0}, {}, {"lr_exponent": -4.0}]


@pytest.mark.parametrize("written", [0.6, [0.6]])
def test_a_choice_of_decay_points_is_meant_however_it_is_written(written: Any) -> None:
    space = {"lr_exponent": [-2, -3], "decay_points": {"choices": [[0.5, 0.8], 0.6]}}
    assert points({"decay_points": written}, {"decay_points": [0.8, 0.5]}, space=space) == [
        {"decay_points": 0.6},
        {"decay_points": [0.5, 0.8]},
    ]


def test_rates_that_are_listed_are_met() -> None:
    assert points({"lr": 0.03}, space={"lr": [0.1, 0.03, 0.01]}) == [{"lr_exponent": pytest.approx(-1.5228787)}]


def test_a_rate_that_a_range_test_is_to_find_may_be_named() -> None:
    assert points({"lr": 0.01}, space={"lr": "auto"}) == [{"lr_exponent": -2.0}]


def test_a_hyperparameter_may_be_called_best() -> None:
    assert points({"best": 2}, space={"lr_exponent": [-2, -3], "best": [1, 2]}) == [{"best": 2}]


def test_what_a_sweep_found_stands_beside_what_was_written_and_is_no_other_spec() -> None:
    written = {"best": "names-20260101-abcd"}
    found = written | {"resolved": [{"of": "names-20260101-abcd", "trial": 3, "point": {"lr_exponent": -3.0}}]}
    assert points(written) == []
    assert points(found) == [{"lr_exponent": -3.0}]
    before, after = (spec_with(space=SPACE, first=[entry]) for entry in (written, found))
    assert normal_fields(before) == normal_fields(after)


def test_that_pieces_take_no_decay_points_is_said() -> None:
    space = {"lr_exponent": {"low": -3, "high": -1}, "decay_points": {"low": 0.4, "high": 0.9}}
    first = {"lr_exponent": -2, "decay_points": 0.5}
    spec = spec_with(space=space, search={"sampler": "thaw"}, schedule="step", first=[first])
    assert any(note.startswith("first: where trials share trunks, thaw itself decides") for note in spec.notes())
    assert not any(note.startswith("first") for note in spec_with(space=space, first=[first]).notes())


def test_a_space_without_rates_takes_points_without_them() -> None:
    fields = {"name": "a", "function": "a.py:train", "space": {"width": [1, 2]}}
    assert make_spec(fields | {"first": [{"width": 2}]}).first_points == [{"width": 2}]
    with pytest.raises(BadInput, match=r"first.0.lr: the space has no lr; known here: seed, width"):
        make_spec(fields | {"first": [{"lr": 0.1}]})


def test_what_trains_a_single_trial_has_no_first_points() -> None:
    spec = spec_with(space=SPACE, first=[{"lr": 0.01}])
    assert make_spec(without_search(spec.model_dump(mode="json"))).first == []


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "beyond a range": ({"lr": 1}, "first.0.lr: 1 lies outside 0.0001 ... 0.1"),
    "no rate": ({"lr": 0}, "first.0.lr: 0 is no rate; give a number above 0"),
    "beyond exponents": ({"lr_exponent": 1}, "first.0.lr_exponent: 1 lies outside -4 ... -1"),
    "both": ({"lr": 0.01, "lr_exponent": -2}, "first.0: lr and lr_exponent both stand there; keep one of them"),
    "no number": ({"depth": "deep"}, "first.0.depth: 'deep' is no number"),
    "true": ({"depth": True}, "first.0.depth: True is no number"),
    "no whole number": ({"depth": 2.5}, "first.0.depth: 2.5 lies between two steps of 1 from 1"),
    "between steps": (
        {"kind": "sgd", "momentum": 0.3},
        "first.0.momentum: 0.3 lies between two steps of 0.25 from 0",
    ),
    "not listed": ({"kind": "sdg"}, "first.0.kind: 'sdg' is none of sgd, adam"),
    "another constant": ({"width": 32}, "first.0.width: 32 is not 64"),
    "an unknown name": ({"widht": 64}, "first.0.widht: the space has no widht; did you mean 'width'?"),
    "absent there": ({"kind": "adam", "momentum": 0.5}, "first.0: momentum exists only where kind is sgd"),
    "perhaps absent": ({"momentum": 0.5}, "first.0: momentum exists only where kind is sgd; say that beside it"),
    "too few points": ({"decay_points": 0.5}, "first.0.decay_points: 1 point arrived; a trial has 2"),
    "points beyond": ({"decay_points": [0.5, 0.95]}, "first.0.decay_points: 0.95 lies outside 0.4 ... 0.9"),
    "points of texts": ({"decay_points": [0.5, "late"]}, "first.0.decay_points: 'late' is no number"),
    "no sweep": ({"best": 3}, "first.0: 3 is no sweep; write the id of one"),
    "none of a sweep": ({"top": 0, "of": "names"}, "first.0.top: 0 arrived; write how many points"),
    "of no sweep": ({"top": 3}, "first.0.top: the space has no top"),
    "resolved by hand": (
        {"best": "names", "resolved": 3},
        "first.0.resolved: it is written by the sweep; leave it out",
    ),
}


@pytest.mark.parametrize(("entry", "message"), REFUSED.values(), ids=REFUSED)
def test_a_point_that_is_none_of_the_space_is_refused_in_one_line(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput) as refusal:
        make_spec({**THERMOMETER, "space": SPACE, "first": [entry]})
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("first", [3, [3], ["lr"], {"lr": 0.1}])
def test_what_is_no_list_of_points_is_refused_in_one_line(first: Any) -> None:
    with pytest.raises(BadInput, match=r"^spec: first"):
        make_spec({**THERMOMETER, "first": first})


def test_there_are_no_more_points_than_trials() -> None:
    with pytest.raises(BadInput, match="first: 7 points, and 6 are trained at most; raise trials, or leave some out"):
        points(*[{}] * 7)


def test_of_another_sweeps_point_a_space_takes_what_it_has() -> None:
    theirs = {"lr_exponent": -2.0, "kind": "sgd", "momentum": 0.5, "depth": 9, "scale": 1.0, "decay_points": [0.7]}
    space = spec_with(space=SPACE).space
    assert overlap(space, theirs) == {"lr_exponent": -2.0, "kind": "sgd", "momentum": 0.5}
    assert overlap(space, theirs | {"kind": "lion"}) == {"lr_exponent": -2.0}, "what depends on it goes with it"
