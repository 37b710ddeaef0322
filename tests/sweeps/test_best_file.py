"""A best file: written, read, and refused."""

import math
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.errors import BadInput
from espalier.sweeps.best_file import BestFile, best_file_text
from espalier.sweeps.repeat.rerun import rerun
from espalier.sweeps.spec.spec import SweepSpec
from tests.sweeps.made import best_fields, best_text, read_best, row, spec_with

FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def bits(number: float) -> bytes:
    return struct.pack("<d", number)


def refusal(tmp_path: Path, text: str) -> str:
    """Return what is said of a best file with this text."""
    path = tmp_path / "best.yaml"
    path.write_text(text)
    with pytest.raises(BadInput) as refused:
        best, spec = read_best(str(path))
        rerun(best, spec)
    said = str(refused.value)
    assert "best.yaml" in said
    assert "\n" not in said
    return said


# --- what is written is what is read ----------------------------------------------------------------------------------


def study_of(spec: SweepSpec, **facts: Any) -> Any:
    """Return the little that a best file takes of a sweep's record."""
    stored = spec.model_dump(mode="json")
    return SimpleNamespace(id="warm-20260101-abcd", spec=spec, stored_spec=stored, public_spec=stored, facts=facts)


SHARES = st.floats(0, 1)


@given(st.tuples(st.floats(-40, 40), SHARES, SHARES), st.lists(FLOATS, min_size=1, max_size=4))
def test_the_numbers_of_a_best_file_are_read_back_to_the_same_bits(
    tmp_path_factory: pytest.TempPathFactory, numbers: tuple[float, float, float], losses: list[float]
) -> None:
    spec = spec_with()
    params = dict(zip(("lr_exponent", "decay_factor", "warmup"), numbers, strict=True)) | {"seed": 3}
    reports = [(step, {"valid_loss": loss}) for step, loss in enumerate(losses, 1)]
    story = {"program": "vmap", "device": "cpu", "members": [{"reports": reports}]}
    path = tmp_path_factory.mktemp("best") / "best.yaml"
    path.write_text(best_file_text(study_of(spec), row(5, losses[-1], params=params), story))
    best, read_spec = read_best(str(path))
    assert read_spec == spec
    assert best.params == params
    assert [bits(best.params[name]) for name in list(params)[:3]] == list(map(bits, numbers))
    assert bits(best.result["valid_loss"]) == bits(losses[-1])
    assert [(step, bits(values["valid_loss"])) for step, values in best.reports[0]] == [
        (step, bits(loss)) for step, loss in enumerate(losses, 1)
    ]


def test_a_best_file_says_what_made_it_and_how_to_use_it() -> None:
    facts = {"versions": {"torch": "2.13.0"}, "data": "d1", "code": "c1", "git_commit": "abc", "git_dirty": "false"}
    story = {"program": "plain", "device": "cuda", "members": [{"reports": [(1, {"valid_loss": 1.0})]}]}
    text = best_file_text(study_of(spec_with(), **facts), row(5, 1.0), story)
    assert text.startswith("# Trial 5 of warm-20260101-abcd.")
    assert "sweep rerun" in text.splitlines()[0]
    content = yaml.safe_load(text)
    assert (content["program"], content["device"]) == ("plain", "cuda")
    assert content["made_with"] == {"torch": "2.13.0", "data": "d1", "code": "c1", "git_commit": "abc"}


def test_a_best_file_that_is_right_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "best.yaml"
    path.write_text(best_text())
    best, spec = read_best(str(path))
    assert best == BestFile.model_validate(best_fields())
    assert spec == spec_with()


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"nowhere\.yaml: cannot be read.*sweep best ID > best\.yaml"):
        read_best(str(tmp_path / "nowhere.yaml"))


@pytest.mark.parametrize("text", ["a: [1", "{", "a: b: c"])
def test_what_is_no_yaml_is_refused(text: str, tmp_path: Path) -> None:
    assert "not valid YAML" in refusal(tmp_path, text)


@pytest.mark.parametrize("text", ["", "- 1\n- 2", "hello", "5"])
def test_what_is_no_mapping_is_refused(text: str, tmp_path: Path) -> None:
    assert "not a best file; `sweep best ID > best.yaml` writes one" in refusal(tmp_path, text)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "best.yaml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match="cannot be read"):
        read_best(str(path))


@pytest.mark.parametrize("field", [name for name, field in BestFile.model_fields.items() if field.is_required()])
def test_a_missing_field_is_named(field: str, tmp_path: Path) -> None:
    fields = best_fields()
    del fields[field]
    said = refusal(tmp_path, yaml.safe_dump(fields))
    assert field in said
    assert "required" in said
    assert "sweep best ID > best.yaml" in said


