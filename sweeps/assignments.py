"""Convert a point of the space into what the process of a function or a command is to train."""

import math
from collections.abc import Mapping
from typing import Any

from espalier.core.foreign.folder import Assignment
from espalier.core.schedules.registry import SCHEDULES
from espalier.core.schedules.warmup import WARMUP
from espalier.core.training.events import TrialId
from espalier.core.training.trial import report_steps
from espalier.sweeps.cohorts import rungs, schedule_of
from espalier.sweeps.search.cohort_plan import PlannedTrial
from espalier.sweeps.spec.kinds import numbers_of
from espalier.sweeps.spec.space import ENGINE, Point, extremes
from espalier.sweeps.spec.spec import SweepSpec

NOT_VALUES = ("lr_exponent", "seed", "schedule")


def values(spec: SweepSpec, point: Point) -> dict[str, Any]:
    """Return the hyperparameters of a point by the names that the code has for them: `lr` in place of its exponent."""
    known = {"lr": rate_of(spec, point["lr_exponent"])} if "lr_exponent" in point else {}
    known |= {name: point[name] for name in ENGINE if name in point and name not in NOT_VALUES}
    return known | {name: point[name] for name in spec.space.own() if name in point}


def rate_of(spec: SweepSpec, exponent: float) -> float:
    """Return the rate of an exponent: of rates that a spec lists, the one that it wrote.

    >>> from espalier.sweeps.spec.spec import make_spec
    >>> spec = make_spec({"name": "a", "function": "a.py:train", "space": {"lr": [3e-4, 1e-3]}})
    >>> rate_of(spec, math.log10(3e-4)), rate_of(spec, -2.0)
    (0.0003, 0.01)
    """
    rates = spec.space.lr
    written = [] if rates is None else [float(rate) for rate in extremes(rates)]
    computed = 10.0 ** float(exponent)
    return next((rate for rate in written if math.isclose(rate, computed, rel_tol=1e-12)), computed)


def schedule(spec: SweepSpec, point: Point) -> Mapping[str, Any]:
    """Return the schedule of a point, as `espalier.torch_scheduler` takes it; empty where there is no rate."""
    if "lr_exponent" not in point:
        return {}
    kind, beside = schedule_of(spec, point), numbers_of(spec.schedule)
    taken = [WARMUP, *SCHEDULES[kind].numbers]
    numbers = {n.name: point.get(n.name, beside.get(n.name)) for n in taken}
    known = {name: value for name, value in numbers.items() if value is not None}
    phases = {"phases": [list(phase) for phase in spec.schedule.phases]} if kind == "phases" else {}
    points = {"decay_points": list(point["decay_points"])} if point.get("decay_points") else {}
    rate = rate_of(spec, point["lr_exponent"])
    return {"kind": kind, "steps": spec.budget.steps, "lr": rate, **points, **known, **phases}


def assignments(spec: SweepSpec, trial: PlannedTrial) -> list[Assignment]:
    """Return what each replicate of a trial is to train, under seed, seed + 1, ..."""
    budget, point, piece = spec.budget, trial.point, trial.piece
    due = sorted({*report_steps(budget.steps, budget.reports), *rungs(spec)})
    return [
        Assignment(
            str(TrialId(trial.number, replicate)),
            values(spec, point),
            schedule(spec, point),
            int(point["seed"]) + replicate,
            budget.steps,
            spec.objective.metric,
            due,
            piece.keep_at if piece else (),
            piece.until if piece else None,
        )
        for replicate in range(spec.replicates)
    ]
