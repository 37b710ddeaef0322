"""Rules across the parts of a spec. Each rule raises ValueError that begins with the field.

A user-defined kind is not loaded here: sweeps.own_kinds applies the same rules to it before training.
"""

import math
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import cast

from pydantic import BaseModel

from espalier.core.errors import BadInput, brief, nearest, shown
from espalier.core.loading.registry import is_reference
from espalier.core.numbers import Number
from espalier.core.optimizers import OPTIMIZERS
from espalier.core.schedules.registry import SCHEDULES, why_not_so_many_points
from espalier.core.schedules.warmup import WARMUP
from espalier.sweeps.spec.conditions import check_conditions
from espalier.sweeps.spec.kinds import OptimizerSpec, OwnKind, ScheduleSpec, numbers_of, schedule_kinds, taken, takers
from espalier.sweeps.spec.parts import BATCH_MOST, BY_PIECES, Budget, Objective, Resources, Results, Search, one_gpu
from espalier.sweeps.spec.space import AUTO, GRID_MOST, Domain, Range, Space, extremes
from espalier.sweeps.spec.stopping import Stopping

EXPONENT = Number("lr_exponent", -1.0, -40.0, 40.0, "the peak rate is 10 ** lr_exponent")
NEEDED = ("lr_exponent", "decay_factor", "warmup", "seed")  # every trial has one
WAYS = ("task", "function", "command")
DEFAULTED = ("lr_exponent", "decay_factor", "warmup")  # of every task; code of its own need not have them
OWN_BUSINESS = {
    "task_options": "write constants under space, which config has by name",
    "optimizer": "your code makes its own; write its numbers under space",
    "ratios": "your code reports them: report(step, ..., ratios=meter), with an espalier.RatioMeter",
    "watchers": "they look into lanes; your code reports what it measures",
}
"""Fields of a task's sweep, and what stands in their place where code with a loop of its own trains."""
OF_LANES = ("program", "lanes", "precision", "patience")


def check_optimizer(optimizer: OptimizerSpec | OwnKind, space: Space) -> None:
    """Raise ValueError unless each number of the optimizer is given once, and its kind has it."""
    kind, beside = optimizer.kind, numbers_of(optimizer)
    for name, number in taken(OPTIMIZERS).items():
        if not isinstance(number, Number) or number.home != "both" or getattr(space, name) is None:
            continue
        if name in beside:
            raise ValueError(f"space.{name}: it stands under optimizer too; keep one of them")
        if not is_reference(kind) and kind not in takers(OPTIMIZERS, name):
            own = ", ".join(entry.name for entry in OPTIMIZERS[kind].numbers)
            raise ValueError(f"space.{name}: {kind} has no {name}; it takes {own}")


def check_stopping(
    stopping: Stopping | None, budget: Budget, objective: Objective, search: Search, foreign: bool = False
) -> None:
    """Raise ValueError if early stopping is impossible: without rungs or scores, or with a repeatable search.

    foreign: whether a function or a command reports what it measures, under whatever name.
    """
    if stopping is None:
        return
    if budget.steps < 2:
        raise ValueError("stopping: a trial of one step has no rungs; leave stopping out")
    if not foreign and not objective.metric.startswith("valid_"):
        raise ValueError(
            f"stopping: trials are scored by what a validation measures, which {brief(objective.metric)} is not; "
            "seek a valid_ metric, or leave stopping out"
        )
    if search.in_rounds:
        raise ValueError(
            f"search.repeatable: stopping ranks trials as they arrive, and {search.sampler} learns from those "
            "that it stops; leave one of them out, or search at random"
        )


def check_time(search: Search, budget: Budget, resources: Resources) -> None:
    """Raise ValueError for two limits, for time that is to be repeatable, or for time of GPUs where none train."""
    limits = [name for name in ("trainings", "hours", "gpu_hours") if getattr(budget, name) is not None]
    if len(limits) > 1:
        raise ValueError(f"budget: {' and '.join(limits)} exclude each other; keep one of them")
    if limits in ([], ["trainings"]):
        return
    if search.repeatable:
        raise ValueError(
            "search.repeatable: how much trains in some hours depends on the machine; leave one of them out, or write "
            "trials"
        )
    if why := budget.why_not_on(math.inf if resources.gpus == "auto" else resources.gpus):
        raise ValueError(why)