WRONG_FIELDS: list[tuple[dict[str, Any], list[str]]] = [
    ({"trial": "third"}, ["trial", "third"]),
    ({"sweep": 5}, ["sweep", "5"]),
    ({"params": [1, 2]}, ["params", "[1, 2]"]),
    ({"result": {"valid_loss": "low"}}, ["result.valid_loss", "low"]),
    ({"result": 5}, ["result", "5"]),
    ({"spec": "names"}, ["spec", "names"]),
    ({"spec": {"name": "a"}}, ["spec", "task"]),
    ({"program": "magic"}, ["program", "magic", "plain", "vmap"]),
    ({"device": 5}, ["device", "5"]),
    ({"reports": []}, ["reports", "0 of 1"]),
    ({"reports": [[]]}, ["reports"]),
    ({"reports": [[[10, {"valid_loss": "low"}]]]}, ["reports", "low"]),
    ({"reports": [[["ten", {"valid_loss": 1.0}]]]}, ["reports", "ten"]),
    ({"reports": [[[10, {}]]] * 2}, ["reports", "2 of 1"]),
    ({"resullt": {}}, ["resullt"]),
]


@pytest.mark.parametrize(("changed", "words"), WRONG_FIELDS, ids=lambda value: str(value)[:50])
def test_a_wrong_field_is_named_with_what_arrived(changed: dict[str, Any], words: list[str], tmp_path: Path) -> None:
    said = refusal(tmp_path, best_text(**changed))
    for word in words:
        assert word in said


WRONG_PARAMS: list[tuple[str, Any, str]] = [
    ("lr_exponent", "small", "'small'"),
    ("lr_exponent", 1e9, "1000000000.0"),
    ("lr_exponent", -41, "-41"),
    ("lr_exponent", math.nan, "nan"),
    ("lr_exponent", None, "None"),
    ("lr_exponent", [1, 2], "[1, 2]"),
    ("lr_exponent", True, "True"),
    ("decay_factor", "half", "'half'"),
    ("decay_factor", math.inf, "inf"),
    ("decay_factor", -1.0, "-1.0"),
    ("warmup", {}, "{}"),
    ("warmup", 7, "7"),
    ("seed", "zero", "'zero'"),
    ("seed", 1.5, "1.5"),
    ("seed", -1, "-1"),
    ("seed", 10**30, str(10**30)),
    ("momentum", "much", "'much'"),
    ("momentum", 5.0, "5.0"),
    ("weight_decay", -1.0, "-1.0"),
    ("batch_size", 0, "0"),
    ("batch_size", 2.5, "2.5"),
    ("decay_points", 0.5, "0.5"),
    ("decay_points", "late", "'late'"),
    ("decay_points", [0.5, "late"], "'late'"),
    ("decay_points", [1.5], "1.5"),
]


@pytest.mark.parametrize(("name", "value", "arrived"), WRONG_PARAMS, ids=str)
def test_a_parameter_that_no_space_could_give_is_refused(name: str, value: Any, arrived: str, tmp_path: Path) -> None:
    params = best_fields()["params"] | {name: value}
    said = refusal(tmp_path, best_text(params=params))
    assert f"params.{name}" in said
    assert arrived in said


def test_a_parameter_that_is_missing_is_named(tmp_path: Path) -> None:
    params = {"decay_factor": 0.1, "warmup": 0.0, "seed": 0}
    assert "params: missing lr_exponent" in refusal(tmp_path, best_text(params=params))


def test_a_parameter_that_is_unknown_is_named(tmp_path: Path) -> None:
    params = best_fields()["params"] | {"learning_rate": 0.1}
    assert "params: unknown learning_rate" in refusal(tmp_path, best_text(params=params))


def test_a_parameter_of_the_task_is_checked_by_the_task(tmp_path: Path) -> None:
    spec = spec_with(space={"lr_exponent": -2, "scale": [0.1, 1.0]}).model_dump(mode="json")
    assert "scale" in refusal(tmp_path, best_text(spec=spec))
    params = best_fields()["params"] | {"scale": -5}
    assert "scale" in refusal_without_file_name(tmp_path, best_text(spec=spec, params=params))


def refusal_without_file_name(tmp_path: Path, text: str) -> str:
    """Return what is said by the task, which knows no file."""
    path = tmp_path / "best.yaml"
    path.write_text(text)
    with pytest.raises(BadInput) as refused:
        rerun(*read_best(str(path)))
    return str(refused.value)


def test_a_task_that_is_gone_is_named(tmp_path: Path) -> None:
    spec = spec_with().model_dump(mode="json") | {"task": "nowhere_at_all.tasks:Gone"}
    assert "nowhere_at_all.tasks" in refusal_without_file_name(tmp_path, best_text(spec=spec))


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 50) | st.floats() | st.text("ab0.", max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["lr_exponent", "seed", "x"]), inner),
    max_leaves=4,
)


@given(st.sampled_from(list(BestFile.model_fields)), JUNK)
def test_any_nonsense_in_any_field_is_taken_or_refused(
    tmp_path_factory: pytest.TempPathFactory, field: str, value: Any
) -> None:
    path = tmp_path_factory.mktemp("junk") / "best.yaml"
    path.write_text(best_text(**{field: value}))
    try:
        read_best(str(path))
    except BadInput as error:
        assert field in str(error)
