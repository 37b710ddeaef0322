"""`sweep best --top` and `--across`: the best trials of one sweep, and of all with one objective."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from tests.sweeps.cli.test_compare import make

Sweep = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    make(home, "warm-1", {0: 2.5, 1: 2.4, 2: 2.6, 3: 2.3}, confirm=1)
    make(home, "warm-2", {0: 2.45, 1: 2.4})
    make(home, "cold-1", {0: 2.1}, name="cold", data="d2")
    make(home, "warm-up", {0: 9.0}, objective={"metric": "valid_loss", "mode": "max"})
    return home


def rows(done: Result) -> list[tuple[str, int]]:
    return [(row["sweep"], row["trial"]) for row in json.loads(done.stdout)["trials"]]


@pytest.mark.parametrize(
    ("pattern", "top", "expected"),
    [
        ("warm*", 10, [("warm-1", 1), ("warm-2", 1), ("warm-2", 0), ("warm-1", 0), ("warm-1", 2)]),
        ("warm", 2, [("warm-1", 1), ("warm-2", 1)]),
        ("warm-[2u]*", 10, [("warm-up", 0)]),
        ("warm-2", 10, [("warm-2", 1), ("warm-2", 0)]),
        ("*", 3, [("cold-1", 0), ("warm-1", 1), ("warm-2", 1)]),
        ("cold", 1, [("cold-1", 0)]),
    ],
)
def test_the_best_of_all_whose_id_or_name_is_so(
    sweep: Sweep, home: Path, pattern: str, top: int, expected: list[tuple[str, int]]
) -> None:
    done = sweep("best", "--across", pattern, "--top", str(top), "--json")
    assert done.exit_code == 0 and rows(done) == expected, done.output
    table = sweep("best", "--across", pattern, "--top", str(top)).stdout.splitlines()
    assert len(table) == len(expected)
    assert all(f"trial {n}" in line for line, (_, n) in zip(table, expected, strict=True))


def test_sweeps_of_another_objective_are_named_and_left_out_and_other_data_are_said(sweep: Sweep, home: Path) -> None:
    done = sweep("best", "--across", "*")
    assert "left out, since their objective is not min valid_loss: warm-up (max valid_loss)" in done.stderr
    assert "not all were trained on the same data: cold-1 on d2, warm-2 on d1" in done.stderr
    document = json.loads(sweep("best", "--across", "*", "--json").stdout)
    assert [left["sweep"] for left in document["left_out"]] == ["warm-up"]
    assert (document["schema"], document["metric"], document["mode"]) == (1, "valid_loss", "min")


def test_of_one_sweep_it_is_a_table_without_confirmations(sweep: Sweep, home: Path) -> None:
    done = sweep("best", "warm-1", "--top", "10", "--json")
    assert rows(done) == [("warm-1", 1), ("warm-1", 0), ("warm-1", 2)]
    assert rows(sweep("best", "warm-1", "--json")) == [("warm-1", 1)]
    lines = sweep("best", "warm-1", "--top", "2").stdout.splitlines()
    assert lines[0].split()[:4] == ["1", "trial", "1", "2.40000"] and "lr_exponent" in lines[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name one sweep, or several by --across 'names*'"),
        (["warm-1", "--across", "*"], "name one sweep, or several by --across 'names*'"),
        (["warm-1", "--trial", "1", "--top", "2"], "--trial: it is of a file; leave --top, --across and --json out"),
        (["--across", "names*"], "--across 'names*': no sweep has such an id or name; `sweep list` names them"),
        (["warm-1", "--top", "0"], "0 is not in the range"),
        (["warm-9", "--top", "1"], "unknown sweep 'warm-9'"),
    ],
)
def test_what_is_refused(sweep: Sweep, home: Path, arguments: list[str], message: str) -> None:
    done = sweep("best", *arguments)
    assert done.exit_code == 2 and message in done.stderr, done.stderr
