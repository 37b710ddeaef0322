"""Convert a point of the space into the engine's terms: a structure, and one engine trial for each replicate."""

import inspect
import json

from espalier.core.errors import BadInput, as_bad_input, brief, shown
from espalier.core.loading.references import load_class
from espalier.core.measures.verdicts import Thresholds
from espalier.core.numbers import Flag, Number
from espalier.core.optimizers import OPTIMIZERS, Optimizer
from espalier.core.schedules.registry import SCHEDULES
from espalier.core.schedules.warmup import WARMUP
from espalier.core.task import Task, check_options, options_of, task_class
from espalier.core.training.events import TrialId
from espalier.core.training.scores import Scoring
from espalier.core.training.trial import Hyperparameters, Structure, Trial
from espalier.core.training.watch import Health, Ratios, Watcher
from espalier.sweeps.own_kinds import check_own_kinds, own_numbers, task_domains
from espalier.sweeps.spec.kinds import numbers_of
from espalier.sweeps.spec.meaning import MEANT
from espalier.sweeps.spec.space import AUTO, ENGINE, Choice, Point, extremes
from espalier.sweeps.spec.spec import SweepSpec


def check_names(spec: SweepSpec) -> type[Task]:
    """Return the class of the task. Raises BadInput if the space names a hyperparameter that nobody has.

    Also for an option that the task does not have, and for a text where the default is true or false.
    """
    check_own_kinds(spec)
    kind = task_class(spec.task)
    defaults = options_of(kind)
    for name in own_numbers(spec).keys() & defaults.keys():
        raise BadInput(f"space.{name}: the task and a kind of your own both have it; rename one of them")
    for name, domain in task_domains(spec).items():
        if name not in defaults:
            meant = f"{MEANT[name.lower()]}; " if name.lower() in MEANT else ""
            raise BadInput(
                f"unknown hyperparameter '{brief(name)}' in space; {meant}this sweep takes: "
                f"{', '.join([*ENGINE, *own_numbers(spec)])}, and the task's own: {', '.join(defaults) or 'none'}"
            )
        if name in spec.task_options:
            raise BadInput(f"space.{name}: it stands under task_options too; keep one of them")
        for value in extremes(domain):
            _check_truth(f"space.{name}", value, defaults[name])
    check_options(spec.task, defaults, spec.task_options)
    for name, value in spec.task_options.items():
        _check_truth(f"task_options.{name}", value, defaults.get(name))
    return kind


def _check_truth(field: str, value: object, default: object) -> None:
    """Refuse a text for a boolean: YAML 1.2 reads `no` as a text, and every non-empty text is true in Python."""
    if isinstance(default, bool) and isinstance(value, str):
        raise BadInput(f"{field}: {shown(value)} is a text; write true or false")


def task_options(spec: SweepSpec, point: Point) -> dict[str, object]:
    """Return the arguments of the task at a point. What does not exist there has the task's default."""
    return dict(spec.task_options) | {name: point[name] for name in task_domains(spec) if name in point}


def end_options(spec: SweepSpec) -> list[dict[str, object]]:
    """Return the arguments of the task with the first, and with the last, value of each of its own domains."""
    own = task_domains(spec)
    points = ({name: extremes(domain)[end] for name, domain in spec.space.domains()} for end in (0, -1))
    first, last = ({n: v for n, v in spec.space.resolve(point).items() if n in own} for point in points)
    return [dict(spec.task_options) | end for end in ([first] if first == last else [first, last])]


def structural_key(spec: SweepSpec, point: Point) -> str:
    """Return the key that groups trials into cohorts: two trials share a program if their keys are equal."""
    if spec.is_foreign:
        return ""
    return json.dumps([task_options(spec, point), _batch_size(spec, point), schedule_of(spec, point)], sort_keys=True)


def _batch_size(spec: SweepSpec, point: Point) -> int:
    return int(point.get("batch_size", spec.budget.batch_size))


def schedule_of(spec: SweepSpec, point: Point) -> str:
    """Return the kind of a point's schedule."""
    return str(point.get("schedule", spec.schedule.kind))


def _optimizer(spec: SweepSpec) -> Optimizer:
    rule = OPTIMIZERS[spec.optimizer.kind]
    beside = numbers_of(spec.optimizer)
    flags = {flag.name: bool(beside.get(flag.name, flag.default)) for flag in rule.numbers if isinstance(flag, Flag)}
    numbers = [number.name for number in rule.numbers if isinstance(number, Number)]
    used = {name for name in numbers if beside.get(name) or getattr(spec.space, name, None) is not None}
    return rule.make(flags, used)


