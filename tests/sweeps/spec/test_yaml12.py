"""YAML by its version 1.2, in specs, overrides, best files and settings; and what it may cost."""

import datetime
import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.errors import MESSAGE_MOST, BadInput
from espalier.core.tasks.thermometer import Thermometer
from espalier.sweeps.client import service as remote
from espalier.sweeps.spec import yaml12
from espalier.sweeps.spec.overrides import override
from espalier.sweeps.spec.spec import load_spec, make_spec
from espalier.sweeps.spec.values import DEPTH as DEEPEST
from espalier.sweeps.spec.yaml12 import ALIASED, DEPTH, read, write
from tests.sweeps.made import best_fields, read_best, spec_with


class Deep(Thermometer):
    """A task whose option is deep."""

    def __init__(self, x: Any = None):
        super().__init__()


@pytest.fixture(params=["libyaml", "Python alone"])
def either_parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML with its C library, and without."""
    if request.param == "Python alone":
        monkeypatch.setattr(yaml12, "_Loader", yaml.SafeLoader)


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
    with pytest.raises(BadInput, match=r"spec: task_options.when.0: a \w+; write a text, a number"):
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


# --- what it may cost -------------------------------------------------------------------------------------------------


def merge_bomb(levels: int) -> str:
    return "m0: &m0 {k: 1}\n" + "".join(
        f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 10)}]}}\n" for n in range(1, levels)
    )


def alias_bomb(levels: int) -> str:
    lines = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, levels)]
    return "name: t\ntask: espalier.core.tasks.names:Names\na0: &a0 [x]\n" + "".join(lines)


BOMBS = {
    "merge": merge_bomb(60),
    "a mapping that doubles": "a: &a0 {k: 1}\n"
    + "".join(f"b{n}: &a{n + 1} {{x: *a{n}, y: *a{n}}}\n" for n in range(80)),
    "alias": alias_bomb(60),
    "alias as a key": "a: &a " + "x" * 10 + "\n" + "".join(f"b{n}: [*a, *a]\n" for n in range(ALIASED)),
    "itself": "task_options: &t {x: *t}\n",
    "itself in a list": "task_options: &t [1, [*t]]\n",
    "itself by a merge": "task_options: &t {<<: *t}\n",
    "a key that is itself": "&t {? *t : 1}\n",
}


@pytest.mark.usefixtures("either_parser")
@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_is_refused_while_it_is_read(text: str, tmp_path: Path) -> None:
    for form in (text, text.replace("\n", "\n\n")):
        file = tmp_path / "s.yaml"
        file.write_text(form)
        for read_it in (lambda: read(form, "s"), lambda: load_spec(str(file)), lambda: read_best(str(file))):  # noqa: B023
            with pytest.raises(
                BadInput, match=r"line .*(stand for more than 20,000 values|stands inside of)"
            ) as refused:
                read_it()
            assert str(refused.value).isprintable()


def test_an_option_as_deep_as_a_spec_may_be_comes_back_in_a_best_file(tmp_path: Path) -> None:
    value: Any = 1
    for _ in range(DEEPEST - 3):
        value = [value]
    file = tmp_path / "best.yaml"
    stored = spec_with(task="tests.sweeps.spec.test_yaml12:Deep", task_options={"x": [value]}).model_dump(mode="json")
    file.write_text(write(best_fields(spec=stored), None))
    assert read_best(str(file))[1].task_options == {"x": [value]}
    with pytest.raises(BadInput, match="more than 40 levels"):
        spec_with(task_options={"x": [[value]]})


def test_an_override_may_be_no_bomb_either() -> None:
    with pytest.raises(BadInput, match=r"--set x, line 1.*stand for more than"):
        override({}, ["x=[&a [1, 2], &b [" + "*a, " * 500 + "1], " + "*b, " * 30 + "]"])


def test_aliases_and_merge_keys_are_fine_where_they_are_few() -> None:
    text = "a: &a {low: 1, high: 2}\nb: {<<: *a, high: 3}\nc: [*a, *a]\nd: {high: 9, <<: [{low: 0}, *a]}"
    low_high = {"low": 1, "high": 2}
    assert read(text, "s") == {
        "a": low_high,
        "b": {"low": 1, "high": 3},
        "c": [low_high] * 2,
        "d": {"low": 0, "high": 9},
    }


def test_twenty_thousand_keys_are_read_at_once_and_ten_of_them_named() -> None:
    text = "".join(f"k{n}: {n}\n" for n in range(20_000))
    assert len(read(text, "s")) == 20_000
    with pytest.raises(BadInput, match="more than 20,000 values"):
        make_spec(read(text, "s"))
    with pytest.raises(BadInput, match=r"k1: unknown field.*; and 4,992 more$"):
        make_spec({f"k{n}": n for n in range(5000)})


@pytest.mark.parametrize("depth", [DEPTH + 1, 900, 10**5])
@pytest.mark.parametrize("opens", ["[", "{a: ", "[{a: ", "- "])
def test_a_text_of_many_levels_is_refused(opens: str, depth: int) -> None:
    with pytest.raises(BadInput, match=r"levels of lists and mappings|not valid YAML"):
        read(opens * depth, "s")


@pytest.mark.parametrize("levels", [41, 900, 100_000])
def test_values_of_many_levels_are_no_spec(levels: int) -> None:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    for fields in ({"name": "a", "task": "b:C", "task_options": {"x": value}}, value, {"budget": value}):
        with pytest.raises(BadInput, match="more than 40 levels"):
            make_spec(fields)


# --- messages ---------------------------------------------------------------------------------------------------------

LONG = "x" * 10_000_000
HUGE: dict[str, Any] = {
    "a value": {"trials": LONG},
    "a key": {LONG: 1},
    "an option": {"budget": {"steps": [LONG]}},
    "a list": {"trials": [LONG[:1000]] * 1000},
    "a name": {"name": LONG},
    "a task": {"task": LONG},
    "a schedule": {"space": {"schedule": LONG}},
    "an exponent": {"space": {"lr_exponent": LONG}},
    "a number": {"trials": 16**5000},
    "an own number": {"space": {"a": [16**5000]}},
    "a metric": {"objective": {"metric": LONG}},
    "half a character": {"task_options": {"x": "\ud800"}},
    "half a character in a key": {"task_options": {"\udfff": 1}},
    "the character 0": {"task": "a\0b:C"},
    "a key of two lines": {"a\nb": 1},
    "a terminal's command": {"\x1b[31mred": "\x1b[2J"},
}


@pytest.mark.parametrize("changed", HUGE.values(), ids=HUGE.keys())
def test_what_is_said_of_it_fits_on_one_line_of_any_terminal(changed: dict[str, Any]) -> None:
    with pytest.raises(BadInput) as refused:
        spec_with(**changed)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 1000
    str(refused.value).encode("utf-8")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "a: " + "1" * 50_000,
            "a: 0x" + "f" * 50_000,
            "a: 1" + "_0" * 9999,
            "a: *" + "b" * 10**6,
            "a: \0",
            "a: \ud800",
        ),
        *(
            "a: !" + "b" * 10**6 + " c",
            "{" + "k" * 10**5 + ": 1, " + "k" * 10**5 + ": 2}",
            "a: b: " + "c" * 10**6,
            "\x1b: [",
        ),
        *(
            "a: [" + LONG,
            'a: "\\ud800"',
            "a: 1e" + "9" * 5000,
            "!!" + "x" * 10**5 + " {a: 1}",
            "&" + "a" * 10**5 + " *b",
        ),
    ],
    ids=lambda text: ascii(text[:12]),
)
def test_what_is_said_of_a_text_that_is_no_yaml_is_short(text: str) -> None:
    with pytest.raises(BadInput, match=r"^s.yaml(, line \d, column \d+)?: not valid YAML: ") as refused:
        read(text, "s.yaml")
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 500


def test_the_place_of_a_character_that_is_none_is_said() -> None:
    with pytest.raises(BadInput, match=r"s, line 2, column 4: not valid YAML: the character U\+0000"):
        read("a: 1\nb: \0", "s")


def test_no_message_is_longer_than_a_person_reads() -> None:
    assert len(str(BadInput("x" * 10**6))) <= MESSAGE_MOST
    assert str(BadInput("a\nb\x1b[0m\ud800")) == "a b\\x1b[0m\\ud800"


def test_a_best_file_of_huge_values_is_refused_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "best.yaml"
    for changed in (
        {"program": LONG},
        {"params": {"lr_exponent": LONG}},
        {"trial": LONG},
        {LONG: 1},
        {"reports": LONG},
    ):
        file.write_text(json.dumps(best_fields(**changed)))  # JSON is YAML
        with pytest.raises(BadInput) as refused:
            read_best(str(file))
        assert str(refused.value).isprintable() and len(str(refused.value)) < 1000
