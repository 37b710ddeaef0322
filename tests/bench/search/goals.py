"""How many tables meet each goal of the search by pieces, and where it is worse than random search.

S = repetitions, B = budgets.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.bench.search.measuring import BUDGETS, GOAL, UNKNOWN

SEARCH, RANDOM = "espalier, thaw", ("Optuna random", "espalier, random")
SAMPLES, LEVEL = 2000, 0.025  # of the bootstrap; the lower end of an interval of 95 %
Result = Mapping[str, Any]


@dataclass(frozen=True)
class Goal:
    """A number of a result that is to be at most `most`, with so many workers."""

    text: str
    workers: int
    value: Callable[[Result], float]
    most: float


def _regret_at(budget: float) -> Callable[[Result], float]:
    return lambda result: result["median"][BUDGETS.index(budget)]


GOALS = (
    Goal(f"median to {GOAL:g} within 3x", 1, lambda result: result["median_to_goal"], 3),
    Goal(f"90th percentile to {GOAL:g} within 5x", 1, lambda result: result["p90_to_goal"], 5),
    Goal(f"median to {GOAL:g} within 4x", 2, lambda result: result["median_to_goal"], 4),
    Goal(f"90th percentile to {GOAL:g} within 5x", 2, lambda result: result["p90_to_goal"], 5),
    Goal("median at most 0.01 at 4x", 8, _regret_at(4), 0.01),
)


def section(measured: Sequence[Mapping[str, Any]]) -> str:
    """Return the section of the report. measured: of each table, as `measure_all` returns it."""
    rows = "".join(_goal_row(goal, measured) for goal in GOALS)
    return f"""## The goals of {SEARCH}

A goal is met on a table if the compute from which on regret stays at {GOAL:g} or below, or the regret, is at most that;
each is to be met on two thirds of the tables.

| goal | workers | met on | where not |
|---|---|---|---|
{rows}
### Worse than random search

Tables and budgets at which the median regret of {SEARCH} is above that of a random search by more than chance: where
the 95 % interval of the difference of both medians lies above zero (percentiles of {SAMPLES:,} bootstrap samples; both
searches' repetitions are drawn anew, apart from each other). None is to be worse.

| random search | workers | compared | worse at |
|---|---|---|---|
{"".join(_random_rows(measured))}"""


def _goal_row(goal: Goal, measured: Sequence[Mapping[str, Any]]) -> str:
    by_table = {each["table"]: each["results"].get(str(goal.workers), {}).get(SEARCH) for each in measured}
    values = {table: goal.value(result) for table, result in by_table.items() if result}
    missed = [f"{table} ({_value(value)})" for table, value in values.items() if value > goal.most]
    met = f"{len(values) - len(missed)} of {len(values)}"
    return f"| {goal.text} | {goal.workers} | {met} | {', '.join(missed)} |\n"


def _value(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "never"


def _random_rows(measured: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    workers = sorted({int(count) for each in measured for count in each["results"]})
    for name in RANDOM:
        for count in workers:
            results = [(each["table"], each["results"].get(str(count), {})) for each in measured]
            pairs = [(table, found[SEARCH], found[name]) for table, found in results if {SEARCH, name} <= found.keys()]
            places = [(table, budget) for table, mine, other in pairs for budget in worse_at(mine, other)]
            text = "; ".join(
                f"{table}: {', '.join(f'{budget:g}x' for _, budget in group)}"
                for table, group in groupby(places, key=lambda place: place[0])
            )
            yield f"| {name} | {count} | {len(pairs) * len(BUDGETS)} | {text} |\n"


def worse_at(mine: Result, other: Result) -> list[float]:
    """Return the budgets at which the first's median regret is above the second's by more than chance."""
    mine_SB, other_SB = (np.minimum(np.array(result["regrets"], float), UNKNOWN) for result in (mine, other))
    return [budget for k, budget in enumerate(BUDGETS) if is_above(mine_SB[:, k], other_SB[:, k])]


def is_above(mine_S: npt.NDArray[np.float64], other_S: npt.NDArray[np.float64]) -> bool:
    """Whether the 95 % interval of the difference of medians lies above zero.

    >>> is_above(np.linspace(1, 2, 50), np.linspace(0.5, 1.5, 50)), is_above(np.array([1.0, 2.0]), np.array([1.1, 1.9]))
    (True, False)
    """
    draw = np.random.default_rng(0)
    mine, other = (np.median(draw.choice(values_S, (SAMPLES, len(values_S))), 1) for values_S in (mine_S, other_S))
    return bool(np.quantile(mine - other, LEVEL) > 0)
