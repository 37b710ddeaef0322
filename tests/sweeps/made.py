"""Specs, events and rows made by hand, where a test needs no training."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import yaml

from espalier.core.training.events import Ended, Event, Reported, Started, Status, TrialId
from espalier.sweeps import best_file
from espalier.sweeps.best_file import BestFile
from espalier.sweeps.identity import versions
from espalier.sweeps.results.trial_result import TrialResult
from espalier.sweeps.spec.spec import SweepSpec, make_spec

THERMOMETER: Mapping[str, Any] = {
    "name": "warm",
    "task": "espalier.core.tasks.thermometer:Thermometer",
    "budget": {"steps": 40, "batch_size": 11, "reports": 4},
    "space": {"lr_exponent": {"low": -3, "high": -2}},
    "trials": 6,
    "search": {"sampler": "random"},
}
"""The fields of a spec that is right. Its trials are asked for at once, a whole cohort of them."""


def spec_with(**changed: Any) -> SweepSpec:
    """Return the thermometer's spec with other fields."""
    return make_spec(dict(THERMOMETER) | changed)


def report(trial: str, step: int, loss: float, **values: float) -> Reported:
    """Return a report of a trial whose training loss is one above its validation loss."""
    values = {"valid_loss": loss, "train_loss": loss + 1, **values}
    return Reported(trial, step, values, [(step - 1, loss + 2), (step, loss + 1)])


def end(trial: str, step: int, loss: float, status: str = "complete", **changed: Any) -> Ended:
    """Return a trial's last event."""
    verdict = "diverged" if status == "diverged" else "healthy"
    values = {"valid_loss": loss, "train_loss": loss + 1}
    fields: dict[str, Any] = {
        "values": values,
        "verdict": verdict,
        "evidence": f"evidence of {trial}",
        "curve": [(step, loss + 1)],
        "reports": [(step, values)],
    }
    return Ended(trial, step, cast(Status, status), **fields | changed)


def life(number: int, loss: float, steps: Sequence[int] = (10, 20, 30, 40), replicates: int = 1) -> list[Event]:
    """Return all events of a trial that completes, replicate r with a loss of loss + r."""
    names = [str(TrialId(number, r)) for r in range(replicates)]
    events: list[Event] = [Started(name, 0) for name in names]
    for step in steps:
        events += [report(name, step, loss + r) for r, name in enumerate(names)]
    return events + [end(name, steps[-1], loss + r) for r, name in enumerate(names)]


def row(number: int, value: float | None = None, state: str = "complete", **changed: Any) -> TrialResult:
    """Return one row of a sweep's table."""
    params = {"lr_exponent": -2.5 + number / 8, "decay_factor": 0.1, "warmup": 0.0, "seed": 0}
    return TrialResult(number, state, value, **({"params": params} | changed))


def best_fields(**changed: Any) -> dict[str, Any]:
    """Return the fields of a best file of the thermometer, with numbers that training will not give."""
    fields = {
        "sweep": "warm-20260101-abcd",
        "trial": 3,
        "params": {"lr_exponent": -2.0, "decay_factor": 0.1, "warmup": 0.0, "seed": 0},
        "result": {"valid_loss": 22.0},
        "spec": spec_with().model_dump(mode="json"),
        "program": "vmap",
        "device": "cpu",
        "made_with": json.loads(json.dumps(versions())),  # as Optuna's storage gives them back
        "reports": [[[step, {"valid_loss": 22.0}] for step in (10, 20, 30, 40)]],
    }
    return fields | changed


def best_text(**changed: Any) -> str:
    """Return a best file with some fields changed."""
    return yaml.safe_dump(best_fields(**changed), sort_keys=False)


def read_best(path: str) -> tuple[BestFile, SweepSpec]:
    """Read a best file, as a rerun does."""
    return best_file.parse_best(best_file.best_text(path), path)
