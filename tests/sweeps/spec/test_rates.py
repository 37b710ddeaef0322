"""Exponents that look like rates are refused, and rates may be written in place of exponents."""

import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.errors import BadInput
from espalier.sweeps import cohorts as plan
from espalier.sweeps.checks.lr_range import run_test
from espalier.sweeps.search.store import SweepStore
from espalier.sweeps.spec.overrides import override
from espalier.sweeps.spec.space import Range
from espalier.sweeps.spec.spec import SweepSpec, make_spec
from tests.sweeps.made import THERMOMETER, best_fields, read_best, spec_with
from tests.sweeps.spec.refusals import refusal

MISREAD: list[tuple[Any, str]] = [
    ({"low": 1e-5, "high": 1e-1}, "lr: {low: 1e-05, high: 0.1, log: true}"),
    ({"low": 1e-5, "high": 1e-1, "log": True}, "lr: {low: 1e-05, high: 0.1, log: true}"),
    ({"low": 0.001, "high": 1}, "lr: {low: 0.001, high: 1, log: true}"),
    ({"low": 0.1, "high": 1, "step": 0.1}, "lr: {low: 0.1, high: 1, log: true}"),
    ({"low": 0, "high": 0.1}, "lr: {low: 0.0001, high: 0.1, log: true}"),
    ({"low": 1e-4, "high": 10, "log": True}, "lr: {low: 0.0001, high: 10, log: true}"),
    ([0.1, 0.01], "lr: [0.1, 0.01]"),
    ({"choices": [0.1, 0.01, 0.001]}, "lr: [0.1, 0.01, 0.001]"),
    ([0, 0.1], "lr: [0, 0.1]"),
    (0.001, "lr: 0.001"),
    (1, "lr: 1"),
    ([0.001], "lr: [0.001]"),
    ({"low": 1e-5, "high": 2}, "lr: {low: 1e-05, high: 2, log: true}"),
    ([0.01, 3], "lr: [0.01, 3]"),
]


@pytest.mark.parametrize(("domain", "meant"), MISREAD)
def test_exponents_that_look_like_rates_are_refused_with_both_meanings(domain: Any, meant: str) -> None:
    said = refusal(space={"lr_exponent": domain})
    assert f"if rates were meant, write {meant}; if exponents, lr: " in said
    assert "space.lr_exponent: exponents" in said


@pytest.mark.parametrize(
    "domain",
    [
        *({"low": -2, "high": 0.5}, {"low": 0, "high": 0.5}, {"low": -1, "high": 1}, {"low": 0, "high": 1}, -1, 0, 1.5),
        *([-3, -2], [-1, 0, 1], {"low": -3, "high": -1, "step": 0.5}, [-2, 0.5], {"low": 0.5, "high": 1.5}, "auto"),
        *({"low": 0, "high": 0}, {"low": -3, "high": 0.1}, [0, 0.5]),
    ],
)
def test_exponents_are_taken(domain: Any) -> None:
    spec_with(space={"lr_exponent": domain})


def test_a_logarithmic_range_of_exponents_below_0_is_told_to_leave_log_out() -> None:
    said = refusal(space={"lr_exponent": {"low": -5, "high": -1, "log": True}})
    assert "space.lr_exponent: low -5 with log" in said and "leave log out" in said


@pytest.mark.parametrize(
    ("rates", "exponents"),
    [
        ({"low": 1e-4, "high": 1e-1, "log": True}, Range(low=-4, high=-1)),
        ([0.1, 0.01], [-1, -2]),
        ({"choices": [0.1, 10]}, [-1, 1]),
        (0.001, -3),
        (1, 0),
        ("auto", "auto"),
        ({"low": 1.5, "high": 3, "log": True}, Range(low=math.log10(1.5), high=math.log10(3))),  # exponents in (0, 1]
    ],
)
def test_lr_is_another_way_to_write_lr_exponent(rates: Any, exponents: Any) -> None:
    spec = spec_with(space={"lr": rates})
    domain = spec.space.lr_exponent
    assert (domain if not hasattr(domain, "choices") else domain.choices) == exponents
    assert "lr" not in dict(spec.space.domains()) and "lr" not in spec.space.resolve({"lr_exponent": -1.0})
    for kept in (
        spec.model_dump(mode="json"),
        json.loads(json.dumps(spec.model_dump(mode="json", exclude_unset=True))),
    ):
        assert "lr" in kept["space"] and "lr_exponent" not in kept["space"]
        assert make_spec(kept) == spec
    assert make_spec(yaml.safe_load(spec.as_yaml())) == spec
    assert jsonschema.Draft202012Validator(SweepSpec.model_json_schema()).is_valid(
        dict(THERMOMETER) | {"space": {"lr": rates}}
    )