def check_pieces(search: Search, budget: Budget, objective: Objective, space: Space, foreign: bool = False) -> None:
    """Raise ValueError if a search by pieces is impossible, or if a budget in trainings is of no search by pieces."""
    if search.sampler != BY_PIECES:
        if budget.trainings is not None:
            raise ValueError(
                f"budget.trainings: {search.sampler} asks for whole trials; write trials, or search.sampler: thaw"
            )
        if budget.until != "spent":
            raise ValueError(f"budget.until: {search.sampler} foresees nothing; leave it out, or take thaw")
        return
    if why := why_no_pieces(budget, objective, space, foreign):
        raise ValueError(f"search.sampler: {why}")


def why_no_pieces(budget: Budget, objective: Objective, space: Space, foreign: bool = False) -> str | None:
    """Return why a search by pieces is impossible; None if it is not."""
    if budget.steps < 2:
        return "thaw: a trial of one step has no rungs; take random"
    if not foreign and not objective.metric.startswith("valid_"):
        return (
            f"thaw scores trials by what a validation measures, which {brief(objective.metric)} is not; "
            "seek a valid_ metric, or take tpe"
        )
    searched = (name for name, _ in space.domains() if name != "seed" and not name.startswith("decay_point"))
    if space.lr_exponent != AUTO and not any(searched):
        return "thaw needs a rate, or another number, that is searched; take tpe"
    return None


def default_sampler(budget: Budget, objective: Objective, space: Space, foreign: bool = False) -> str:
    """Return the sampler of a spec that names none: thaw where rates are searched, if it can."""
    rates = space.lr_exponent
    values = extremes(rates)  # of any kind: it is checked later whether they are numbers
    searched = rates == AUTO or any(value != values[0] for value in values)
    return BY_PIECES if searched and why_no_pieces(budget, objective, space, foreign) is None else "tpe"


def _numbers() -> Iterator[Number]:
    """Yield every number that a space may contain."""
    named = taken(OPTIMIZERS) | taken(SCHEDULES) | {"warmup": WARMUP}
    yield EXPONENT
    yield from (entry for entry in named.values() if isinstance(entry, Number) and entry.home != "spec")


def check_space(space: Space, foreign: bool = False) -> None:
    """Raise ValueError for a wrong condition, a domain beyond its number's limits, or null for a required number.

    foreign: whether a function or a command trains, which need not have a rate.
    """
    if any(getattr(domain, "when", None) for domain in (*space.single.values(), space.decay_points)):
        check_conditions(space)
    for number in _numbers():
        domain = getattr(space, number.name)
        if domain is not None and not (number is EXPONENT and domain == AUTO):
            check_domain(number, domain)
    for name in ("seed", "batch_size"):
        _check_whole(name, getattr(space, name), *((1, BATCH_MOST) if name == "batch_size" else (0, 2**63 - 1)))
    for name in ("seed",) if foreign else NEEDED:
        if any(value is None for value in extremes(getattr(space, name))):
            raise ValueError(f"space.{name}: null; every trial needs one: give a number, a range or a list")


def check_domain(number: Number, domain: Domain) -> None:
    """Raise ValueError for a domain beyond the limits of its number."""
    for value in extremes(domain):
        if not number.accepts(value):
            instead = ", nor auto" if number is EXPONENT else ""
            raise ValueError(f"space.{number.name}: {shown(value)} is no number in {number.limits}{instead}")


def _check_whole(name: str, domain: Domain | None, least: int, most: int) -> None:
    for value in extremes(domain) if domain is not None else []:
        whole = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not whole or value != int(value) or not least <= value <= most:
            end = "2**63 - 1" if most == 2**63 - 1 else f"{most:,}"
            raise ValueError(f"space.{name}: {shown(value)} is no whole number from {least} to {end}")
    if isinstance(domain, Range) and not domain.integer:
        raise ValueError(f"space.{name}: a range of whole numbers needs 'integer: true'")


def check_schedule(schedule: ScheduleSpec | OwnKind, space: Space) -> None:
    """Raise ValueError for a schedule that is unknown, or lacks the numbers or points that the spec gives it."""
    kinds = schedule_kinds(schedule, space)
    having_points = space.conditions.get("decay_points", {}).get("schedule", kinds)
    for kind in kinds:
        if is_reference(kind):
            continue
        if kind not in SCHEDULES:
            raise ValueError(f"space.schedule: unknown kind '{brief(kind)}'; {nearest(kind, SCHEDULES)}")
        if kind in having_points and (why := why_not_so_many_points(kind, space.most_points())):
            raise ValueError(f"space.decay_points: {why}")
    _check_numbers_of_schedules(kinds, numbers_of(schedule), space)
    if ("phases" in kinds) != bool(schedule.phases):
        raise ValueError("schedule.phases: they belong to kind 'phases', which needs them")


