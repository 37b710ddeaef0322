"""A sweep's trials as a table: its types follow from the spec, whatever became of the trials."""

import math
from typing import Any

import pytest

from espalier.frames import trials_frame
from espalier.result import Result
from espalier.sweeps.results.trial_result import TrialResult
from tests.sweeps.made import row, spec_with

SPACE: dict[str, Any] = {
    "lr_exponent": {"low": -3, "high": -1},
    "hidden": {"low": 4, "high": 8, "integer": True},
    "dropout": [0, 0.5],
    "bias": [True, False],
    "act": ["tanh", "relu"],
    "decay_points": {"count": 2},
    "seed": [1, 2],
}
SPEC = spec_with(space=SPACE, replicates=2)
POINT: dict[str, Any] = {"lr_exponent": -2.0, "decay_factor": 0.1, "warmup": 0.0, "seed": 1, "hidden": 4, "dropout": 0}
POINT |= {"bias": True, "act": "tanh", "decay_points": [0.5, 0.8]}
KINDS: dict[str, str] = {
    "state": "str",
    "valid_loss": "float64",
    "valid_loss_std": "float64",
    "lr_exponent": "float64",
    "hidden": "Int64",
    "dropout": "float64",
    "bias": "boolean",
    "act": "str",
    "seed": "Int64",
    "decay_points": "object",
    "lr": "float64",
    "verdict": "str",
    "evidence": "str",
    "duration_s": "float64",
}
HAPPENED: dict[str, list[TrialResult]] = {
    "all complete": [row(n, 1.0, params=POINT, spread=0.5, duration_s=1.0) for n in range(3)],
    "all diverged": [row(n, None, "diverged", params=POINT) for n in range(3)],
    "one ran": [row(0, None, "running", params={})],
    "some of each": [row(0, 2.0, params=POINT), row(1, None, "failed", params={})],
    "none began": [],
}


@pytest.mark.parametrize("trials", HAPPENED.values(), ids=HAPPENED)
def test_the_types_are_the_same_whatever_happened(trials: list[TrialResult]) -> None:
    table = trials_frame(trials, SPEC)
    assert {name: str(kind) for name, kind in table.dtypes.items() if name in KINDS} == KINDS
    assert len(table) == len(trials) and table.index.dtype == "int64"


def test_a_trial_without_a_value_has_nan() -> None:
    table = trials_frame(HAPPENED["some of each"], SPEC)
    assert table["valid_loss"].tolist()[0] == 2.0 and math.isnan(table["valid_loss"].tolist()[1])
    assert table["decay_points"].iloc[0] == (0.5, 0.8) and table["hidden"].sum() == 4


class NoReports:
    """A place whose sweep has no report of its objective."""

    def points(self, metric: str) -> list[Any]:
        return []


def test_the_curves_of_a_sweep_without_reports_are_empty() -> None:
    kept: Any = NoReports()
    none: Any = None
    curves = Result("a", SPEC, "finished", HAPPENED["all diverged"], "", none, kept).curves()
    assert [str(kind) for kind in curves.dtypes] == ["int64", "int64", "float64"] and curves.empty