@given(st.floats(1e-12, 1e3), st.floats(0, 6))
def test_a_range_of_rates_is_the_range_of_their_exponents(low: float, decades: float) -> None:
    domain = spec_with(space={"lr": {"low": low, "high": low * 10**decades, "log": True}}).space.lr_exponent
    assert 10**domain.low == pytest.approx(low) and 10**domain.high == pytest.approx(low * 10**decades)
    point = {"lr_exponent": domain.low, "decay_factor": 0.1, "warmup": 0.0}
    assert plan.hyperparameters(spec_with(), point).lr == pytest.approx(low)


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({"lr": 0.1, "lr_exponent": -1}, ["space.lr_exponent: lr stands in the space too; keep one of them"]),
        ({"lr_exponent": {"low": -3, "high": 0}, "lr": {"low": 0.1, "high": 1, "log": True}}, ["keep one of them"]),
        ({"lr": {"low": 0.01, "high": 0.1}}, ["space.lr: from 0.01 to 0.1 on a linear scale", "log: true"]),
        ({"lr": {"low": 0.01, "high": 0.1, "step": 0.01}}, ["space.lr", "list the rates"]),
        ({"lr": {"low": 1, "high": 3, "integer": True}}, ["space.lr", "list the rates"]),
        ({"lr": {"low": -4, "high": -1}}, ["space.lr: -4", "no rate", "above 0"]),
        ({"lr": {"low": 0, "high": 0.1, "log": True}}, ["space.lr", "above 0"]),
        ({"lr": 0}, ["space.lr: 0 is no rate"]),
        ({"lr": -0.1}, ["space.lr: -0.1 is no rate"]),
        ({"lr": "fast"}, ["space.lr: 'fast' is no rate; give numbers above 0, or auto"]),
        ({"lr": [0.1, "auto"]}, ["space.lr: 'auto' is no rate"]),
        ({"lr": [0.1, None]}, ["space.lr: None is no rate"]),
        ({"lr": True}, ["space.lr: True is no rate"]),
        ({"lr": []}, ["space.lr"]),
        ({"lr": {"low": 1e-4}}, ["space.lr.high: missing"]),
        ({"lr": {"low": 1e-4, "high": 0.1, "logg": True}}, ["space.lr.logg: unknown field; did you mean 'log'?"]),
        ({"lr": 1e300}, ["space.lr: 1e+300 is no rate"]),
        ({"lr": {"choices": [[0.1]]}}, ["space.lr: [0.1] is no rate"]),
    ],
)
def test_rates_that_cannot_be_are_refused(space: dict[str, Any], words: list[str]) -> None:
    said = refusal(space=space)
    assert all(word in said for word in words), said


def test_of_two_ways_to_write_the_rate_an_override_keeps_the_later() -> None:
    fields = {"space": {"lr_exponent": {"low": -3, "high": 0}, "hidden": 8}}
    assert override(json.loads(json.dumps(fields)), ["space.lr=0.1"])["space"] == {"lr": 0.1, "hidden": 8}
    back = override({"space": {"lr": 0.1}}, ["space.lr_exponent.low=-2", "space.lr_exponent.high=-1"])
    assert back == {"space": {"lr_exponent": {"low": -2, "high": -1}}}


def test_what_was_taken_before_is_still_read_from_where_it_was_written(tmp_path: Path) -> None:
    stored = spec_with(space={"lr_exponent": {"low": -3, "high": 0}}).model_dump(mode="json")
    stored["space"]["lr_exponent"] = {"low": 0.1, "high": 0.9, "log": False, "step": None, "integer": False}
    storage = SweepStore.open(str(tmp_path / "optuna.journal"))
    storage.create("warm-20260101-abcd", SweepSpec.model_validate(stored), {"created": "2026-01-01"})
    assert storage.find("warm").spec.space.lr_exponent == Range(low=0.1, high=0.9)
    file = tmp_path / "best.yaml"
    file.write_text(json.dumps(best_fields(spec=stored, params=best_fields()["params"] | {"lr_exponent": 0.3})))
    assert read_best(str(file))[0].params["lr_exponent"] == 0.3
    with pytest.raises(BadInput, match="if rates were meant"):
        make_spec(stored)


def test_the_range_test_takes_the_place_of_lr_auto(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from espalier.sweeps.checks import lr_range
    from espalier.sweeps.home import Home

    spec = spec_with(space={"lr": "auto"})
    test = run_test(spec, -4, 0, 40, 2)
    monkeypatch.setattr(lr_range, "run_test", lambda spec: test)
    monkeypatch.setattr(lr_range, "record_test", lambda *_: "run")
    object.__setattr__(test, "interval", (0.5, 0.6))  # whose exponents would look like rates
    found, facts = lr_range.resolved(spec, Home.at(str(tmp_path)))
    assert found.space.lr_exponent == Range(low=0.0, high=1.1)
    assert found.space.lr is None and facts["lr_exponent_high"] == 1.1


@pytest.mark.parametrize(("low", "high"), [(1e-5, 0.1), (0.001, 1), (0, 0.1), (0.3, 0.9)])
def test_a_range_test_from_rate_to_rate_is_refused_with_what_to_write(low: float, high: float) -> None:
    with pytest.raises(BadInput, match=rf"low {low:g}, high {high:g}: exponents.*write their powers of ten"):
        run_test(spec_with(), low, high)
