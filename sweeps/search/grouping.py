"""Group trials into cohorts by their structure: those of one cohort share a program."""

from collections.abc import Sequence

from espalier.sweeps.cohorts import structural_key
from espalier.sweeps.search.cohort_plan import CohortPlan, PlannedTrial
from espalier.sweeps.spec.spec import SweepSpec


def cohorts_of(spec: SweepSpec, trials: Sequence[PlannedTrial], cohorts: int, cohort_trials: int) -> list[CohortPlan]:
    """Group trials that were asked for together: enough for one cohort, or a round, shared among all cohorts.

    Confirmations, which are asked for together as well, are shared among all cohorts too.

    cohorts: how many train at once. cohort_trials: the most trials of a cohort.
    """
    groups: dict[str, list[PlannedTrial]] = {}
    for trial in trials:
        groups.setdefault(structural_key(spec, trial.point), []).append(trial)
    width = cohort_trials
    confirming = any(trial.confirms is not None for trial in trials)
    if spec.round_trials or confirming:
        branches = 1 if confirming else spec.branches
        width = min(width, -(-len(trials) // (cohorts * branches)) * branches)
    parts = (group[k : k + width] for group in groups.values() for k in range(0, len(group), width))
    return [CohortPlan(f"cohort-{part[0].number}", tuple(part)) for part in parts]
