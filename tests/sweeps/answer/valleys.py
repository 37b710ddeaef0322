"""Sweeps over valleys that are known: trials as a search would have left them, and the loss without its noise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from espalier.sweeps.results.trial_result import TrialResult
from espalier.sweeps.spec.spec import SweepSpec, make_spec

Array = npt.NDArray[np.float64]
LOW, HIGH = -3.0, 0.5
RATE: Mapping[str, Any] = {"lr_exponent": {"low": LOW, "high": HIGH}}
DECAY: Mapping[str, Any] = {"decay_points": {"low": 0.4, "high": 0.9}}
MORE: Mapping[str, Any] = {
    "momentum": {"low": 0.0, "high": 0.99},
    "weight_decay": {"low": 1e-6, "high": 1e-2, "log": True},
    "schedule": ["cosine", "linear"],
}
SPACES: Mapping[str, Mapping[str, Any]] = {"rate": RATE, "decay": RATE | DECAY, "more": RATE | MORE}


def spec_of(kind: str, **changed: Any) -> SweepSpec:
    """Return the spec of a kind of space: rate, decay (with a decay point) or more (with three others)."""
    schedule = "step" if kind == "decay" else "cosine"
    return make_spec({"name": "made", "task": "names", "schedule": schedule, "space": SPACES[kind], **changed})


@dataclass(frozen=True)
class Truth:
    """A valley: steeper on one side than on the other, flat far below, a cliff above which trainings diverge.

    turn: by how much the best exponent moves when another number goes from one end of its range to the other.
    """

    best: float
    right: float
    left: float
    cliff: float
    depth: float
    turn: float = 0.0

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> "Truth":
        """Draw one: a decade off costs from .04 to .8."""
        best, right = rng.uniform(-2.2, -0.3), 10 ** rng.uniform(-1.3, 0)
        left, depth = right * 10 ** rng.uniform(-0.7, 0.7), right * 10 ** rng.uniform(-1.5, -0.3)
        return cls(best, right, left, best + rng.uniform(0.8, 2.5), depth, rng.uniform(-0.6, 0.6))

    def loss(self, exponents: Array, others: Sequence[float] = ()) -> Array:
        """Return the loss at exponents (N,). others: what else is searched, as shares of the ranges."""
        x = exponents - self.best - self.turn * ((others[0] - 0.6) if others else 0.0)
        bowl = np.where(x > 0, self.right * x * x, self.left * (np.sqrt(1 + 4 * x * x) - 1) / 2)
        beyond = np.clip(4 * (exponents - self.cliff + 0.5), 0, 20)
        rest = sum(self.depth * (4 if k == 0 else 0.3) * (u - 0.6) ** 2 for k, u in enumerate(others))
        return 2.3 + bowl + np.where(beyond > 0, 0.3 * np.expm1(beyond), 0.0) + rest


def params_of(kind: str, exponent: float, others: Sequence[float]) -> dict[str, Any]:
    """Return a trial's configuration. others: shares of the ranges."""
    params: dict[str, Any] = {"lr_exponent": exponent, "seed": 0}
    if kind == "decay":
        params["decay_points"] = [0.4 + 0.5 * others[0]]
    if kind == "more":
        params |= {"momentum": 0.99 * others[0], "weight_decay": 10 ** (-6 + 4 * others[1]), "schedule": "cosine"}
    return params


def others_of(kind: str, params: Mapping[str, Any]) -> list[float]:
    """Invert `params_of`."""
    if kind == "decay":
        return [(params["decay_points"][0] - 0.4) / 0.5]
    return [params["momentum"] / 0.99, (np.log10(params["weight_decay"]) + 6) / 4] if kind == "more" else []


def made_sweep(rng: np.random.Generator, truth: Truth, kind: str, count: int, noise: float) -> list[TrialResult]:
    """Return the trials of a sweep: half of them spread over the space, the others drawn near the best so far."""
    trials: list[TrialResult] = []
    best: tuple[float, float, list[float]] | None = None
    size = {"rate": 0, "decay": 1, "more": 2}[kind]
    for number in range(count):
        if best is None or number < count // 2:
            exponent, others = float(rng.uniform(LOW, HIGH)), [float(u) for u in rng.random(size)]
        else:
            exponent = float(np.clip(best[1] + 0.45 * rng.standard_normal(), LOW, HIGH))
            others = [float(np.clip(u + 0.2 * rng.standard_normal(), 0, 1)) for u in best[2]]
        params = params_of(kind, exponent, others)
        if kind == "more" and rng.random() < 0.3:
            params["schedule"] = "linear"
        if exponent > truth.cliff + 0.3:
            trials.append(TrialResult(number, "diverged", None, params, verdict="diverged", evidence="NaN at step 9"))
            continue
        value = float(truth.loss(np.array([exponent]), others)[0] + noise * rng.standard_normal())
        trials.append(TrialResult(number, "complete", value, params, verdict="healthy"))
        if best is None or value < best[0]:
            best = value, exponent, others
    return trials


def upside_down(trials: Sequence[TrialResult]) -> list[TrialResult]:
    """Return the trials of a metric to maximise: all values with the other sign."""
    return [t if t.value is None else replace(t, value=-t.value) for t in trials]


def branched_sweep(
    rng: np.random.Generator, truth: Truth, trunks: int, branches: int, noise: float
) -> list[TrialResult]:
    """Return the trials of trunks that each have so many branches: nearly all of the noise is that of their trunk."""
    trials: list[TrialResult] = []
    for exponent in sorted(float(x) for x in rng.normal(truth.best, 0.5, trunks)):
        common = noise * rng.standard_normal()
        for share in (float(u) for u in rng.random(branches)):
            own = 0.3 * noise * rng.standard_normal()
            value = float(truth.loss(np.array([exponent]), [share])[0]) + common + own
            params = params_of("decay", exponent, [share])
            trials.append(TrialResult(len(trials), "complete", value, params, verdict="healthy"))
    return trials
