"""Train the trial of a best file again, and compare every report to the last bit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from espalier.core.errors import BadInput, counted
from espalier.core.programs import PROGRAMS
from espalier.sweeps import identity
from espalier.sweeps.best_file import BestFile
from espalier.sweeps.code.environment import differences, environment
from espalier.sweeps.repeat.code import NO_CODE, CodeUsed
from espalier.sweeps.spec.spec import SweepSpec

if TYPE_CHECKING:
    from espalier.core.training.events import Ended
    from espalier.core.training.watch import Watcher  # which imports torch


@dataclass(frozen=True)
class Rerun:
    """The comparison of a best file with its repetition. version: of the model that its weights became, if any."""

    metric: str
    expected: float
    value: float | None
    difference: str | None
    surroundings: Sequence[str]
    version: str | None = None

    @property
    def reproduced(self) -> bool:
        """Whether every reported number was the same to the last bit."""
        return self.difference is None


def rerun(best: BestFile, spec: SweepSpec, watcher: "Watcher | None" = None, code: CodeUsed = NO_CODE) -> Rerun:
    """Train the trial again by the same program and compare every report. Raises BadInput if its task is gone.

    watcher: one more watcher. code: that is in use.
    """
    import torch

    from espalier.core.checks import preflight
    from espalier.core.programs.choose import why_not
    from espalier.core.task import load_task
    from espalier.sweeps import cohorts as plan
    from espalier.sweeps.own_kinds import code_of

    torch.set_num_threads(1)
    task = load_task(spec.task, plan.task_options(spec, best.params))
    data = preflight.check(task, spec.budget.batch_size, spec.resources.precision).data
    now = identity.versions() | {"data": data.fingerprint(), "code": code_of(spec, task)}
    code.check(best.made_with.get("code"), now["code"])
    device = "cuda" if best.device == "cuda" and torch.cuda.is_available() else "cpu"
    if reason := why_not(best.program, task, tuple(t[: spec.budget.batch_size] for t in data.train)):
        raise BadInput(f"program: the trial ran by the {best.program} program, which is not available here: {reason}")
    ends = _train(best, spec, device, watcher)
    metric, value = spec.objective.metric, _merged_values(ends).get(spec.objective.metric)
    expected = best.result.get(metric, float("nan"))
    differences = (
        _first_difference(reports, end.reports, r, spec.replicates)
        for r, (reports, end) in enumerate(zip(best.reports, ends, strict=True))
    )
    difference = next(filter(None, differences), None)
    if difference is None and value != expected:
        difference = f"{metric} is {value!r}, the file says {expected!r}"
    surroundings = [*_changed_surroundings(best, now, device), *filter(None, [code.differing])]
    return Rerun(metric, expected, value, difference, surroundings)


def _train(best: BestFile, spec: SweepSpec, device: str, watcher: "Watcher | None") -> "list[Ended]":
    """Train the trial, and return the ends of its replicates, in order."""
    from espalier.core.training.events import Ended
    from espalier.sweeps.engine import make_cohort
    from espalier.sweeps.search.cohort_plan import PlannedTrial, Provenance

    lanes = max(best.lanes, spec.replicates) if PROGRAMS[best.program].fixed_width else spec.replicates
    provenance = Provenance(best.program, "as in the best file", lanes, device)
    unstopped = spec.model_copy(update={"stopping": None})
    cohort = make_cohort(unstopped, [PlannedTrial(best.trial, best.params)], provenance, watcher)
    ends = [event for event in cohort.train() if isinstance(event, Ended)]
    return sorted(ends, key=lambda end: end.trial_id)


def _merged_values(ends: "Sequence[Ended]") -> Mapping[str, float]:
    """Return the last values of a trial, averaged over its replicates."""
    from espalier.sweeps.search.replicates import Replicates
    from espalier.sweeps.search.trial_events import Outcome

    replicates = Replicates(ends[0].trial_id.number, len(ends))
    outcome = [replicates.merge(end) for end in ends][-1]
    assert isinstance(outcome, Outcome)
    return outcome.values


def _changed_surroundings(best: BestFile, now: Mapping[str, object], device: str) -> list[str]:
    """Return the differences in versions, code, data, device and environment since the trial was trained."""
    then = best.made_with | {"device": best.device}
    known = [
        f"{name}: {then[name]} then, {value} now"
        for name, value in (dict(now) | {"device": device}).items()
        if name in then and str(then[name]) != str(value)
    ]
    if best.environment is None:
        return known
    imported = best.code.packages if best.code else []
    said = {line.partition(":")[0] for line in known}
    others = differences(best.environment, environment(), imported)
    return [*known, *(line for line in others if line.partition(":")[0] not in said)]


def _first_difference(
    expected: Sequence[tuple[int, Mapping[str, float]]],
    trained: Sequence[tuple[int, Mapping[str, float]]],
    replicate: int,
    of: int,
) -> str | None:
    which = f" of replicate {replicate}" if of > 1 else ""
    for (step, then), (at, now) in zip(expected, trained, strict=False):
        if step != at:
            return f"a report{which} after step {at}, where the file has one after step {step}"
        for name in then:
            if name not in now or then[name] != now[name]:
                return f"step {step}{which}: {name} is {now.get(name)!r}, the file says {then[name]!r}"
    if len(expected) != len(trained):
        return f"{counted(len(trained), 'report')}{which}, where the file has {len(expected)}"
    return None
