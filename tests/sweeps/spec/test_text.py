"""A spec as text: numbers as people write them, keys that stand twice, no code that runs."""

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.errors import BadInput
from espalier.sweeps.spec.spec import SweepSpec
from espalier.sweeps.spec.yaml12 import read as parse_yaml
from tests.sweeps.made import spec_with


@pytest.mark.parametrize(
    ("text", "number"),
    [("1e-3", 1e-3), ("1E3", 1e3), ("-2.5e+4", -2.5e4), (".5e1", 5.0), ("3.e2", 300.0), ("1.0e-5", 1e-5), ("-3", -3)],
)
def test_numbers_are_read_as_people_write_them(text: str, number: float) -> None:
    assert parse_yaml(f"x: {text}", "s")["x"] == number


@pytest.mark.parametrize("text", ["1e", "e3", "1e3x", "1-3", "v1e-3"])
def test_words_that_look_a_little_like_numbers_stay_words(text: str) -> None:
    assert parse_yaml(f"x: {text}", "s")["x"] == text


@given(st.floats(allow_nan=False))
def test_any_number_is_read_back_to_the_same_bits(number: float) -> None:
    assert parse_yaml(yaml.safe_dump({"x": number}), "s")["x"] == number
    if math.isfinite(number):
        assert parse_yaml(f"x: {number!r}", "s")["x"] == number


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [("a: 1\nb: 2\na: 3", "a", 1), ("x:\n  low: 1\n  low: 2", "low", 2), ("{trials: 1, trials: 2}", "trials", 1)],
)
def test_a_key_that_stands_twice_is_refused(text: str, key: str, line: int) -> None:
    with pytest.raises(BadInput, match=f"s.yaml, line {line}, column .*'{key}' stands twice"):
        parse_yaml(text, "s.yaml")


def test_a_merged_mapping_may_be_overridden() -> None:
    text = "a: &a {low: 1, high: 2}\nb: {<<: *a, high: 3}"
    assert parse_yaml(text, "s")["b"] == {"low": 1, "high": 3}


@pytest.mark.parametrize(
    "text", ["a: [1, 2", "a: b: c", "\ta: 1", "'a", "a: *nowhere", "%", "a: !!python/name:os.system"]
)
def test_invalid_yaml_is_refused_with_its_line_and_column(text: str) -> None:
    with pytest.raises(BadInput, match=r"s\.yaml, line \d+, column \d+: not valid YAML"):
        parse_yaml(text, "s.yaml")


@pytest.mark.parametrize("text", ["a: \0", "a: !!int one", "a: !!float one", "a: !!map one"])
def test_invalid_values_of_yaml_are_refused_too(text: str) -> None:
    with pytest.raises(BadInput, match=r"s\.yaml.*not valid YAML"):
        parse_yaml(text, "s.yaml")


def test_yaml_runs_no_code(tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        parse_yaml(f"a: !!python/object/apply:pathlib.Path.touch [{tmp_path / 'made'}]", "s.yaml")
    assert not (tmp_path / "made").exists()


@given(st.text(st.sampled_from("ab:-,[]{}'\"#&*!|>%@ \n012.e"), max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_yaml(text, "s.yaml")
    except BadInput as error:
        assert str(error).startswith("s.yaml")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 99) | st.floats() | st.text("ab0.", max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["low", "high", "step", "choices", "kind", "count", "log", "integer"]), inner)
    ),
    max_leaves=6,
)


@given(st.sampled_from([*SweepSpec.model_fields, "unknown"]), JSON)
def test_any_value_of_any_field_is_taken_or_refused(field: str, value: Any) -> None:
    try:
        spec_with(**{field: value})
    except BadInput as error:
        assert field in str(error) or "space." in str(error)


@given(st.sampled_from(["lr_exponent", "decay_points", "seed", "batch_size", "momentum", "own"]), JSON)
def test_any_value_of_any_hyperparameter_is_taken_or_refused(name: str, value: Any) -> None:
    try:
        spec_with(space={name: value})
    except BadInput as error:
        assert f"space.{name}" in str(error)
