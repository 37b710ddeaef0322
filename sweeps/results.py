"""Results as plain values: the table of trials, the best one, how many ended how. Pure."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from core.health import Thresholds, stuck


@dataclass(frozen=True)
class TrialResult:
    """One row of a sweep's table."""

    number: int
    state: str  # running, complete, diverged, stopped, failed
    value: float | None
    params: Mapping[str, Any]
    spread: float | None = None
    verdict: str = ""
    evidence: str = ""
    duration_s: float | None = None
    reports: Mapping[int, float] = field(default_factory=dict)
    ended: float | None = None  # seconds since 1970
    mlflow_run: str = ""  # the id of its run, once MLflow has it


def best_trial(trials: Sequence[TrialResult], mode: str) -> TrialResult | None:
    """Return the complete trial with the best value, the earlier of two equals; None if there is none."""
    complete = [t for t in trials if t.state == "complete" and t.value is not None]
    return (
        min(complete, key=lambda t: ((t.value or 0.0) * (1 if mode == "min" else -1), t.number)) if complete else None
    )


def ranked(trials: Sequence[TrialResult], mode: str) -> list[TrialResult]:
    """Return complete trials, the best first, then the others by number."""
    sign = 1 if mode == "min" else -1
    return sorted(
        trials, key=lambda t: (t.state != "complete", sign * (t.value or 0.0) if t.state == "complete" else 0, t.number)
    )


def judged_together(trials: Sequence[TrialResult], thresholds: Thresholds) -> list[TrialResult]:
    """Return the trials with the verdict that shows only beside others: stuck, of those that seem healthy alone.

    The objective must be a loss, the smaller the better.
    """
    best = best_trial(trials, "min")
    if best is None or best.value is None:
        return list(trials)
    found = []
    for t in trials:
        alone = t.state == "complete" and t.verdict == "healthy" and t is not best
        said = stuck([t.reports[s] for s in sorted(t.reports)], f"trial {best.number}", best.value, thresholds)
        found.append(replace(t, verdict=said.name, evidence=said.evidence) if alone and said else t)
    return found


def counts(trials: Sequence[TrialResult]) -> dict[str, int]:
    """Return how many trials are in each state.

    >>> counts([TrialResult(0, "complete", 1.0, {}), TrialResult(1, "running", None, {})])
    {'complete': 1, 'running': 1}
    """
    found: dict[str, int] = {}
    for trial in trials:
        found[trial.state] = found.get(trial.state, 0) + 1
    return dict(sorted(found.items()))


def finite(value: Any) -> Any:
    """Return a value with null for the numbers that JSON does not have.

    >>> finite({"loss": float("nan"), "curve": [(1, 2.5), (2, float("inf"))]})
    {'loss': None, 'curve': [[1, 2.5], [2, None]]}
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    return [finite(inner) for inner in value] if isinstance(value, list | tuple) else value


def params_text(params: Mapping[str, Any], names: Collection[str]) -> str:
    """Return some of a trial's hyperparameters, briefly.

    >>> params_text({"lr_exponent": -0.51234, "decay_points": [0.61, 0.8], "seed": 0}, ["lr_exponent", "decay_points"])
    'lr_exponent -0.5123, decay_points 0.61 0.8'
    """
    return ", ".join(f"{name} {_short(value)}" for name, value in params.items() if name in names)


def _short(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(_short(v) for v in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
