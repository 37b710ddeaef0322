"""The JSON Schema accepts and refuses what the program does."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from espalier.sweeps.spec.spec import SweepSpec, make_spec
from espalier.sweeps.spec.yaml12 import read as parse_yaml
from tests.sweeps.made import THERMOMETER, spec_with
from tests.sweeps.spec.refusals import LIBRARY


def complaints(fields: Any) -> list[str]:
    """Return what an editor would say of a spec."""
    validator = jsonschema.Draft202012Validator(SweepSpec.model_json_schema())
    return [error.message for error in validator.iter_errors(fields)]


def test_the_json_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SweepSpec.model_json_schema())


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.stem)
def test_the_json_schema_accepts_the_specs_of_the_library(path: Path) -> None:
    assert complaints(parse_yaml(path.read_text(), str(path))) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"optimizer": "adamw", "schedule": "cosine"},
        {"optimizer": {"kind": "sgd", "momentum": 0.9, "nesterov": True}},
        {"space": {"lr_exponent": -2, "scale": [0.1, 1.0], "decay_points": [0.5, 0.75]}},
        {"space": {"lr_exponent": {"choices": [-2, -1]}, "decay_points": {"choices": [[0.5], [0.4, 0.8]]}}},
        {"resources": {"cpus": 2, "lanes": "auto"}, "tracking_uri": "http://localhost:5000"},
    ],
    ids=str,
)
def test_the_json_schema_accepts_what_the_program_accepts(changed: Any) -> None:
    fields = dict(THERMOMETER) | changed
    make_spec(fields)
    assert complaints(fields) == []


@pytest.mark.parametrize(
    "changed",
    [{"trials": 0}, {"trails": 1}, {"optimizer": "sdg"}, {"budget": {"step": 1}}, {"search": {"sampler": "bayes"}}],
    ids=str,
)
def test_the_json_schema_refuses_what_the_program_refuses(changed: Any) -> None:
    assert complaints(dict(THERMOMETER) | changed)


@pytest.mark.parametrize(
    "value",
    [(), (1, (2, 3)), [1, ()], {"a": ({"b": (1,)},)}, np.float64(0.5), [np.float64(2.0)], np.str_("tanh")],
    ids=repr,
)
def test_a_dictionary_from_python_is_taken_as_its_file_would_be(value: Any) -> None:
    """A task would have tuples here, lists in its workers; and a sweep could not go on: its spec would differ."""
    spec = spec_with(task_options={"a": value}, space={"b": [value] if np.isscalar(value) else [0, 1]})
    stored = json.loads(json.dumps(spec.model_dump(mode="json")))
    assert make_spec(stored, stored=True) == spec
    assert type(spec.task_options["a"]) is type(stored["task_options"]["a"])


def test_a_value_that_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(ValueError, match="levels"):
        SweepSpec(name="s", task="line", task_options={"a": value})
