"""A best file: one trial as YAML, from which it can be trained again.

It has the trial's spec, its hyperparameters, its reports, and the versions and code it was made with.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from espalier.core.errors import BadInput, shown, within
from espalier.core.loading.registry import is_reference
from espalier.core.programs import PROGRAMS
from espalier.sweeps import identity
from espalier.sweeps.code.environment import Environment, read_environment
from espalier.sweeps.code.in_file import CodeInFile, code_in_file
from espalier.sweeps.guard import guard_task
from espalier.sweeps.results.story import TrialStory
from espalier.sweeps.results.trial_result import TrialResult
from espalier.sweeps.search.cohort_plan import PROCESS
from espalier.sweeps.spec import paths, yaml12
from espalier.sweeps.spec.overrides import without_search
from espalier.sweeps.spec.space import ENGINE, Point
from espalier.sweeps.spec.spec import SweepSpec, make_spec
from espalier.sweeps.spec.values import DEPTH, check_values, place

if TYPE_CHECKING:
    from espalier.sweeps.search.study import SweepRecord  # which imports Optuna


class BestFile(BaseModel):
    """The content of a best file."""

    model_config = ConfigDict(extra="forbid")

    sweep: str
    trial: int
    params: Point
    result: dict[str, float]
    spec: dict[str, object]
    program: str
    device: str
    lanes: int = Field(default=1, ge=1, description="how many trained at once; it matters to programs of a fixed width")
    made_with: dict[str, object]
    reports: list[list[tuple[int, dict[str, float]]]]
    environment: Environment | None = None
    code: CodeInFile | None = None


def best_file_text(
    sweep_record: "SweepRecord", best: TrialResult, story: TrialStory, folder: Path | None = None
) -> str:
    """Return a trial as the text of a best file. Numbers read back to the same bits.

    folder: of the sweep, with the recorded copy of its code.
    """
    content = {
        "sweep": sweep_record.id,
        "trial": best.number,
        "params": dict(best.params),
        "result": {sweep_record.spec.objective.metric: best.value},
        "spec": sweep_record.public_spec,
        "program": story["program"],
        "device": story["device"],
        "lanes": story.get("lanes", 1),
        "made_with": identity.code_and_versions(sweep_record.facts, best.number),
        "reports": [[[step, values] for step, values in replicate["reports"]] for replicate in story["members"]],
    }
    head = f"# Trial {best.number} of {sweep_record.id}. Train it again: sweep rerun FILE"
    recorded = _recorded(sweep_record, best.number, folder) if folder else {}
    if "archive" in recorded.get("code", ()):
        head += ", which runs the code that this file holds; --code here runs yours"
    return f"{head}\n{yaml12.write(content | recorded, flow=None)}"


def _recorded(sweep_record: "SweepRecord", trial: int, folder: Path) -> dict[str, Any]:
    """Return the environment and the code that a trial was last trained with, as far as they are recorded."""
    period = identity.last_period_of(sweep_record.facts, trial)
    recorded: dict[str, Any] = {}
    home = folder.parent.parent
    if environment := read_environment(home, period.get(identity.ENVIRONMENT, "")):
        recorded["environment"] = asdict(environment)
    copy = period.get(identity.COPY)
    if code := copy and code_in_file(folder, copy):
        recorded["code"] = code
    return recorded


def best_text(path: str) -> str:
    """Return the text of a best file. Raises BadInput if it cannot be read."""
    try:
        return paths.argument(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInput(f"{path}: cannot be read: {reason}; `sweep best ID > best.yaml` writes one") from error


def parse_best(text: str, path: str) -> tuple[BestFile, SweepSpec]:
    """Parse the text of a best file. Raises BadInput that begins with `path` and says what is wrong."""
    best = fields_of_best(text, path)
    return best, spec_of_best(best, path)


def fields_of_best(text: str, path: str) -> BestFile:
    """Return the content of a best file, of which no code has run. Raises BadInput that begins with `path`."""
    fields = yaml12.read(text, path)
    check_values(fields, path, most=None, depth=DEPTH + 1)  # the size limit of a best file, which contains a spec
    if not isinstance(fields, Mapping):
        raise BadInput(f"{path}: not a best file; `sweep best ID > best.yaml` writes one")
    try:
        return BestFile.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where, arrived = place(first["loc"]), shown(first.get("input"))
        wrong = f"{within(first['msg'])}; {arrived} arrived"
        raise BadInput(f"{path}: {where}: {wrong}; `sweep best ID > best.yaml` writes a whole one") from error


def spec_of_best(best: BestFile, path: str) -> SweepSpec:
    """Return the spec of a best file, by the code that is in use. Raises BadInput."""
    spec = make_spec(best.spec, f"{path}: spec", stored=True)
    _check_params(best, spec, path)
    return spec


def _check_params(best: BestFile, spec: SweepSpec, path: str) -> None:
    from espalier.sweeps import cohorts as plan

    if not spec.is_foreign:
        guard_task(spec.task)
        plan.check_names(spec)
    always = {"lr_exponent", "decay_factor", "warmup", "seed"} & spec.space.single.keys()
    needed = {*always, *spec.space.own()}
    missing = sorted(name for name in needed - set(best.params) if spec.space.exists(name, best.params))
    unknown = sorted(set(best.params) - needed - set(ENGINE))
    if missing or unknown:
        raise BadInput(
            f"{path}: params: {'missing ' + ', '.join(missing) if missing else 'unknown ' + ', '.join(unknown)}"
        )
    for name, value in best.params.items():
        engine = name in ENGINE and name not in ("decay_points", "schedule")
        if engine and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise BadInput(f"{path}: params.{name}: {shown(value)} is no number")
    try:  # each value must be valid in a space: a spec of constants checks that
        make_spec(without_search(best.spec) | {"space": best.params}, stored=True)
    except BadInput as error:
        raise BadInput(f"{path}: {str(error).removeprefix('spec: ').replace('space.', 'params.')}") from error
    if spec.is_foreign != (best.program == PROCESS):
        raise BadInput(f"{path}: program: {shown(best.program)} does not train a {spec.way}")
    if best.program not in (*PROGRAMS, PROCESS) and not is_reference(best.program):
        known = ", ".join(PROGRAMS)
        raise BadInput(f"{path}: program: {shown(best.program)} is unknown; known here: {known}")
    if len(best.reports) != spec.replicates or not all(best.reports):
        raise BadInput(f"{path}: reports: {len(best.reports)} of {spec.replicates} replicates have reports")
