"""The first line of a run says what is tried."""

from pathlib import Path
from typing import Any

import pytest

from espalier.sweeps.spec.header import header
from espalier.sweeps.spec.spec import load_spec
from tests.sweeps.made import spec_with

BRANCHED = {"lr_exponent": {"low": -2, "high": 0.5}, "decay_points": {"low": 0.4, "high": 0.9, "branches": 4}}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"space": {"lr_exponent": {"low": -2.5, "high": 0.5}}}, ["at rates from 0.00316 to 3.16"]),
        ({"space": {"lr": {"low": 1e-4, "high": 0.1, "log": True}}}, ["at rates from 0.0001 to 0.1"]),
        ({"space": {"lr_exponent": [-3, -1]}}, ["at the rates 0.001, 0.1"]),
        ({"space": {"lr": 0.05}}, ["at the rate 0.05"]),
        ({"space": {"lr_exponent": "auto"}}, ["at rates that a range test finds first"]),
        ({"space": {"lr_exponent": list(range(-9, 1))}}, ["at 10 rates from 1e-09 to 1"]),
        ({"space": {}}, ["at rates from 0.001 to 1"]),
        ({"space": BRANCHED, "trials": 16}, ["16 trials", "4 exponents with 4 decay points each"]),
        ({"space": BRANCHED, "trials": 18}, ["5 exponents with 4 decay points each, the last with 2"]),
        ({"space": BRANCHED, "trials": 3}, ["1 exponent with 3 decay points each"]),
        (
            {"space": BRANCHED | {"scale": [0.1, 1.0]}, "trials": 16},
            ["4 exponents with 4 decay points", "each of the 2 values of scale gets about 2 of them"],
        ),
        (
            {"space": BRANCHED | {"scale": [0.1, 1.0], "batch_size": [4, 8, 11]}, "trials": 16},
            ["of the 6 combinations of batch_size, scale 4 at most are tried"],
        ),
        ({"space": {"scale": [0.1, 1.0]}, "trials": 16}, ["each of the 2 values of scale gets about 8 trials"]),
        ({"space": BRANCHED | {"lr_exponent": -1}, "trials": 8}, ["2 configurations with 4 decay points each"]),
        ({"budget": {"steps": 1}, "trials": 1}, ["1 trial of 1 step at"]),
        ({"replicates": 3, "trials": 5}, ["5 trials of 40 steps under 3 seeds each at rates"]),
        ({"space": {"decay_points": {"count": 2, "branches": 3}}, "trials": 6}, ["2 exponents with 3 pairs of decay"]),
        ({"space": {"decay_points": {"count": 4, "branches": 3}}, "trials": 6}, ["2 exponents with 3 sets of 4 decay"]),
    ],
    ids=str,
)
def test_the_first_line_says_what_is_tried(changed: dict[str, Any], words: list[str]) -> None:
    said = header(spec_with(**changed))
    assert said.startswith("sweep warm: ")
    assert all(word in said for word in words), said


def test_a_grid_has_no_trunks_and_each_choice_once() -> None:
    space = {"lr_exponent": [-3, -2], "scale": [0.1, 1.0]}
    said = header(spec_with(space=space, search={"sampler": "grid"}, trials=100))
    assert said == "sweep warm: 4 trials of 40 steps at the rates 0.001, 0.01"


def test_a_search_by_pieces_says_how_much_its_trials_train() -> None:
    library = Path(__file__).resolve().parents[3] / "sweeps" / "library"
    said = header(load_spec(str(library / "names.yaml")))
    assert said.startswith(
        "sweep names: 28 trials of up to 10,000 steps, as much training as 11.2 whole ones, at rates"
    )
    assert said.endswith("at rates from 0.0001 to 0.1")
    few = header(spec_with(search={"sampler": "thaw"}, trials=3))
    assert few == "sweep warm: 3 trials of 40 steps at rates from 0.001 to 0.01"


def test_the_header_is_one_printed_line_whatever_a_choice_is_called() -> None:
    said = header(spec_with(space={"lr_exponent": {"low": -2, "high": 0}, "hid\uf3ecden\n": [1, 2]}))
    assert said.isprintable() and "values of hid\\uf3ecden" in said