def _check_numbers_of_schedules(kinds: Sequence[str], beside: dict[str, bool | float], space: Space) -> None:
    """beside: the numbers under `schedule`."""
    for name, number in taken(SCHEDULES).items():
        if not isinstance(number, Number) or number.home != "both":
            continue
        known = [kind for kind in kinds if is_reference(kind) or kind in takers(SCHEDULES, name)]
        for field, there in ((f"space.{name}", getattr(space, name) is not None), (f"schedule.{name}", name in beside)):
            if there and not known:
                those = ", ".join(f"'{kind}'" for kind in takers(SCHEDULES, name))
                raise ValueError(f"{field}: schedule '{kinds[0]}' has none; it is a number of {those}")
        if getattr(space, name) is not None and name in beside:
            raise ValueError(f"space.{name}: it stands under schedule too; keep one of them")
    least = {name: min(map(float, extremes(domain))) for name, domain in _searched(space) if domain is not None}
    for kind in kinds:
        try:
            if not is_reference(kind):
                SCHEDULES[kind].check(beside | least)
        except BadInput as error:
            raise ValueError(str(error)) from error


def _searched(space: Space) -> Iterator[tuple[str, Domain | None]]:
    for name, number in taken(SCHEDULES).items():
        if isinstance(number, Number) and number.home == "both":
            yield name, getattr(space, name)


def check_grid(search: Search, space: Space) -> None:
    """Raise ValueError for domains with too many points, or without steps, for a sampler that enumerates them."""
    sampler = search.sampler
    for name, domain in space.domains() if sampler == "gp" else ():
        if isinstance(domain, Range) and (domain.integer or domain.step) and domain.grid_size > GRID_MOST:
            raise ValueError(
                f"space.{name}: {domain.grid_size:,} points; gp writes down those of a stepped or whole range, "
                f"{GRID_MOST:,} at most: give a wider step, or another sampler"
            )
    if sampler != "grid":
        return
    for name, domain in space.domains():
        if isinstance(domain, Range) and not (domain.integer or domain.step):
            raise ValueError(f"space.{name}: a grid needs its points; give 'step', or a list")
    if (points := space.grid_size()) > GRID_MOST:
        raise ValueError(
            f"space: a grid of {points:,} points; {GRID_MOST:,} at most: give wider steps or shorter lists, "
            "or another sampler, which need not write them all down"
        )


# --- a function or a command in place of a task ----------------------------------------------------------------------


def command_words(value: object) -> object:
    """Return a command as its words. Raises ValueError for a text with an unfinished quotation."""
    if isinstance(value, list | tuple):
        listed: list[object] = [*value]
        return [str(word) if type(word) in (int, float) else word for word in listed]
    if not isinstance(value, str):
        return value
    try:
        return shlex.split(value)
    except ValueError as error:
        raise ValueError(f"{shown(value)}: {error}; write a list of words") from error


def check_ways(fields: Mapping[str, object]) -> str:
    """Return what of WAYS trains. Raises ValueError unless a spec names one, and once."""
    ways = [way for way in WAYS if fields[way]]
    if not ways:
        raise ValueError("missing; it is required, or function, or command")
    if len(ways) > 1:
        raise ValueError(f"{ways[-1]}: {' and '.join(ways)} exclude each other; keep one of them")
    return ways[0]


def check_for_task(spec: BaseModel, resources: Resources) -> None:
    """Raise ValueError for fields of a spec that concern a function or a command, where a task trains."""
    if resources.gpus != "auto" and resources.gpus > 1:
        gpus = resources.gpus
        raise ValueError(f"resources.gpus: {one_gpu(int(gpus) if gpus == int(gpus) else gpus)}")
    if wrong := _changed(spec, ("share", "results")):
        raise ValueError(f"{wrong}: it is for a function or a command; a task shares and reports by itself")
    if _changed(spec, ("acts_later",)):
        raise ValueError("acts_later: it is for a function or a command; leave it out")
    if resources.timeout is not None:
        raise ValueError("resources.timeout: it is for a function or a command; write resources.patience")
    if resources.checkpoints_gib != "auto":
        raise ValueError("resources.checkpoints_gib: it is for a function or a command; leave it out")
    if resources.workers > 1:
        raise ValueError("resources.workers: they are for a function; a task trains many trials in one process")


