"""User-defined kinds (optimizers, schedules, scores ...): load them, and check them before anything trains."""

import hashlib
import math
from collections.abc import Iterator
from typing import Any, TypeVar

import torch

from espalier.core.errors import BadInput, as_bad_input, nearest, shown
from espalier.core.loading.fingerprint import fingerprint
from espalier.core.loading.references import load_class
from espalier.core.loading.registry import Registry, is_reference
from espalier.core.numbers import Flag, Number
from espalier.core.optimizers import OPTIMIZERS, Optimizer
from espalier.core.schedules.registry import SCHEDULES, why_not_so_many_points
from espalier.core.schedules.schedule import Schedule
from espalier.core.scores.registry import SCORES
from espalier.core.scores.score import Rung
from espalier.core.task import Task, code_fingerprint
from espalier.sweeps.samplers import SAMPLERS
from espalier.sweeps.spec.kinds import numbers_of
from espalier.sweeps.spec.references import references
from espalier.sweeps.spec.rules import check_domain
from espalier.sweeps.spec.space import ENGINE, Domain
from espalier.sweeps.spec.spec import SweepSpec
from espalier.sweeps.spec.values import Fields

Owner = tuple[str, str, type[Schedule] | type[Optimizer]]
"""The part of a spec, the reference, and the class of a kind of one's own."""
Kind = TypeVar("Kind", Schedule, Optimizer)
TAKEN = ("lr", "lr_exponent", "points", "budget", "decay_points", "schedule", "seed", "batch_size", "kind", "phases")
"""Names that the spec or the engine has for something else, so no number can have them."""


def owners(spec: SweepSpec) -> Iterator[Owner]:
    """Yield the user-defined optimizer and schedules of a spec. Raises BadInput for a bad reference."""
    if is_reference(spec.optimizer.kind):
        field, reference = field_of(spec, "optimizer"), spec.optimizer.kind
        yield "optimizer", reference, _declared(field, reference, OPTIMIZERS, (Number, Flag))
    for kind in dict.fromkeys(spec.schedule_kinds()):
        if is_reference(kind):
            yield "schedule", kind, _declared(field_of(spec, "schedule"), kind, SCHEDULES, (Number,))


def field_of(spec: SweepSpec, part: str) -> str:
    """Return the field that names the kinds of a part: schedules may be searched in the space."""
    return "space.schedule" if part == "schedule" and spec.space.schedule is not None else f"{part}.kind"


def _declared(field: str, reference: str, kinds: Registry[Kind], entries: tuple[type, ...]) -> type[Kind]:
    """Return the class of a reference. Raises BadInput for wrong `numbers`, or one with a name that is taken."""
    kind = kinds.find(reference, field)
    numbers: object = kind.numbers
    allowed = " and ".join(f"espalier.{entry.__name__}" for entry in entries)
    if not isinstance(numbers, tuple | list):
        raise BadInput(f"{field}: {reference}: numbers is {shown(numbers)}; write a tuple of {allowed}")
    for entry in kind.numbers:
        if not isinstance(entry, entries):
            raise BadInput(f"{field}: {reference}: numbers has {shown(entry)}; write a tuple of {allowed}")
        if entry.name in TAKEN:
            raise BadInput(f"{field}: {reference}: '{entry.name}' is taken; give its number another name")
    return kind


def own_numbers(spec: SweepSpec) -> dict[str, Number]:
    """Return the numbers of user-defined kinds that a space may contain."""
    entries = [entry for _, _, kind in owners(spec) for entry in kind.numbers]
    return {entry.name: entry for entry in entries if isinstance(entry, Number) and entry.name not in ENGINE}


def task_domains(spec: SweepSpec) -> dict[str, Domain]:
    """Return the domains of the task's own hyperparameters."""
    own = own_numbers(spec)
    return {name: domain for name, domain in spec.space.own().items() if name not in own}


def check_own_kinds(spec: SweepSpec) -> None:
    """Raise BadInput for a user-defined kind that cannot be used with the numbers of the spec."""
    for part, reference, kind in owners(spec):
        with as_bad_input(f"{field_of(spec, part)}: {reference}"):
            _check_beside(spec, part, reference, kind)
            _check_searched(spec, part, kind)
            if issubclass(kind, Schedule):
                _try_schedule(spec, reference, kind)
            else:
                _try_optimizer(reference, kind)
    _check_clashes(spec)
    if is_reference(spec.search.sampler):
        SAMPLERS[spec.search.sampler]
    if spec.stopping and is_reference(spec.stopping.score):
        _try_score(spec.stopping.score, spec.objective.metric)


def _check_beside(spec: SweepSpec, part: str, reference: str, kind: type[Schedule] | type[Optimizer]) -> None:
    """Check the fields beside the kind; a schedule that only the space names has none there."""
    chosen = getattr(spec, part)
    entries = {entry.name: entry for entry in kind.numbers}
    for name, value in numbers_of(chosen).items() if chosen.kind == reference else ():
        entry = entries.get(name)
        if entry is None:
            raise BadInput(f"{part}.{name}: {reference} has no such number; {nearest(name, entries)}")
        if isinstance(entry, Flag) and not isinstance(value, bool):
            raise BadInput(f"{part}.{name}: {shown(value)} arrived; write true or false")
        if isinstance(entry, Number) and not entry.accepts(value):
            raise BadInput(f"{part}.{name}: {shown(value)} is no number in {entry.limits}")
        if getattr(spec.space, name, None) is not None and name not in ("decay_factor", "warmup"):
            raise BadInput(f"space.{name}: it stands under {part} too; keep one of them")


