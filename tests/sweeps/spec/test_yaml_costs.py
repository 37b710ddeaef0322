"""What YAML may cost: bombs of aliases and merge keys, many keys, many levels."""

from pathlib import Path
from typing import Any

import pytest

from espalier.core.errors import BadInput
from espalier.core.tasks.thermometer import Thermometer
from espalier.sweeps.spec.overrides import override
from espalier.sweeps.spec.spec import load_spec, make_spec
from espalier.sweeps.spec.values import DEPTH as DEEPEST
from espalier.sweeps.spec.yaml12 import ALIASED, DEPTH, read, write
from tests.sweeps.made import best_fields, read_best, spec_with


class Deep(Thermometer):
    """A task whose option is deep."""

    def __init__(self, x: Any = None):
        super().__init__()


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


@pytest.mark.each_value
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
    stored = spec_with(task="tests.sweeps.spec.test_yaml_costs:Deep", task_options={"x": [value]}).model_dump(
        mode="json"
    )
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
