"""YAML by its version 1.2, in specs, overrides, best files and settings."""

import datetime
import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.errors import BadInput
from espalier.sweeps.client import service as remote
from espalier.sweeps.spec.overrides import override
from espalier.sweeps.spec.spec import load_spec, make_spec
from espalier.sweeps.spec.yaml12 import read, write
from tests.sweeps.made import best_fields, read_best, spec_with

# --- the core schema --------------------------------------------------------------------------------------------------

CORE: dict[str, Any] = {
    "010": 10,
    "0100": 100,
    "+08": 8,
    "-012": -12,
    "0o17": 15,
    "0x1F": 31,
    "1e4": 1e4,
    "1e-8": 1e-8,
    ".5": 0.5,
    "5.": 5.0,
    "+.inf": math.inf,
    "-.INF": -math.inf,
    "true": True,
    "FALSE": False,
    "~": None,
    "": None,
    "NULL": None,
    "!!str 010": "010",
    "! 010": "010",
    "!!int '3'": 3,
    "!!float 3": 3.0,
    **{word: word for word in ("off", "on", "yes", "no", "y", "N", "Off", "tRUE", "nUll", "0O17", "0x", "1e", "e3")},
    **{word: word for word in ("1:30", "1:30:15.5", "2026-11-28", "2026-11-28 10:00:00", "=", "1.2.3", "1-3", ".")},
}


@pytest.mark.usefixtures("either_parser")
@pytest.mark.parametrize(("word", "value"), CORE.items())
def test_a_plain_word_is_what_version_1_2_says(word: str, value: Any) -> None:
    for text in (f"x: {word}", f"x: {word} # why", f"{{x: {word}}}"):
        result = read(text, "s")["x"]
        assert (result, type(result)) == (value, type(value))
    assert override({}, [f"x={word}"])["x"] == value


def test_each_word_of_a_list_is_read_by_itself() -> None:
    assert read("[008, 016, 032, off, relu, no]", "s") == [8, 16, 32, "off", "relu", "no"]


@pytest.mark.parametrize(
    ("word", "meant"),
    [("1_000", "1000"), ("-1_0.5", "-10.5"), ("0b101", "5"), ("0x_1F", "31"), ("-0x1F", "-31"), ("1_0e3", "10e3")],
)
def test_what_once_was_a_number_and_is_none_any_more_is_refused_with_its_meaning(word: str, meant: str) -> None:
    with pytest.raises(BadInput, match="line 1, column 4") as refused:
        read(f"x: {word}", "s")
    assert f"{word} is no number in YAML 1.2; write {meant}, or '{word}' in quotes" in str(refused.value)
    assert read(f"x: '{word}'", "s")["x"] == word


SLIPS: dict[str, list[str]] = {
    "trials: 1:30": ["trials", "1:30"],
    "schedule: no": ["schedule.kind", "'no' arrived"],
    "trials: 2026-11-28": ["trials", "2026-11-28"],
    "space: {lr_exponent: {low:-4,high:-1}}": ["line 3", "no space after the colon of 'low:-4'; write low: -4"],
    "space: {lr_exponent: {low:-4, high: -1}}": ["no space after the colon of 'low:-4'; write low: -4"],
    "budget:\n  steps:500": ["budget", "no space after the colon of 'steps:500'; write steps: 500"],
    "trials: 1_000": ["write 1000"],
    "trials: !!python/object:os.system x": ["the tag '!!python/object:os.system'"],
    "task_options: {a: !!binary aGk=}": ["the tag '!!binary'"],
    "task_options: {1: 2}": ["a key that is no text", "'1'"],
    "task_options: {? [a] : 2}": ["a key that is no text"],
    "space: {batch_size: [off]}": ["space.batch_size", "'off'"],
}


