"""A cohort as a worker gets it."""

from collections.abc import Sequence
from pathlib import Path

from espalier.sweeps import cohorts as plan
from espalier.sweeps.running.messages import Assignment, WorkerSettings
from espalier.sweeps.search.cohort_plan import CohortPlan, PlannedTrial, Provenance
from espalier.sweeps.spec.spec import SweepSpec


def assigned(
    spec: SweepSpec,
    folder: Path,
    patience_s: float | None = 1.0,
    only: Sequence[int] = (0, 1),
    provenance: Provenance | None = None,
) -> Assignment:
    """Return a cohort of two trials, or of one of them, as a worker gets it."""
    fields = spec.model_dump(mode="json")
    places = [str(folder), str(folder), str(folder / "states"), str(folder / "stop"), str(folder / "time")]
    settings = WorkerSettings("s", fields, 2, 2, *places, patience_s, 1, "cpu")
    trials = [PlannedTrial(k, plan.first_point(spec) | {"lr_exponent": -2.0 - k}) for k in only]
    return Assignment(settings, CohortPlan("cohort-0", trials), provenance)
