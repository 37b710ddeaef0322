"""Learning-rate schedules: pure functions of the share of the budget, one column per lane.

K = lanes, P = decay points. A schedule is built from (K,) float64 tensors and called with u = step / budget: a number
for all lanes, or a tensor (..., K). It returns the learning rates (..., K). Only operations whose result does not
depend on an element's place in its tensor are used (`pow` is not one of them), so a lane's rates do not depend on K.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from espalier.core.errors import BadInput, nearest
from espalier.core.schedules.kinds import KINDS, LIMITS, SHAPES, Kind, Phase, check_phases, unfit_points

Schedule = Callable[[Tensor | float], Tensor]
Numbers = Mapping[str, Tensor]
"""What a schedule is built from: columns (K,) by the names of Hyperparameters, `points` (K, P), `budget` in steps."""
Build = Callable[[Numbers, Sequence[Phase]], Schedule]


def _share(u: Tensor | float) -> Tensor:
    return torch.as_tensor(u, dtype=torch.float64)


def _log(x_K: Tensor) -> Tensor:
    """The logarithms of single numbers: the same bits at every place."""
    return torch.tensor([math.log(x) if x > 0 else -math.inf for x in x_K.flatten().tolist()], dtype=x_K.dtype)


# --- from one rate to another ----------------------------------------------------------------------------------------


def anneal(shape: str, start: Any, end: Any, p: Any, power: Any = 1.0) -> Tensor:
    """Return the rate at the share p of a way from `start` to `end` (p in [0, 1]).

    constant:     start
    linear:       start + p * (end - start)
    cosine:       start + (1 + cos(pi * (1 - p))) * (end - start) / 2
    exponential:  start * (end / start) ** p
    polynomial:   end + (start - end) * (1 - p) ** power           (torch's PolynomialLR)
    sqrt:         end + (start - end) * (1 - sqrt(p))              (Hägele et al. 2024, arXiv:2405.18392)

    The first four are those of fastai's course (part 2, lesson 9).

    >>> [round(anneal(shape, 2, 0.01, 0.25).item(), 6) for shape in ("linear", "cosine", "exponential", "constant")]
    [1.5025, 1.708571, 0.53183, 2.0]
    """
    start, end, p, power = (torch.as_tensor(x, dtype=torch.float64) for x in (start, end, p, power))
    if shape == "linear":
        return start + p * (end - start)
    if shape == "cosine":
        return start + (1 + torch.cos(math.pi * (1 - p))) * (end - start) / 2
    if shape == "exponential":
        return start * torch.exp(p * _log(end / start).reshape((end / start).shape))
    if shape == "polynomial":
        left = 1 - p
        return end + (start - end) * torch.where(power == 1, left, torch.exp(power * torch.log(left)))
    if shape == "sqrt":
        return end + (start - end) * (1 - torch.sqrt(p))
    if shape == "constant":
        return start + 0 * p
    raise BadInput(f"schedule: unknown shape '{shape}'; {nearest(shape, SHAPES)}")


# --- schedules --------------------------------------------------------------------------------------------------------


def constant(peak_K: Tensor) -> Schedule:
    """The same rate at every step.

    >>> constant(torch.tensor([0.1], dtype=torch.float64))(0.7).tolist()
    [0.1]
    """
    return lambda u: peak_K * torch.ones_like(_share(u))


def step_decay(peak_K: Tensor, points_KP: Tensor, factor_K: Tensor) -> Schedule:
    """Multiply the rate by `factor` at each decay point (a share of the budget, in [0, 1]).

    lr(u) = peak * factor ** #{p in points : u >= p},   u = step / budget

    A point of infinity is never reached; it pads lanes that have fewer points.

    >>> lr_K = step_decay(torch.tensor([0.1]), torch.tensor([[0.5]]), torch.tensor([0.1]))
    >>> [round(lr_K(u).item(), 4) for u in (0.0, 0.49, 0.5)]
    [0.1, 0.1, 0.01]
    """
    factors = [torch.ones_like(factor_K)]
    for _ in range(points_KP.shape[-1]):
        factors.append(factors[-1] * factor_K)  # products, since `pow` is not place-independent
    rates_KP = peak_K[:, None] * torch.stack(factors, -1)

    def rate(u: Tensor | float) -> Tensor:
        u_K = _share(u) * torch.ones_like(peak_K)
        passed_K = (u_K[..., None] >= points_KP).sum(-1)
        return rates_KP.expand(*passed_K.shape, -1).gather(-1, passed_K[..., None])[..., 0]

    return rate


def fall(shape: str, peak_K: Tensor, floor_K: Tensor, start_K: Tensor, power_K: Tensor | float = 1.0) -> Schedule:
    """Keep the peak up to the share `start`, then go to `floor * peak` at the end of the budget, as `anneal` says.

    A cosine without a start is that of Loshchilov and Hutter 2017 (one cycle, arXiv:1608.03983); with one at 0.8 and a
    linear or square-root shape this is warm-up-stable-decay (Hu et al. 2024, arXiv:2404.06395; Hägele et al. 2024).

    >>> zero, two = (torch.tensor([x], dtype=torch.float64) for x in (0.0, 2.0))
    >>> [round(fall("cosine", two, zero, zero)(u).item(), 4) for u in (0.0, 0.5, 1.0)]
    [2.0, 1.0, 0.0]
    """
    span_K = torch.where(start_K < 1, 1 - start_K, torch.ones_like(start_K))

    def rate(u: Tensor | float) -> Tensor:
        p_K = ((_share(u) - start_K) / span_K).clamp(0, 1)
        return peak_K * anneal(shape, torch.ones_like(floor_K), floor_K, p_K, power_K)

    return rate


def one_cycle(peak_K: Tensor, top_K: Tensor, div_K: Tensor, floor_K: Tensor) -> Schedule:
    """Rise along half a cosine from `peak / div` to the peak at the share `top`, then fall to `floor * peak`.

    Smith and Topin 2018 (arXiv:1708.07120) in the form of fastai's fit_one_cycle.

    >>> one = torch.ones(1, dtype=torch.float64)
    >>> lr_K = one_cycle(one, 0.25 * one, 25 * one, 1e-5 * one)
    >>> [round(lr_K(u).item(), 5) for u in (0.0, 0.25, 1.0)]
    [0.04, 1.0, 1e-05]
    """

    def rate(u: Tensor | float) -> Tensor:
        u_K = _share(u)
        up_K = (u_K / torch.where(top_K > 0, top_K, 1.0)).clamp(0, 1)
        down_K = ((u_K - top_K) / torch.where(top_K < 1, 1 - top_K, 1.0)).clamp(0, 1)
        rising_K, falling_K = anneal("cosine", 1 / div_K, 1.0, up_K), anneal("cosine", 1.0, floor_K, down_K)
        return peak_K * torch.where(u_K < top_K, rising_K, falling_K)

    return rate


def _torch_one_cycle(peak_K: Tensor, top_K: Tensor, div_K: Tensor, floor_K: Tensor, budget_K: Tensor) -> Schedule:
    """torch's OneCycleLR reaches its end at the last step and its peak one step before `top`."""
    last_K = torch.where(budget_K > 1, budget_K - 1, torch.ones_like(budget_K))
    cycle = one_cycle(peak_K, ((top_K * budget_K - 1) / last_K).clamp(0, 1), div_K, floor_K)
    return lambda u: cycle((_share(u) * budget_K / last_K).clamp(max=1))


def combined(peak_K: Tensor, phases: Sequence[Phase]) -> Schedule:
    """One phase after the other. Raises BadInput for shares that do not add up to 1 (to a millionth), or a bad shape.

    >>> lr_K = combined(torch.ones(1, dtype=torch.float64), [(0.3, "cosine", 0.3, 0.6), (0.7, "cosine", 0.6, 0.2)])
    >>> [round(lr_K(u).item(), 6) for u in (0, 0.1, 0.15, 0.3, 0.5, 0.65, 0.9, 1)]
    [0.3, 0.375, 0.45, 0.6, 0.524698, 0.4, 0.219806, 0.2]
    """
    phases = check_phases(phases)
    ends = [math.fsum(phase[0] for phase in phases[: i + 1]) for i in range(len(phases))]
    begins = [0.0, *ends[:-1]]

    def rate(u: Tensor | float) -> Tensor:
        u_K = _share(u) * torch.ones_like(peak_K)
        rate_K = torch.zeros_like(u_K)
        for begin, (share, shape, start, end) in zip(begins, phases, strict=True):
            p_K = ((u_K - begin) / share).clamp(0, 1)
            rate_K = torch.where(u_K >= begin, anneal(shape, start, end, p_K), rate_K)
        return peak_K * rate_K

    return rate


def warmed(schedule: Schedule, warmup_K: Tensor) -> Schedule:
    """Rise linearly from 0 to the schedule's own rate over the first `warmup` of the budget (0: no warm-up).

    lr(u) = min(1, u / warmup) * schedule(u), as in Hugging Face's schedules: the first step has rate 0.

    >>> lr_K = warmed(constant(torch.tensor([0.1])), torch.tensor([0.5, 0.0]))
    >>> [round(x, 3) for x in lr_K(0.25).tolist()]
    [0.05, 0.1]
    """
    length_K = torch.where(warmup_K > 0, warmup_K, torch.ones_like(warmup_K))

    def rate(u: Tensor | float) -> Tensor:
        ramp_K = torch.where(warmup_K > 0, (_share(u) / length_K).clamp(max=1), torch.ones_like(warmup_K))
        return ramp_K * schedule(u)

    return rate


# --- kinds by name ----------------------------------------------------------------------------------------------------


def _falling(kind: Kind) -> Build:
    def build(numbers: Numbers, phases: Sequence[Phase]) -> Schedule:
        return fall(kind.shape, numbers["lr"], numbers["floor"], _start(kind, numbers), numbers["power"])

    return build


def _start(kind: Kind, numbers: Numbers) -> Tensor:
    """Return the first decay point of each lane, or the kind's own where it has none."""
    default = numbers["warmup"] if kind.point is None else kind.point
    if not numbers["points"].shape[-1]:
        return torch.as_tensor(default, dtype=torch.float64) * torch.ones_like(numbers["lr"])
    first_K = numbers["points"][:, 0]
    return torch.where(first_K.isfinite(), first_K, default)


def _cycle(numbers: Numbers, phases: Sequence[Phase]) -> Schedule:
    top_K = _start(KINDS["onecycle-fastai"], numbers)
    return one_cycle(numbers["lr"], top_K, numbers["div"], numbers["floor"])


def _cycle_of_torch(numbers: Numbers, phases: Sequence[Phase]) -> Schedule:
    top_K = _start(KINDS["onecycle"], numbers)
    return _torch_one_cycle(numbers["lr"], top_K, numbers["div"], numbers["floor"], numbers["budget"])


BUILDERS: Mapping[str, Build] = {
    "constant": lambda n, phases: constant(n["lr"]),
    "step": lambda n, phases: step_decay(n["lr"], n["points"], n["decay_factor"]),
    "onecycle": _cycle_of_torch,
    "onecycle-fastai": _cycle,
    "phases": lambda n, phases: combined(n["lr"], phases),
} | {name: _falling(kind) for name, kind in KINDS.items() if kind.shape}
"""How each of the KINDS is built."""


def build(kind: str, numbers: Numbers, phases: Sequence[Phase] = ()) -> Schedule:
    """Return a schedule by name, after a warm-up where lanes have one."""
    if kind not in KINDS:
        raise BadInput(f"schedule: unknown kind '{kind}'; {nearest(kind, KINDS)}")
    return warmed(BUILDERS[kind](numbers, phases), numbers["warmup"])


# --- for somebody's own loop ------------------------------------------------------------------------------------------

_DEFAULTS: Mapping[str, Any] = {"decay_factor": 0.1, "warmup": 0.0, "floor": None, "power": None, "div": None}


def torch_scheduler(
    config: Mapping[str, Any], optimizer: torch.optim.Optimizer, last_step: int = -1
) -> torch.optim.lr_scheduler.LambdaLR:
    """Return a schedule as PyTorch's LRScheduler: call its `step()` after each `optimizer.step()`.

    config: `kind` and `steps` (the budget), and what the kind takes: `decay_points` (shares of the budget),
        `decay_factor`, `warmup`, `floor`, `power`, `div`, `phases`. The peak is each parameter group's own rate, unless
        `lr` or `lr_exponent` gives one for all.
    last_step: -1 at the start; the steps taken so far less one, to go on.

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
    kind, steps, points = _checked(config)
    chosen = KINDS[kind]
    given = {name: config.get(name, default) for name, default in _DEFAULTS.items()}
    numbers: dict[str, Tensor] = {
        name: torch.tensor([chosen.number(name, value) if value is None else value], dtype=torch.float64)
        for name, value in given.items()
    }
    numbers |= {"lr": torch.ones(1, dtype=torch.float64), "budget": torch.tensor([float(steps)], dtype=torch.float64)}
    numbers["points"] = torch.tensor([points], dtype=torch.float64).reshape(1, len(points))
    schedule = build(kind, numbers, config.get("phases", ()))
    peak = 10.0 ** config["lr_exponent"] if "lr_exponent" in config else config.get("lr")
    if peak is not None:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] = float(peak)
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule(step / steps).item(), last_step)


def _checked(config: Mapping[str, Any]) -> tuple[str, int, list[float]]:
    """Return the kind, the budget and the decay points of a config. Raises BadInput."""
    known = ["kind", "steps", "lr", "lr_exponent", "decay_points", "phases", *_DEFAULTS]
    for key in config:
        if key not in known:
            raise BadInput(f"schedule.{key}: unknown field; {nearest(key, known)}")
    for key in ("kind", "steps"):
        if key not in config:
            raise BadInput(f"schedule.{key}: missing; it is required")
    kind, steps = config["kind"], config["steps"]
    if kind not in KINDS:
        raise BadInput(f"schedule.kind: unknown kind '{kind}'; {nearest(str(kind), KINDS)}")
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise BadInput(f"schedule.steps: {steps!r} is no whole number above 0")
    if "lr" in config and "lr_exponent" in config:
        raise BadInput("schedule.lr: lr_exponent is given too; keep one of them")
    points = sorted(float(point) for point in config.get("decay_points") or ())
    if why := unfit_points(kind, len(points)):
        raise BadInput(f"schedule.decay_points: {why}")
    if any(not 0 <= point <= 1 for point in points):
        raise BadInput(f"schedule.decay_points: {points}; decay points are shares of the budget in [0, 1]")
    for name, (low, high) in LIMITS.items():
        value = config.get(name)
        if value is not None and not low <= float(value) <= high:
            raise BadInput(f"schedule.{name}: {value!r} is no number in [{low:g}, {high:g}]")
    for name in ("floor", "power", "div", "decay_factor"):
        if config.get(name) is not None and name not in KINDS[kind].takes:
            takes = ", ".join(["warmup", *KINDS[kind].takes])
            raise BadInput(f"schedule.{name}: schedule '{kind}' has none; it takes {takes}")
    if kind == "exponential" and config.get("floor") == 0:
        raise BadInput("schedule.floor: an exponential never reaches 0; give a floor above it")
    if (kind == "phases") != bool(config.get("phases")):
        raise BadInput("schedule.phases: they belong to kind 'phases', which needs them")
    return kind, steps, points
