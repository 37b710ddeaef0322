"""The schedules by their names in a spec, and how to build one with a warm-up."""

from collections.abc import Sequence

from espalier.core.loading.registry import Registry
from espalier.core.schedules.schedule import Columns, Phase, RateFunction, Schedule
from espalier.core.schedules.warmup import warmed

SCHEDULES: Registry[Schedule] = Registry(
    "schedule.kind",
    "core.schedules.schedule:Schedule",
    {
        "constant": "core.schedules.constant:Constant",
        "step": "core.schedules.step:Step",
        "linear": "core.schedules.linear:Linear",
        "cosine": "core.schedules.cosine:Cosine",
        "exponential": "core.schedules.exponential:Exponential",
        "polynomial": "core.schedules.polynomial:Polynomial",
        "wsd": "core.schedules.wsd:WarmupStableDecay",
        "wsd-sqrt": "core.schedules.wsd_sqrt:WarmupStableSqrt",
        "onecycle": "core.schedules.onecycle:OneCycle",
        "onecycle-fastai": "core.schedules.onecycle_fastai:OneCycleFastai",
        "phases": "core.schedules.phases:Phases",
    },
    "kind",
)


def build(kind: str, columns_K: Columns, phases: Sequence[Phase] = ()) -> RateFunction:
    """Return the named schedule as a function, with a warm-up where lanes have one. Raises BadInput for bad phases."""
    return warmed(SCHEDULES[kind]().build(columns_K, phases), columns_K["warmup"])


def why_not_so_many_points(kind: str, count: int) -> str:
    """Return why a schedule cannot have `count` decay points; "" if it can."""
    most = SCHEDULES[kind].decay_points
    if count <= most:
        return ""
    fitting = ", ".join(f"'{name}'" for name in SCHEDULES if SCHEDULES[name].decay_points >= count)
    one = "one decay point at most, where its rate begins to fall"
    limit = {0: "no decay points", 1: one}.get(most, f"{most} decay points at most")
    return f"schedule '{kind}' has {limit}; {count} arrived; {fitting or 'none'} can have as many"
