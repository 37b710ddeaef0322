"""Schedules as PyTorch's LRScheduler, for any training loop."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from espalier.core.arguments import Rule, checked, instance, mapping, number, plain, text, whole
from espalier.core.errors import BadInput, nearest, shown
from espalier.core.numbers import Number
from espalier.core.schedules.registry import SCHEDULES, build, why_not_so_many_points
from espalier.core.schedules.schedule import RateFunction, Schedule
from espalier.core.schedules.warmup import WARMUP


def _shares(value: Sequence[object]) -> list[float]:
    share = number(0, 1)
    if isinstance(value, str | Mapping):
        raise TypeError
    return [float(share.read(point)) for point in value]


def _phases(value: Sequence[Sequence[object]]) -> Sequence[Sequence[object]]:
    """Raise TypeError or ValueError for what are no phases at all; what they say is checked where they are built."""
    if isinstance(value, str | Mapping):
        raise TypeError
    for phase in value:
        share, _, *rates = phase
        _ = [number().read(rate) for rate in (share, *rates)]
    return value


FIELDS: Mapping[str, Rule] = {
    "kind": text(f"the name of a schedule ({', '.join(SCHEDULES.names)}), or file.py:Class of your own"),
    "steps": whole(1),
    "lr": number(0, above=True, optional=True),
    "lr_exponent": number(-40, 40, optional=True),
    "decay_points": Rule(_shares, "a list of shares of the budget in [0, 1], as [0.5, 0.8]", optional=True),
    "phases": Rule(_phases, "a list with [share, shape, from, to] for each phase", optional=True),
}


@checked(
    config=mapping("a mapping with kind and steps, as {'kind': 'cosine', 'steps': 1000}"),
    optimizer=instance(lambda: torch.optim.Optimizer, "a torch.optim.Optimizer"),
    last_step=whole(-1),
)
def torch_scheduler(
    config: Mapping[str, Any], optimizer: torch.optim.Optimizer, last_step: int = -1
) -> torch.optim.lr_scheduler.LambdaLR:
    """Return a schedule as PyTorch's LRScheduler: call its `step()` after each `optimizer.step()`.

    config: `kind` and `steps` (the budget), and what the kind takes: `decay_points` (shares of the budget),
        `decay_factor`, `warmup`, `floor`, `power`, `div`, `phases`. The peak is each parameter group's own rate, unless
        `lr` or `lr_exponent` gives one for all.
    last_step: -1 at the start; to continue a run, the number of steps taken minus 1.

    Raises BadInput for a key that is unknown or missing, or that the kind does not take.

    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    >>> scheduler = torch_scheduler({"kind": "step", "steps": 4, "decay_points": [0.5]}, optimizer)
    >>> rates = []
    >>> for _ in range(4):
    ...     rates.append(round(scheduler.get_last_lr()[0], 6))
    ...     optimizer.step()
    ...     scheduler.step()
    >>> rates
    [0.1, 0.1, 0.01, 0.01]
    """
    config = {key: plain(value) for key, value in config.items()}
    rate = rate_function(config)
    steps = config["steps"]
    peak = config.get("lr") if config.get("lr_exponent") is None else 10.0 ** config["lr_exponent"]
    if peak is not None:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] = float(peak)
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step / steps).item(), last_step)


def rate_function(config: Mapping[str, Any]) -> RateFunction:
    """Return a schedule as a function of the share of the budget, (1,) of the peak. config: as of `torch_scheduler`.

    Raises BadInput for a key that is unknown or missing, or that the kind does not take.
    """
    kind, steps, points = _checked(config)
    numbers = {entry.name: config.get(entry.name) for entry in _takes(SCHEDULES[kind])}
    defaults = {entry.name: entry.default for entry in _takes(SCHEDULES[kind])}
    columns: dict[str, Tensor] = {
        name: torch.tensor([defaults[name] if value is None else value], dtype=torch.float64)
        for name, value in numbers.items()
    }
    columns |= {"lr": torch.ones(1, dtype=torch.float64), "budget": torch.tensor([float(steps)], dtype=torch.float64)}
    columns["points"] = torch.tensor([points], dtype=torch.float64).reshape(1, len(points))
    return build(kind, columns, config.get("phases") or ())


def _takes(schedule: type[Schedule]) -> list[Number]:
    return [WARMUP, *schedule.numbers]


def _checked(config: Mapping[str, Any]) -> tuple[str, int, list[float]]:
    """Return the kind, the budget and the decay points of a config. Raises BadInput."""
    for key in ("kind", "steps"):
        if key not in config:
            raise BadInput(f"schedule.{key}: missing; it is required")
    ruled = {key: rule.check(f"schedule.{key}", config[key]) for key, rule in FIELDS.items() if key in config}
    config = {**config, **ruled}
    kind, steps = config["kind"], config["steps"]
    schedule = SCHEDULES.find(kind, "schedule.kind")
    _check_keys(config, kind, schedule)
    if config.get("lr") is not None and config.get("lr_exponent") is not None:
        raise BadInput("schedule.lr: lr_exponent is given too; keep one of them")
    points: list[float] = sorted(config.get("decay_points") or ())
    if why := why_not_so_many_points(kind, len(points)):
        raise BadInput(f"schedule.decay_points: {why}")
    numbers = {n.name: config[n.name] for n in _takes(schedule) if config.get(n.name) is not None}
    for entry in _takes(schedule):
        if entry.name in numbers and not entry.accepts(numbers[entry.name]):
            raise BadInput(f"schedule.{entry.name}: {shown(numbers[entry.name])} is no number in {entry.limits}")
    schedule.check(numbers)
    if schedule.takes_phases != bool(config.get("phases")):
        raise BadInput("schedule.phases: they belong to kind 'phases', which needs them")
    return kind, steps, points


def _check_keys(config: Mapping[str, Any], kind: str, schedule: type[Schedule]) -> None:
    """Raise BadInput for a key that no schedule takes, or that this one does not take."""
    own = [number.name for number in _takes(schedule)]
    others = {number.name for name in SCHEDULES for number in SCHEDULES[name].numbers}
    for key in config:
        if key in others and key not in own and config[key] is not None:
            raise BadInput(f"schedule.{key}: schedule '{kind}' has none; it takes {', '.join(own)}")
        if key not in others and key not in (*FIELDS, *own):
            raise BadInput(f"schedule.{key}: unknown field; {nearest(key, [*FIELDS, *own, *others])}")
