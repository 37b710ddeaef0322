"""Specs and best files that somebody's slip, or ill will, has changed: each is taken or refused in one line.

Mutations come from a seed that is printed; MUTATION_SEED=N repeats a run.
"""

import json
import os
import random
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from espalier.core.errors import MESSAGE_MOST, BadInput
from espalier.sweeps.search.asking import distribution
from espalier.sweeps.spec.header import header
from espalier.sweeps.spec.spec import SweepSpec, load_spec, make_spec
from espalier.sweeps.spec.yaml12 import read
from tests.sweeps.made import best_text, read_best, spec_with

COUNTS = [1000, pytest.param(10_000, marks=pytest.mark.slow)]
LIBRARY = sorted((Path(__file__).resolve().parents[3] / "sweeps" / "library").glob("*.yaml"))
FULL = spec_with(
    optimizer={"kind": "sgd", "momentum": 0.9},
    space={
        "lr_exponent": {"low": -3, "high": -1},
        "decay_points": {"count": 2, "low": 0.4, "high": 0.9, "branches": 2},
        "weight_decay": {"low": 1e-6, "high": 1e-2, "log": True},
        "batch_size": {"low": 2, "high": 9, "integer": True},
        "scale": [0.1, 1.0],
    },
    task_options={"a": [1, {"b": "text"}]},
    watchers=["core.training.watch:Activations"],
    stopping={},
)
SPECS = [*(path.read_text() for path in LIBRARY), FULL.as_yaml()]
TEXTS = [
    *("", " ", "\n", "\t", ":", ": ", "-", "- ", ",", "[", "]", "{", "}", "#", "&a ", "*a", "!", "!!binary ", "!!int "),
    *(
        "!!float ",
        "!!str ",
        "!!python/name:os.system ",
        "%",
        "@",
        "`",
        "|",
        ">",
        '"',
        "'",
        "\\",
        "\0",
        "\ud800",
        "\ufeff",
    ),
    *(
        "~",
        "null",
        "true",
        "no",
        "off",
        ".inf",
        "-.inf",
        ".nan",
        "010",
        "0x1F",
        "0o17",
        "1_000",
        "1:30",
        "1e400",
        "1e-400",
    ),
    *(
        "2026-11-28",
        "<<: ",
        "<<: *a",
        "? ",
        "---\n",
        "...\n",
        "%YAML 1.1\n",
        "é",
        "\U0001f600",
        "9" * 5000,
        "0x" + "f" * 500,
    ),
    *(
        "x" * 5000,
        "[" * 500,
        "{a: " * 500,
        "low:-4",
        "a: b: c",
        "\r",
        "\u2028",
        "\x85",
        "\x7f",
        "1" * 19,
        "1e308",
        "-1",
    ),
]
VALUES: list[Callable[[], Any]] = [
    *(
        lambda v=v: v
        for v in (None, True, False, 0, 1, -1, 2, 0.5, -0.0, 1e-320, 1e308, -1e308, 1e300, 3.7, "", "auto")
    ),
    *(lambda v=v: v for v in (2**31, 2**53 + 1, 2**63, 2**64, -(2**63), -(2**63) - 1, 10**400, 16**5000)),
    *(lambda v=v: v for v in (float("inf"), float("-inf"), float("nan"), "nan", "1e4", "010", "off", "\ud800", "a\0b")),
    *(
        lambda v=v: v
        for v in ("\n", "x" * 10**5, "9" * 5000, "~nobody/x.py", "~nobody/x.py:A", "a/b.py:C", "os:system")
    ),
    *(lambda v=v: v for v in (":", "a:", ":b", "..:a", "a.b.c:D", "x" * 300 + ".py:A", "\0.py:A", "%s", "{}", "{0}")),
    *(lambda v=v: v for v in (b"bytes", {1}, object(), (), [], {}, [[]], [None], [{}], {"": 1}, {1: 2}, {None: 1})),
    lambda: _nested(900),
    lambda: _nested(39),
    lambda: _circle(),
    lambda: {"low": 1, "high": 2**60, "integer": True},
    lambda: {"low": -1e308, "high": 1e308},
    lambda: {"low": 0, "high": 1, "step": 1e-320},
    lambda: {"low": 1e-320, "high": 1, "log": True},
    lambda: {"low": 0, "high": 0},
    lambda: {"choices": [[0.5], "a", None, 2**63]},
    lambda: {"choices": []},
    lambda: {f"k{k}": k for k in range(50)},
    lambda: list(range(300)),
]


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def _circle() -> Any:
    value: dict[str, Any] = {}
    value["x"] = value
    return value


