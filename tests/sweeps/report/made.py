"""Sweeps made by hand for reports: of every kind, and of any size."""

import math
import random
from collections.abc import Mapping
from typing import Any

from espalier.sweeps.report.material import Material, Ratios, Trace, Work
from espalier.sweeps.results.reference_result import ReferenceResult
from espalier.sweeps.results.trial_result import TrialResult
from espalier.sweeps.spec.domains import Choice
from espalier.sweeps.spec.spec import SweepSpec, make_spec

STEPS = 1000
BAD = "</script><img src=x onerror=alert(1)>"
LANES: Mapping[str, Any] = {
    "name": "made",
    "task": "names",
    "schedule": "step",
    "budget": {"steps": STEPS},
    "space": {"lr_exponent": {"low": -3, "high": 0}, "decay_points": {"low": 0.4, "high": 0.9}},
}
FUNCTION: Mapping[str, Any] = {
    "name": "made",
    "function": "train.py:train",
    "budget": {"steps": STEPS},
    "space": {
        "lr": {"low": 1e-4, "high": 1, "log": True},
        "width": [16, 32, 64, 128],
        "optimizer": ["sgd", "adam"],
        "momentum": {"low": 0.5, "high": 0.99, "when": {"optimizer": "sgd"}},
    },
}
KINDS: Mapping[str, Mapping[str, Any]] = {
    "lanes": LANES,
    "a function with choices and a condition": FUNCTION,
    "a metric to maximise": FUNCTION | {"objective": {"metric": "accuracy", "mode": "max"}},
    "no rate": FUNCTION | {"space": {"lr": None, "width": [16, 32], "act": ["relu", "gelu"]}},
    "one number": FUNCTION | {"space": {"lr": None, "depth": {"low": 1, "high": 9, "integer": True}}},
    "long names": FUNCTION
    | {
        "space": {
            f"a_rather_long_name_of_a_hyperparameter_{n}": ["a-long-word-for-an-activation-function", f"relu-{n}"]
            for n in range(4)
        }
        | {"lr": {"low": 1e-4, "high": 1, "log": True}}
    },
    "hostile names": FUNCTION
    | {
        "space": {
            "lr": {"low": 1e-4, "high": 1, "log": True},
            "a.b": {"low": 1e-4, "high": 1, "log": True},
            "a[0]": {"low": 0, "high": 1},
            'it\'s "x"\\': [BAD, "b", "datum.x", "{{x}}"],
            BAD: {"low": 1, "high": 9, "integer": True},
        },
        "objective": {"metric": BAD, "mode": "max"},
    },
}


def point_of(spec: SweepSpec, draw: random.Random) -> dict[str, Any]:
    """Return a point of a space at random."""
    sampled: dict[str, Any] = {}
    for name, domain in spec.space.domains():
        if not spec.space.exists(name, sampled):
            continue
        if isinstance(domain, Choice):
            sampled[name] = draw.choice(domain.choices)
        elif domain.integer:
            sampled[name] = draw.randint(int(domain.low), int(domain.high))
        elif domain.log:
            sampled[name] = math.exp(draw.uniform(math.log(domain.low), math.log(domain.high)))
        else:
            sampled[name] = draw.uniform(domain.low, domain.high)
    return spec.space.resolve(sampled)


def trial_of(spec: SweepSpec, number: int, draw: random.Random) -> TrialResult:
    """Return a trial; high rates diverge, every fifth other one is stopped."""
    point = point_of(spec, draw)
    exponent = point.get("lr_exponent", -2.0)
    evidence = f"{BAD} of trial {number}"
    if exponent > -0.4:
        return TrialResult(number, "diverged", None, point, verdict="diverged", evidence=evidence, reports={50: 9.0})
    loss = (exponent + 1.5) ** 2 + 0.1 * draw.random() + sum(0.01 * len(str(v)) for v in point.values())
    sign = spec.objective.sign
    value = loss if sign > 0 else 1 / (1 + loss)
    reports = {step: value + sign / step for step in range(100, STEPS + 1, 100)}
    times = {"duration_s": 2.5, "ended": 1.7e9 + number}
    if draw.random() < 0.2:
        kept = {step: reports[step] for step in list(reports)[:4]}
        why = "parked at step 400, where it was not worth the rest of its training"
        return TrialResult(number, "stopped", None, point, verdict="healthy", evidence=why, reports=kept, **times)
    verdict = draw.choice(["healthy", "healthy", "hot", "frozen"])
    reports[STEPS] = value
    return TrialResult(number, "complete", value, point, verdict=verdict, evidence=evidence, reports=reports, **times)


def material_of(number: int, fields: Mapping[str, Any] = LANES, seed: int = 7, **changed: Any) -> Material:
    """Return a sweep of so many trials. changed: fields of the material."""
    draw, spec = random.Random(seed), make_spec(dict(fields))
    trials = [trial_of(spec, n, draw) for n in range(number)]
    traces = {t.number: trace_of(t, draw) for t in trials} if not spec.is_foreign else {}
    worst = max((t.value for t in trials if t.value is not None), default=1.0)
    references = [ReferenceResult("adamw", f"AdamW {BAD}", "complete", worst)] if number > 4 else []
    known: dict[str, Any] = {
        "id": "made-20261130-0a1b",
        "spec": spec,
        "state": "finished",
        "trials": trials,
        "references": references,
        "traces": traces,
        "work": Work(STEPS * number // 2, STEPS * number // 5),
        "begun": 1.7e9 - 5,
        "facts": {"torch": "2.13.0", "code": BAD},
    }
    return Material(**known | changed)


def trace_of(trial: TrialResult, draw: random.Random) -> Trace:
    """Return the trace of a trial: a loss that falls, and ratios of a few tensors."""
    last = max(trial.reports, default=STEPS)
    curve = [
        (step, 3.0 * math.exp(-step / 700) + 0.05 * draw.random()) for step in range(last // 40, last + 1, last // 40)
    ]
    tensors = ["embedding.weight", "layers.0.weight", "layers.0.bias", BAD]
    rows = [[step, *(-3 + draw.random() for _ in tensors)] for step in range(0, last, 20)]
    return Trace(curve, Ratios(tensors, rows))
