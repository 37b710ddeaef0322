"""Which schedules there are and what each takes, in plain numbers: what a spec needs to know, without torch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from espalier.core.errors import BadInput, nearest

SHAPES = ("constant", "linear", "cosine", "exponential", "polynomial", "sqrt")
"""How a rate goes from one value to another; core.schedules.schedule.anneal has the formulas."""

Phase = tuple[float, str, float, float]
"""A share of the budget, a shape, and the rates at its begin and end as multiples of the peak."""


@dataclass(frozen=True)
class Kind:
    """A schedule: which numbers it takes beside `lr` and `warmup`, and their defaults.

    points: how many decay points it may have. Where it falls once, in a `shape`, a decay point is where the fall
    begins, else it begins at `point`, or at the end of the warm-up.
    """

    points: int = 0
    takes: tuple[str, ...] = ()
    shape: str = ""
    floor: float = 0.0
    power: float = 1.0
    div: float = 25.0
    point: float | None = None

    def number(self, name: str, value: float | None) -> float:
        """Return a number that is given, else the kind's default."""
        return getattr(self, name) if value is None else value


KINDS: Mapping[str, Kind] = {
    "constant": Kind(),
    "step": Kind(16, ("decay_factor",)),
    "linear": Kind(1, ("floor",), "linear"),
    "cosine": Kind(1, ("floor",), "cosine"),
    "exponential": Kind(1, ("floor",), "exponential", floor=0.01),
    "polynomial": Kind(1, ("floor", "power"), "polynomial"),
    "wsd": Kind(1, ("floor",), "linear", point=0.8),
    "wsd-sqrt": Kind(1, ("floor",), "sqrt", point=0.8),
    "onecycle": Kind(1, ("floor", "div"), floor=1 / (25 * 1e4), point=0.3),
    "onecycle-fastai": Kind(1, ("floor", "div"), floor=1e-5, point=0.25),
    "phases": Kind(),
}
"""Every schedule, by the name it has in a spec. The one-cycles have the defaults of torch's OneCycleLR and of fastai's
fit_one_cycle; a decay point is where their rate is highest."""


LIMITS: Mapping[str, tuple[float, float]] = {
    "decay_factor": (0.0, 1.0),
    "warmup": (0.0, 1.0),
    "floor": (0.0, 1e9),
    "power": (1e-3, 1e3),
    "div": (1.0, 1e12),
}
"""What the numbers of a schedule may be."""


def unfit_points(kind: str, count: int) -> str:
    """Return why a kind cannot have so many decay points; nothing if it can."""
    most = KINDS[kind].points
    if count <= most:
        return ""
    fitting = ", ".join(f"'{name}'" for name, other in KINDS.items() if other.points >= count)
    one = "one decay point at most, where its rate begins to fall"
    has = {0: "no decay points", 1: one}.get(most, f"{most} decay points at most")
    return f"schedule '{kind}' has {has}; {count} arrived; {fitting or 'none'} can have as many"


def check_phases(phases: Sequence[Sequence[Any]]) -> list[Phase]:
    """Return the phases as tuples. Raises BadInput."""
    if not phases:
        raise BadInput("schedule.phases: there are none; give [share, shape, from, to] for each")
    found: list[Phase] = []
    for phase in phases:
        if len(phase) != 4:
            raise BadInput(f"schedule.phases: {list(phase)} is no phase; write [share, shape, from, to]")
        share, shape, start, end = float(phase[0]), str(phase[1]), float(phase[2]), float(phase[3])
        if shape not in SHAPES:
            raise BadInput(f"schedule.phases: unknown shape '{shape}'; {nearest(shape, SHAPES)}")
        if not 0 < share <= 1:
            raise BadInput(f"schedule.phases: a share of {share:g}; shares lie above 0 and add up to 1")
        if min(start, end) < 0 or (shape == "exponential" and min(start, end) <= 0):
            raise BadInput(
                f"schedule.phases: {shape} from {start:g} to {end:g}; rates are positive multiples of the peak"
            )
        found.append((share, shape, start, end))
    total = math.fsum(phase[0] for phase in found)
    if abs(total - 1) > 1e-6:
        raise BadInput(f"schedule.phases: the shares add up to {total:g}; they must add up to 1")
    return found
