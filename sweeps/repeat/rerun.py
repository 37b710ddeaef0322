"""Train the trial of a best file again, and compare every report to the last bit."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from espalier.core.errors import BadInput, counted
from espalier.core.foreign.sharing import TOLERANCE
from espalier.core.programs import PROGRAMS
from espalier.sweeps import identity
from espalier.sweeps.best_file import BestFile
from espalier.sweeps.code.environment import differences, environment
from espalier.sweeps.repeat.code import NO_CODE, CodeUsed
from espalier.sweeps.results.formatting import decimals, finite
from espalier.sweeps.spec.spec import SweepSpec
from espalier.sweeps.spec.values import Fields

if TYPE_CHECKING:
    from espalier.core.training.events import Ended
    from espalier.core.training.watch import Watcher  # which imports torch


@dataclass(frozen=True)
class Rerun:
    """The comparison of a best file with its repetition. version: of the model that its weights became, if any.

    apart: the most by which two reported numbers differ, as a share of the range of that metric; None where only the
    same bits will do, as for a task. Code of one's own may do sums in any order: `TOLERANCE` says how near is enough.
    """

    sweep: str
    trial: int
    metric: str
    expected: float
    value: float | None
    difference: str | None
    surroundings: Sequence[str]
    version: str | None = None
    apart: float | None = None

    @property
    def reproduced(self) -> bool:
        """Whether every reported number was the same: to the last bit, or near enough where `apart` is a number."""
        return self.difference is None or (self.apart is not None and self.apart <= TOLERANCE)

    def document(self, model: str | None) -> Fields:
        """Return it for JSON. model: that the weights were to become a version of."""
        return finite(
            {
                **{name: getattr(self, name) for name in ("sweep", "trial", "reproduced", "metric", "value", "apart")},
                "difference": self.difference or "",
                "surroundings": list(self.surroundings),
                "model": model if self.version else None,
                "version": self.version,
            }
        )

    def lines(self, model: str | None) -> Iterator[str]:
        """Yield it for people. model: that the weights were to become a version of."""
        if self.reproduced:
            how = "bit for bit" if self.apart is None else f"nearly: {self.apart:.1g} of its range apart at most"
            yield f"reproduced: {self.metric} {decimals(self.value)}, {how}"
            if self.version:
                yield f"registered: {model} version {self.version}, the champion; fetch it: sweep pull {model}"
        else:
            yield f"not reproduced: {self.difference}"
        same = [] if self.reproduced else ["versions, device, data and code are the same"]
        yield from (f"  {line}" for line in self.surroundings or same)


def rerun(best: BestFile, spec: SweepSpec, watcher: "Watcher | None" = None, code: CodeUsed = NO_CODE) -> Rerun:
    """Train the trial again by the same program and compare every report. Raises BadInput if its task is gone.

    watcher: one more watcher. code: that is in use.
    """
    if spec.is_foreign:
        return _rerun_process(best, spec, code)
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
    return _compared(best, spec, ends, [*_changed_surroundings(best, now, device), *filter(None, [code.differing])])


def _compared(best: BestFile, spec: SweepSpec, ends: "Sequence[Ended]", surroundings: Sequence[str]) -> Rerun:
    """Return the comparison of the reports of a best file with those of its repetition."""
    metric, value = spec.objective.metric, _merged_values(ends).get(spec.objective.metric)
    expected = best.result.get(metric, float("nan"))
    differences = (
        _first_difference(reports, end.reports, r, spec.replicates)
        for r, (reports, end) in enumerate(zip(best.reports, ends, strict=True))
    )
    difference = next(filter(None, differences), None)
    if difference is None and value != expected:
        difference = f"{metric} is {value!r}, the file says {expected!r}"
    return Rerun(best.sweep, best.trial, metric, expected, value, difference, surroundings)


def _rerun_process(best: BestFile, spec: SweepSpec, code: CodeUsed) -> Rerun:
    """Train the trial of a function or a command again, in processes of its own."""
    from espalier.sweeps.process_checks import check_processes
    from espalier.sweeps.process_engine import train_alone
    from espalier.sweeps.recording.trial_runs import TrialRuns

    now = identity.versions() | check_processes(spec)
    code.check(best.made_with.get("code"), now["code"])
    steps = [[step for step, _ in reports] for reports in best.reports]
    ends = train_alone(spec, best.trial, best.params, steps, TrialRuns.alone)
    for end in ends:
        if end.status != "complete":
            raise BadInput(f"trial {best.trial} did not end as it had: {end.evidence}")
    surroundings = [*_changed_surroundings(best, now, best.device), *filter(None, [code.differing])]
    compared = _compared(best, spec, ends, surroundings)
    return compared if compared.difference is None else replace(compared, apart=_apart(best.reports, ends))


def _apart(expected: "Sequence[Sequence[tuple[int, Mapping[str, float]]]]", ends: "Sequence[Ended]") -> float:
    """Return the most by which reports differ, as a share of a metric's range; infinity where one lacks a report."""
    most = 0.0
    for reports, end in zip(expected, ends, strict=True):
        if [step for step, _ in reports] != [step for step, _ in end.reports]:
            return math.inf
        for name in {name for _, values in reports for name in values}:
            pairs = [(then.get(name), now.get(name)) for (_, then), (_, now) in zip(reports, end.reports, strict=True)]
            known = [(then, now) for then, now in pairs if then is not None and now is not None]
            if len(known) < len([then for then, _ in pairs if then is not None]):
                return math.inf
            values = [then for then, _ in known]
            scale = (max(values) - min(values)) or max(map(abs, values)) or 1.0
            most = max([most, *(abs(then - now) / scale for then, now in known)])
    return most


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
    names = {line.partition(":")[0] for line in known}
    others = differences(best.environment, environment(), imported)
    return [*known, *(line for line in others if line.partition(":")[0] not in names)]


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