def check_for_process(
    way: str, spec: BaseModel, resources: Resources, space: Space, stopping: Stopping | None, search: Search
) -> None:
    """Raise ValueError for fields of a spec that concern a task, where a function or a command trains."""
    if wrong := _changed(spec, OWN_BUSINESS):
        raise ValueError(f"{wrong}: a {way} trains; {OWN_BUSINESS[wrong]}")
    if wrong := _changed(resources, OF_LANES):
        instead = "timeout, for a whole trial" if wrong == "patience" else "leave it out"
        raise ValueError(f"resources.{wrong}: a {way} trains, which has no lanes; {instead}")
    if way == "command" and resources.workers > 1:
        raise ValueError(
            "resources.workers: they are for a function; a command starts its own, as torchrun --nproc-per-node does"
        )
    if getattr(spec, "references") is True:  # noqa: B009 - of a class that imports this one
        raise ValueError(f"references: a {way} trains, whose untuned run nobody knows; write it under first")
    if space.lr_exponent == "auto":
        raise ValueError(f"space.lr: auto is a range test of a task's lanes, and a {way} trains; give a range")
    if stopping is not None and _changed(stopping, ("score",)):
        raise ValueError(
            f"stopping.score: a {way} trains, which reports its own: report(step, score=...); leave it out"
        )
    check_results(way, getattr(spec, "results"), getattr(spec, "replicates"))  # noqa: B009 - see above
    if getattr(spec, "results").mlflow and _changed(spec, ("share",)):  # noqa: B009
        raise ValueError("share: what goes on from checkpoints is compared by its reports; leave results.mlflow out")
    if search.by_pieces and not _changed(spec, ("share",)):
        raise ValueError("search.sampler: thaw parks trials and continues them: write share: checkpoints, or take tpe")


def check_acts_later(names: Iterable[str], space: Space) -> None:
    """Raise ValueError for a name that is not searched."""
    searched = {"lr" if space.lr is not None and name == "lr_exponent" else name for name in space.searched()}
    for name in names:
        if name not in searched:
            raise ValueError(f"acts_later: {brief(name)} is not searched; {nearest(name, searched)}")


def check_results(way: str, results: Results, replicates: int) -> None:
    """Raise ValueError for places of results that exclude each other, or that the code does not have."""
    if way == "function" and results.pattern:
        raise ValueError("results.pattern: it is for a command; a function calls report(step, valid_loss=...)")
    if results.mlflow and results.pattern:
        raise ValueError("results: pattern and mlflow exclude each other; keep one of them")
    if results.mlflow and replicates > 1:
        raise ValueError(
            "replicates: a trial has one run of MLflow, and replicates would log into it all; leave it out"
        )


def _changed(part: BaseModel, names: Iterable[str]) -> str:
    """Return the first of some fields that has not its default, "" if all have."""
    fields = type(part).model_fields
    return next(
        (name for name in names if getattr(part, name) != fields[name].get_default(call_default_factory=True)), ""
    )


def foreign_space(space: Space) -> Space:
    """Return a space without what every task has by default, and nobody wrote."""
    left_out = {name: None for name in DEFAULTED if name not in space.model_fields_set}
    if space.lr is not None:
        left_out.pop("lr_exponent", None)
    return space.model_copy(update=left_out) if left_out else space


def with_full_names(fields: object) -> object:
    """Return the fields of a spec with `from`, which is no name in Python, as `learn_from`. Raises ValueError."""
    if not isinstance(fields, Mapping) or "from" not in fields:
        return cast(object, fields)
    named = cast("Mapping[str, object]", fields)
    if named.get("learn_from"):
        raise ValueError("from and learn_from are one field; keep one of them")
    return {("learn_from" if name == "from" else name): value for name, value in named.items()}


def check_from(other: str, search: Search) -> None:
    """Raise ValueError for a search that cannot learn from another sweep."""
    if other and not search.learns:
        raise ValueError(
            f"from: {search.sampler} learns from no result, nor from another sweep's; take thaw, tpe or gp, or give it "
            "the best points by first: [{top: 3, of: SWEEP}]"
        )
