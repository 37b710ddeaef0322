"""Pull a configuration, train it again, and compare to the last bit.

A best file carries one trial: its part of the spec, its point, what it reported, and what it was made with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from espalier.core.errors import BadInput, shown
from espalier.core.loading.registry import is_reference
from espalier.core.programs import PROGRAMS
from espalier.sweeps import identity
from espalier.sweeps.guard import guard_task
from espalier.sweeps.results.trial_result import TrialResult
from espalier.sweeps.spec import paths, yaml12
from espalier.sweeps.spec.space import ENGINE
from espalier.sweeps.spec.spec import SweepSpec, make_spec
from espalier.sweeps.spec.values import DEPTH, check_values, place

if TYPE_CHECKING:
    from espalier.core.training.events import Ended
    from espalier.core.training.watch import Watcher  # which imports torch
    from espalier.sweeps.search.study import SweepRecord  # which imports Optuna


class BestFile(BaseModel):
    """One trial as a file."""

    model_config = ConfigDict(extra="forbid")

    sweep: str
    trial: int
    params: dict[str, Any]
    result: dict[str, float]
    spec: dict[str, Any]
    program: str
    device: str
    lanes: int = Field(default=1, ge=1, description="how many trained at once; it matters to programs of a fixed width")
    made_with: dict[str, Any]
    reports: list[list[tuple[int, dict[str, float]]]]


def best_file(sweep_record: "SweepRecord", best: TrialResult, story: Mapping[str, Any]) -> str:
    """Return a trial as the text of a best file. Numbers are written so that they read back to the same bits."""
    content = {
        "sweep": sweep_record.id,
        "trial": best.number,
        "params": dict(best.params),
        "result": {sweep_record.spec.objective.metric: best.value},
        "spec": sweep_record.stored_spec,
        "program": story["program"],
        "device": story["device"],
        "lanes": story.get("lanes", 1),
        "made_with": identity.made_with(sweep_record.facts, best.number),
        "reports": [[[step, values] for step, values in member["reports"]] for member in story["members"]],
    }
    head = f"# Trial {best.number} of {sweep_record.id}. Train it again: sweep rerun FILE\n"
    return head + yaml12.write(content, flow=None)


def read_best(path: str) -> tuple[BestFile, SweepSpec]:
    """Read a best file. Raises BadInput naming what is wrong with it."""
    try:
        text = paths.argument(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise BadInput(f"{path}: cannot be read: {said}; `sweep best ID > best.yaml` writes one") from error
    return parse_best(text, path)


def parse_best(text: str, path: str) -> tuple[BestFile, SweepSpec]:
    """Read the text of a best file, which messages name by `path`. Raises BadInput naming what is wrong with it."""
    fields = yaml12.read(text, path)
    check_values(fields, path, most=None, depth=DEPTH + 1)  # which holds a spec
    if not isinstance(fields, Mapping):
        raise BadInput(f"{path}: not a best file; `sweep best ID > best.yaml` writes one")
    try:
        best = BestFile.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where, arrived = place(first["loc"]), shown(first.get("input"))
        said = f"{first['msg'].lower()}; {arrived} arrived"
        raise BadInput(f"{path}: {where}: {said}; `sweep best ID > best.yaml` writes a whole one") from error
    spec = make_spec(best.spec, f"{path}: spec", stored=True)
    _check_params(best, spec, path)
    return best, spec


def _check_params(best: BestFile, spec: SweepSpec, path: str) -> None:
    from espalier.sweeps import cohorts as plan

    guard_task(spec.task)
    plan.check_names(spec)
    needed = {"lr_exponent", "decay_factor", "warmup", "seed", *spec.space.own()}
    missing = sorted(needed - set(best.params))
    unknown = sorted(set(best.params) - needed - set(ENGINE))
    if missing or unknown:
        raise BadInput(
            f"{path}: params: {'missing ' + ', '.join(missing) if missing else 'unknown ' + ', '.join(unknown)}"
        )
    for name, value in best.params.items():
        engine = name in ENGINE and name not in ("decay_points", "schedule")
        if engine and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise BadInput(f"{path}: params.{name}: {shown(value)} is no number")
    try:  # each value must be one that a space could give: a spec of constants checks that
        make_spec(best.spec | {"space": best.params, "search": {"sampler": "random"}}, stored=True)
    except BadInput as error:
        raise BadInput(f"{path}: {str(error).removeprefix('spec: ').replace('space.', 'params.')}") from error
    if best.program not in PROGRAMS and not is_reference(best.program):
        known = ", ".join(PROGRAMS)
        raise BadInput(f"{path}: program: {shown(best.program)} is unknown; known here: {known}")
    if len(best.reports) != spec.replicates or not all(best.reports):
        raise BadInput(f"{path}: reports: {len(best.reports)} of {spec.replicates} replicates have reports")


@dataclass(frozen=True)
class Rerun:
    """What came out of training a best file again."""

    metric: str
    expected: float
    value: float | None
    difference: str | None
    surroundings: Sequence[str]

    @property
    def reproduced(self) -> bool:
        """Whether every reported number was the same to the last bit."""
        return self.difference is None


def rerun(best: BestFile, spec: SweepSpec, watcher: "Watcher | None" = None) -> Rerun:
    """Train the trial again by the same program and compare every report. Raises BadInput if its task is gone.

    watcher: looks on.
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
    device = "cuda" if best.device == "cuda" and torch.cuda.is_available() else "cpu"
    if reason := why_not(best.program, task, tuple(t[: spec.budget.batch_size] for t in data.train)):
        raise BadInput(f"program: the trial ran by the {best.program} program, which cannot be had here: {reason}")
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
    return Rerun(metric, expected, value, difference, _changed_surroundings(best, now, device))


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
    """Return the last values of a trial: of its replicates taken together."""
    from espalier.sweeps.search.replicates import Replicates
    from espalier.sweeps.search.trial_events import Outcome

    replicates = Replicates(ends[0].trial_id.number, len(ends))
    outcome = [replicates.merge(end) for end in ends][-1]
    assert isinstance(outcome, Outcome)
    return outcome.values


def _changed_surroundings(best: BestFile, now: Mapping[str, Any], device: str) -> list[str]:
    """Return what is other now than when the trial was trained: versions, code, data, device."""
    then = best.made_with | {"device": best.device}
    return [
        f"{name}: {then[name]} then, {value} now"
        for name, value in (dict(now) | {"device": device}).items()
        if name in then and str(then[name]) != str(value)
    ]


def _first_difference(
    expected: Sequence[tuple[int, Mapping[str, float]]],
    found: Sequence[tuple[int, Mapping[str, float]]],
    replicate: int,
    of: int,
) -> str | None:
    which = f" of replicate {replicate}" if of > 1 else ""
    for (step, then), (at, now) in zip(expected, found, strict=False):
        if step != at:
            return f"a report{which} after step {at}, where the file has one after step {step}"
        for name in then:
            if name not in now or then[name] != now[name]:
                return f"step {step}{which}: {name} is {now.get(name)!r}, the file says {then[name]!r}"
    if len(expected) != len(found):
        return f"{len(found)} reports{which}, where the file has {len(expected)}"
    return None
