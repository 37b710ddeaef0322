"""What is said of huge values and of texts that are no YAML fits on a line that a person reads."""

import json
from pathlib import Path
from typing import Any

import pytest

from espalier.core.errors import MESSAGE_MOST, BadInput
from espalier.sweeps.spec.yaml12 import read
from tests.sweeps.made import best_fields, read_best, spec_with

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