@pytest.mark.usefixtures("either_parser")
@pytest.mark.parametrize(("line", "words"), SLIPS.items())
def test_a_slip_in_a_spec_is_refused_in_one_line_that_says_what_to_write(
    line: str, words: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(f"name: a\ntask: espalier.core.tasks.names:Names\n{line}\n")
    with pytest.raises(BadInput) as refused:
        load_spec(str(file))
    assert all(word in str(refused.value) for word in words), str(refused.value)
    assert str(refused.value).isprintable()


def test_numbers_of_a_spec_are_what_stands_there(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(
        "name: a\ntask: espalier.core.tasks.names:Names\nbudget: {steps: 0100, batch_size: 010}\n"
        "space: {hidden: [008, 016, 032], activation: [off, relu]}\ntask_options: {when: 2026-11-28, eps: 1e-8}\n"
    )
    spec = load_spec(str(file), ["trials=010"])
    assert (spec.budget.steps, spec.budget.batch_size, spec.trials) == (100, 10, 10)
    assert spec.space.own() == {"hidden": [8, 16, 32], "activation": ["off", "relu"]}
    assert spec.task_options == {"when": "2026-11-28", "eps": 1e-8}
    assert spec.model_dump(mode="json")["task_options"] == spec.task_options  # what a worker gets


@pytest.mark.parametrize("value", [datetime.date(2026, 11, 28), b"x", {1}, object(), 1j])
def test_what_a_worker_would_get_as_something_else_is_refused(value: Any) -> None:
    words = r"an? \w+; write a text, a number|a set, which has no order; write a list"
    with pytest.raises(BadInput, match=rf"spec: task_options.when.0: ({words})"):
        spec_with(task_options={"when": [value]})


def test_a_token_that_looks_like_a_number_needs_quotes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config.yaml"
    monkeypatch.setenv("SWEEP_CONFIG", str(file))
    file.write_text("token: 0123\n")
    with pytest.raises(BadInput, match="token: 123 is no text; put it in quotes"):
        remote.config()
    file.write_text("token: '0123'\nserver: off\n")
    assert remote.config() == {"token": "0123", "server": "off"}


# --- what is written reads back ---------------------------------------------------------------------------------------

WORDS = [
    *CORE,
    "1_000",
    "0b1",
    "0x_F",
    "-0x1F",
    "<<",
    "&a",
    "*a",
    "!x",
    "? a",
    "- a",
    "a: b",
    "a #b",
    "'",
    '"',
    "%",
    "@",
]
WORDS += ["\n", " a", "a ", "\t", "é", "\U0001f600", "\x85", "\u2028", "\x7f", "\ufeff", "a\nb", "{}", "[]", "|", ">"]
ANY_TEXT = st.sampled_from(WORDS) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8
)
ANY_NUMBER = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False)
ANY = st.recursive(
    st.none() | st.booleans() | ANY_NUMBER | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)


def same(value: Any, other: Any) -> bool:
    """Whether two values are equal and of one type, to the last bit and the last key."""
    return repr(value) == repr(other)


@given(ANY, st.sampled_from([False, None]))
def test_whatever_is_written_reads_back_the_same_by_either_version(value: Any, flow: bool | None) -> None:
    text = write(value, flow)
    assert same(read(text, "s"), value)
    assert same(yaml.safe_load(text), value)


@given(st.dictionaries(ANY_TEXT, ANY_TEXT | st.integers(-9, 10**6) | st.floats(-1e3, 1e3), max_size=4))
def test_the_options_of_a_spec_and_of_a_best_file_survive_their_way_through_yaml(options: dict[str, Any]) -> None:
    spec = spec_with(task_options=options)
    assert make_spec(read(spec.as_yaml(), "spec.yaml")) == spec
    fields = best_fields(spec=spec.model_dump(mode="json"), params={"a": options})
    assert same(read(write(fields, None), "best.yaml"), fields)


NUMBERS = st.integers(-(10**9), 10**9) | st.floats(allow_nan=False)


@given(st.lists(NUMBERS | st.sampled_from(["off", "010", "1:30", "2026-11-28", "1_000", "null", "~", ""]), max_size=6))
def test_what_pyyaml_wrote_before_still_reads(values: list[Any]) -> None:
    fields = {"params": {"values": values}, "reports": [[[step, {"valid_loss": 1e-5 * step}] for step in (1, 2)]]}
    text = yaml.safe_dump(fields, sort_keys=False, default_flow_style=None, width=120)
    assert same(read(text, "best.yaml"), fields)


def test_a_best_file_that_pyyaml_wrote_still_reads(tmp_path: Path) -> None:
    file = tmp_path / "best.yaml"
    file.write_text(yaml.safe_dump(best_fields(), sort_keys=False, default_flow_style=None, width=120))
    assert read_best(str(file))[0].params["lr_exponent"] == -2.0


# --- JSON is YAML -----------------------------------------------------------------------------------------------------


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(JSON, st.sampled_from([None, 1]))
def test_json_reads_as_json_does(value: Any, indent: int | None) -> None:
    assert same(read(json.dumps(value, indent=indent), "s"), value)


@pytest.mark.usefixtures("either_parser")
def test_two_halves_of_a_character_are_that_character_in_double_quotes_alone() -> None:
    text = r"""{"\ud83d\ude80 x": ["\uD83D\uDE80", '\ud83d\ude80', \ud83d\ude80, "\\ud83d\\ude80", "\\\ud83d\ude80"]}"""
    plain = r"\ud83d\ude80"
    assert read(text, "s") == {"\U0001f680 x": ["\U0001f680", plain, plain, plain, "\\\U0001f680"]}


@pytest.mark.usefixtures("either_parser")
@pytest.mark.parametrize("halves", [r"\ud83d", r"\ude80", r"\ude80\ud83d", r"\ud83d \ude80", r"\ud83d\ud83d\ude80"])
def test_half_of_a_character_is_refused_in_one_line(halves: str) -> None:
    with pytest.raises(BadInput, match=r"^s, line 2, column \d+: not valid YAML: [^\n]+$"):
        read(f'a: 1\nb: "{halves}"', "s")


def test_a_spec_in_json_may_hold_any_character(tmp_path: Path) -> None:
    file = tmp_path / "s.json"
    fields = {"name": "a", "task": "espalier.core.tasks.names:Names", "space": {"hidden": ["\U0001f680 x", "plain"]}}
    file.write_text(json.dumps(fields))
    assert load_spec(str(file)).space.own() == {"hidden": ["\U0001f680 x", "plain"]}