def mutated_text(text: str, dice: random.Random) -> str:
    """Return a text with one to four places changed: cut, doubled, or something put in."""
    for _ in range(dice.randint(1, 4)):
        a = dice.randrange(len(text) + 1)
        b = min(len(text), a + dice.choice([0, 0, 1, 1, 5, 40]))
        middle = dice.choice([dice.choice(TEXTS), dice.choice(TEXTS), text[a:b] * 2, chr(dice.randrange(0x11000))])
        text = text[:a] + middle + text[b:]
    return text


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield what holds each value, and the key or index of it."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in list(inner):
        yield value, key
        yield from _places(below)


def mutated_fields(fields: Any, dice: random.Random) -> Any:
    """Return fields with one to three changed: another value, another name, moved, or taken away."""
    fields = json.loads(json.dumps(fields))
    for _ in range(dice.randint(1, 3)):
        holder, key = dice.choice(list(_places(fields)) or [({}, "")])
        act = dice.randrange(8)
        if act < 5 or not holder:
            holder[key] = dice.choice(VALUES)()
            break  # what was put in is not looked into: it may be its own part
        other, there = dice.choice(list(_places(fields)))
        if act == 5:
            other[there] = json.loads(json.dumps(holder[key]))
        elif act == 6 and isinstance(holder, dict):
            holder[dice.choice(["", "lr", "a.b", "low", "choices", "\ud800", "é", "k" * 500, "a\nb"])] = holder.pop(key)
        elif isinstance(holder, dict):
            holder.pop(key)
    return fields


def as_json(fields: Any) -> str | None:
    """Return fields as JSON, which is YAML too; None of those that hold themselves, or numbers too long for Python."""
    try:
        return json.dumps(fields, default=str, skipkeys=True)
    except (ValueError, RecursionError):
        return None


def hold(read_it: Callable[[], Any], what: Any, seed: int) -> Any:
    """Return what was read, None if it was refused; fail on any error but one that a person can read."""
    try:
        return read_it()
    except BadInput as error:
        said = str(error)
        assert said.isprintable() and 0 < len(said) <= MESSAGE_MOST, f"MUTATION_SEED={seed}: {said!r} of {what!r:.3000}"
    except Exception as error:
        raise AssertionError(f"MUTATION_SEED={seed}: {type(error).__name__}: {error} of {what!r:.3000}") from error
    return None


def hold_accepted(spec: SweepSpec, what: Any, seed: int) -> None:
    """Fail unless a spec that was taken can be written, read back, announced, and searched by its sampler."""

    def used() -> None:
        text = spec.as_yaml()
        assert make_spec(read(text, "spec.yaml"), stored=True) == spec
        assert make_spec(json.loads(json.dumps(spec.model_dump(mode="json"))), stored=True) == spec
        assert all(line.isprintable() for line in [header(spec), *spec.notes()])
        for _, domain in spec.space.domains():
            distribution(domain)

    hold(used, what, seed)


@pytest.fixture
def seed() -> int:
    number = int(os.environ.get("MUTATION_SEED") or secrets.randbelow(2**32))
    print(f"MUTATION_SEED={number}")
    return number


@pytest.mark.parametrize("count", COUNTS)
def test_a_mutated_spec_file_is_taken_or_refused_in_one_line(count: int, seed: int, tmp_path: Path) -> None:
    dice, file = random.Random(seed), tmp_path / "s.yaml"
    taken = 0
    for _ in range(count):
        text = mutated_text(dice.choice(SPECS), dice)
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
        sets = dice.choice(
            [[], [f"{dice.choice(['trials', 'space.lr', 'budget.steps', 'a..b'])}={dice.choice(TEXTS)}"]]
        )
        if spec := hold(lambda: load_spec(str(file), sets), (text, sets), seed):  # noqa: B023
            hold_accepted(spec, text, seed)
            taken += 1
    assert taken > count // 50  # else nothing but refusals would be tried


@pytest.mark.parametrize("count", COUNTS)
def test_mutated_fields_are_taken_or_refused_in_one_line(count: int, seed: int, tmp_path: Path) -> None:
    dice, bases, file = random.Random(seed), [read(text, "s") for text in SPECS], tmp_path / "s.json"
    taken = 0
    for k in range(count):
        fields = mutated_fields(dice.choice(bases), dice)
        text = as_json(fields) if k % 2 else None
        file.write_text(text or "", "utf-8")
        if spec := hold(lambda: load_spec(str(file)) if text else make_spec(fields), fields, seed):  # noqa: B023
            hold_accepted(spec, fields, seed)
            taken += 1
    assert taken > count // 50


@pytest.mark.parametrize("count", COUNTS)
def test_a_mutated_best_file_is_taken_or_refused_in_one_line(count: int, seed: int, tmp_path: Path) -> None:
    dice, file, text = random.Random(seed), tmp_path / "best.yaml", best_text()
    fields = read(text, "best.yaml")
    for k in range(count):
        changed = (k % 2 and as_json(mutated_fields(fields, dice))) or mutated_text(text, dice)
        file.write_bytes(changed.encode("utf-8", "surrogatepass"))
        hold(lambda: read_best(str(file)), changed, seed)