def _check_searched(spec: SweepSpec, part: str, kind: type[Schedule] | type[Optimizer]) -> None:
    for entry in kind.numbers:
        domain = getattr(spec.space, entry.name, None)
        if domain is None:
            continue
        if isinstance(entry, Flag) or entry.home == "spec":
            raise BadInput(f"space.{entry.name}: it cannot be searched; write it under {part}")
        try:
            check_domain(entry, domain)
        except ValueError as error:
            raise BadInput(str(error)) from error


def _check_clashes(spec: SweepSpec) -> None:
    """Refuse two numbers with one name: a point has only one value for it."""
    kinds: list[tuple[str, Any]] = [(f"optimizer {spec.optimizer.kind}", OPTIMIZERS[spec.optimizer.kind])]
    for schedule in spec.schedule_kinds():
        rule, rate = kinds[0][1], SCHEDULES[schedule]
        for name in {entry.name for entry in rule.numbers} & {number.name for number in rate.numbers}:
            raise BadInput(f"{name}: {kinds[0][0]} and schedule {schedule} both have it; rename one of them")


def _try_schedule(spec: SweepSpec, reference: str, kind: type[Schedule]) -> None:
    """Try a schedule at the first step, in the middle and at the last step."""
    if why := why_not_so_many_points(reference, spec.space.most_points()):
        raise BadInput(f"space.decay_points: {why}")
    columns = {number.name: torch.tensor([number.default], dtype=torch.float64) for number in kind.numbers}
    columns |= {name: torch.ones(1, dtype=torch.float64) for name in ("lr", "budget")}
    columns |= {"warmup": torch.zeros(1).double(), "points": torch.zeros(1, 0).double()}
    rate = kind().build(columns)
    for share in (0.0, 0.5, (spec.budget.steps - 1) / spec.budget.steps):
        value = rate(share)
        if value.shape != (1,) or not math.isfinite(value.item()) or value.item() < 0:
            raise BadInput(
                f"{field_of(spec, 'schedule')}: {reference}: the rate at {share:g} of the budget is "
                f"{shown(value.tolist())}"
            )


def _try_optimizer(reference: str, kind: type[Optimizer]) -> None:
    """Try an optimizer by a step of two lanes of three parameters."""
    rule: object = kind.make({entry.name: entry.default for entry in kind.numbers if isinstance(entry, Flag)}, ())
    if not isinstance(rule, Optimizer):
        raise BadInput(f"optimizer.kind: {reference}: make() returned {shown(rule)}; it must return an optimizer")
    if type(rule).__hash__ is None:
        raise BadInput(f"optimizer.kind: {reference}: it cannot be hashed; make it @dataclass(frozen=True)")
    hash(rule)
    typical = {name: column.expand(2) for name, column in rule.typical().items()}
    lr_12, step_12 = torch.full((1, 2), 0.1).double(), torch.zeros(1, 2).double()
    table_1C2 = rule.columns(lr_12, step_12, typical)
    if table_1C2.dim() != 3 or len(table_1C2) != 1 or table_1C2.shape[2] != 2:
        raise BadInput(f"optimizer.kind: {reference}: columns() has the shape {list(table_1C2.shape)}, not [S, C, K]")
    theta_23, slots = torch.ones(2, 3), {slot: torch.zeros(2, 3) for slot in rule.slots}
    rule.update(theta_23, torch.ones(2, 3), slots, list(table_1C2[0].float()[..., None]))


def _try_score(reference: str, metric: str) -> None:
    """Try a score at a rung in the middle of a trial with two reports."""
    kind = SCORES[reference]
    if kind.averaged and kind.trains_on:
        raise BadInput(f"stopping.score: {reference}: averaged and trains_on are both true; keep one of them")
    with as_bad_input(f"stopping.score: {reference}"):
        earlier, now = {"valid_loss": 1.5, metric: 1.5}, {"valid_loss": 1.25, metric: 1.25}
        values = kind().values(Rung(50, 100, now, [(25, 1.5), (50, 1.25)], [(25, earlier), (50, now)]))
        numbers = {name for name, value in dict(values).items() if math.isfinite(value)}
    if metric not in numbers:
        have = f"it has {', '.join(sorted(numbers))}" if numbers else "it has no number at all"
        raise BadInput(f"stopping.score: {reference}: values() has no {metric}, which the sweep seeks; {have}")


def code_of(spec: SweepSpec, task: Task) -> str:
    """Return a hash of the source files of a sweep: the task's, and those of user-defined kinds."""
    kinds = [reference for reference in references(_kinds_alone(spec)) if is_reference(reference)]
    prints = [code_fingerprint(task), *(fingerprint(load_class(reference, "kind")) for reference in kinds)]
    return prints[0] if len(prints) == 1 else hashlib.sha256("\n".join(prints).encode()).hexdigest()[:16]


def _kinds_alone(spec: SweepSpec) -> Fields:
    """Return a spec's fields without the task, which has its own fingerprint, and without the watchers."""
    fields = spec.model_dump(mode="json")
    return {name: value for name, value in fields.items() if name not in ("task", "watchers")}
