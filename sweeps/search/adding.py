"""Add points to a sweep that has not ended: its process takes each when it next asks for a trial."""

import time
from collections.abc import Mapping, Sequence

from espalier.core.errors import BadInput, counted
from espalier.sweeps.home import Home
from espalier.sweeps.search.driver_lock import driven_sweeps
from espalier.sweeps.search.extending import extended_to
from espalier.sweeps.search.given import Given, as_stored
from espalier.sweeps.search.store import SweepStore, best_points, find_sweep
from espalier.sweeps.search.study import SweepRecord
from espalier.sweeps.spec.first import as_sampled
from espalier.sweeps.spec.space import Point
from espalier.sweeps.spec.values import Fields


def add_points(
    home: Home,
    wanted: str,
    points: Sequence[Fields],
    other: str = "",
    top: int = 1,
    extended: Mapping[str, float] | None = None,
) -> list[str]:
    """Add points to a sweep, by its id or name; return sentences on what happens to them. See `add`.

    extended: how much the sweep is to train in all once it goes on, by its unit; None for what is stored.
    """
    store = SweepStore.open(home.storage)
    record = extended_to(find_sweep(home, store, wanted), extended or {})
    return list(_sentences(home, record, add(store, record, points, other, top)))


def add(store: SweepStore, record: SweepRecord, points: Sequence[Fields], other: str = "", top: int = 1) -> int:
    """Add points to a sweep; return how many.

    other: another sweep of the store, whose `top` best points are added after them; "" for none. Raises BadInput for a
    sweep that asks for no more trials, and for a point that is none of its space: then none of them is added.
    """
    space = record.spec.space
    try:
        chosen = [(as_sampled(space, point, f"point {k}"), "") for k, point in enumerate(points, 1)]
    except ValueError as error:
        raise BadInput(str(error)) from error
    for best in best_points(store, other, top, space, "--from") if other else ():
        chosen.append((as_sampled(space, best["point"], "--from"), f"{best['of']}, trial {best['trial']}"))
    if not chosen:
        raise BadInput("no points; write one, as '{lr: 0.001}', or name another sweep by --from")
    _check_room(record, len(chosen))
    _add(record, chosen)
    return len(chosen)


def _check_room(record: SweepRecord, count: int) -> None:
    """Raise BadInput if a sweep has fewer trials left to ask for."""
    trials, spec = record.trials(), record.spec
    asked = sum(trial.confirms is None for trial in trials)
    instead = "give the points to a new sweep, under `first` in its spec"
    if record.search_over or (spec.counts_trials and asked >= spec.trials_wanted):
        raise BadInput(f"{record.id} asks for no more trials: all of its {asked} exist; {instead}")
    waiting = sum(1 for _ in Given(record, trials).waiting())
    left = -(-(spec.trials_wanted - asked) // spec.branches) - waiting
    if spec.counts_trials and count > left:
        points = "no further point" if left <= 0 else counted(left, "further point")
        raise BadInput(f"{record.id} has room for {points} among its trials; leave some out, or {instead}")


def _add(record: SweepRecord, chosen: Sequence[tuple[Point, str]]) -> None:
    now = time.time_ns()  # no two processes add at one: and if they did, only one of the points would stay
    for k, (point, origin) in enumerate(chosen):
        record.enqueue(str(now + k), as_stored(point), origin)


def _sentences(home: Home, record: SweepRecord, count: int) -> Sequence[str]:
    points = counted(count, "point")
    if driven_sweeps(home, [record.id]):
        lines = [f"added {points} to {record.id}, which runs: it takes each when it next asks for a trial"]
    else:
        lines = [f"added {points} to {record.id}; it takes them when it goes on: {home.resume_command(record.id)}"]
    if record.spec.search.repeatable:
        lines.append("it is repeatable no more: another run of its spec has no such points")
    return lines