def structure(spec: SweepSpec, point: Point) -> Structure:
    """Return the engine structure of a point."""
    kind, batch_size = schedule_of(spec, point), _batch_size(spec, point)
    phases = spec.schedule.phases if kind == "phases" else ()
    return Structure(_optimizer(spec), kind, batch_size, spec.resources.precision, phases)


def hyperparameters(spec: SweepSpec, point: Point) -> Hyperparameters:
    """Return the numbers of a point's lane. The rate is 10 ** lr_exponent."""
    rule, schedule = OPTIMIZERS[spec.optimizer.kind], SCHEDULES[schedule_of(spec, point)]
    numbers: dict[str, float] = {}
    for entries, beside in (
        (rule.numbers, numbers_of(spec.optimizer)),
        ((*schedule.numbers, WARMUP), numbers_of(spec.schedule)),
    ):
        for number in entries:
            if isinstance(number, Number):
                value = point.get(number.name, beside.get(number.name))
                numbers[number.name] = number.default if value is None else float(value)
    return Hyperparameters(10.0 ** float(point["lr_exponent"]), point.get("decay_points", ()), numbers.items())


def replicates(spec: SweepSpec, number: int, point: Point) -> list[Trial]:
    """Return a trial's replicates, under seed, seed + 1, ...; each is an engine trial whose id is a TrialId."""
    hyper = hyperparameters(spec, point)
    budget = spec.budget
    return [
        Trial(str(TrialId(number, r)), int(point["seed"]) + r, budget.steps, hyper, budget.reports, rungs(spec))
        for r in range(spec.replicates)
    ]


def rungs(spec: SweepSpec) -> tuple[int, ...]:
    """Return the steps after which trials are scored: none without stopping."""
    return spec.scored.steps(spec.budget.steps) if spec.scored else ()


def first_point(spec: SweepSpec) -> Point:
    """Return a point in the middle of the ranges, with the first of each choice."""
    point = spec.space.resolve(middle(spec))
    return point | ({"lr_exponent": 0.0} if point.get("lr_exponent") == AUTO else {})


def middle(spec: SweepSpec) -> Point:
    """Return the sampled values of the first point, also of what does not exist there."""
    sampled: Point = {}
    for name, domain in spec.space.domains():
        if isinstance(domain, Choice):
            sampled[name] = domain.choices[0]
        else:
            middle = (domain.low * domain.high) ** 0.5 if domain.log else (domain.low + domain.high) / 2
            sampled[name] = int(middle) if domain.integer else middle
    return sampled


def thresholds(spec: SweepSpec) -> Thresholds:
    """Return the thresholds between verdicts."""
    return Thresholds(**spec.health.model_dump())


def watchers(spec: SweepSpec) -> list[Watcher]:
    """Return the watchers: the user's own first, so that their verdicts take precedence.

    Raises BadInput for one that cannot be loaded.
    """
    own: list[Watcher] = []
    for reference in spec.watchers:
        kind = load_class(reference, "watchers")
        if not issubclass(kind, Watcher):
            raise BadInput(f"watchers: {reference} is no Watcher; inherit from espalier.Watcher")
        with as_bad_input(f"watchers: {reference} cannot be made"):
            own.append(kind())
        _check_calls(reference, own[-1])
    return [*own, Ratios(), Health(thresholds(spec), spec.objective.metric, spec.objective.mode)]


def _check_calls(reference: str, watcher: Watcher) -> None:
    """Raise BadInput for a method of a watcher that cannot be called as a cohort does."""
    for name, method in inspect.getmembers(Watcher, inspect.isfunction):
        arguments = [*inspect.signature(method).parameters][1:]
        own: object = getattr(watcher, name)
        if not callable(own):
            raise BadInput(
                f"watchers: {reference}: {name} is {shown(own)}; write a method {name}({', '.join(arguments)})"
            )
        try:
            inspect.signature(own).bind(*arguments)
        except TypeError as error:
            wanted = f"{name}({', '.join(['self', *arguments])})"
            raise BadInput(f"watchers: {reference}: {name}() cannot be called ({error}); write {wanted}") from error


def scoring(spec: SweepSpec) -> Scoring:
    """Return how trials are scored."""
    chosen = spec.scored
    if chosen is None:
        return Scoring(())
    return Scoring((chosen.score,), chosen.probe_steps(spec.budget.steps), chosen.probe_share)
