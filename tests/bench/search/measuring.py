"""Regret by compute, over repetitions with other seeds."""

import math
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tests.bench.search.clock import regret
from tests.bench.search.method import Method
from tests.bench.search.table import Table

BUDGETS = (0.5, 1, 2, 4, 8, 16, 32)  # full trainings
FINE = tuple(np.arange(0.25, 8, 0.25)) + tuple(np.arange(8, 32.5, 0.5))  # where one replay answers for all
COARSE = (0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 8, 12, 16, 32)  # where each takes a replay
GOAL = 0.005
DEAR_MOST, DEAR_LEAST = 64, 5  # of a dear method: the largest budget times its dearness, and the least repetitions
UNKNOWN = 1e9  # in place of infinity, which has no quantiles


def measure(method: Method, table: Table, workers: int, repetitions: int, most: float = 32) -> dict[str, Any]:
    """Return the median and the 90th percentile of regret at each of BUDGETS, and the compute to GOAL.

    Also `regrets`, those of each repetition at each of BUDGETS.
    """
    begin = time.perf_counter()
    if method.dear > 1:
        most = min(most, DEAR_MOST / method.dear)
        repetitions = min(repetitions, max(DEAR_LEAST, repetitions // method.dear))
    grid = [float(budget) for budget in (COARSE if method.needs_budget else FINE) if budget <= most]
    regrets_SB = np.array([_regrets(method, table, workers, seed, grid) for seed in range(repetitions)])
    levels = {name: _quantile(regrets_SB, level) for name, level in (("median", 0.5), ("p90", 0.9))}
    at = {name: _at_budgets(row, grid) for name, row in levels.items()}
    to_goal = {f"{name}_to_goal": compute_to_goal(grid, row) for name, row in levels.items()}
    regrets = [_at_budgets(row, grid) for row in regrets_SB.tolist()]
    seconds = time.perf_counter() - begin
    return at | to_goal | {"regrets": regrets, "repetitions": repetitions, "seconds": seconds}


def _at_budgets(row: Sequence[float], grid: Sequence[float]) -> list[float]:
    return [row[grid.index(budget)] if budget in grid else math.inf for budget in BUDGETS]


def _regrets(method: Method, table: Table, workers: int, seed: int, grid: Sequence[float]) -> list[float]:
    if method.needs_budget:
        return [regret(method.replay(table, budget, workers, seed), budget, table.best) for budget in grid]
    finishes = method.replay(table, grid[-1], workers, seed)
    return [regret(finishes, budget, table.best) for budget in grid]


def _quantile(regrets_SB: "np.typing.NDArray[np.float64]", level: float) -> list[float]:
    row = np.quantile(np.minimum(regrets_SB, UNKNOWN), level, axis=0)
    return [float(value) if value < UNKNOWN / 1e3 else math.inf for value in row]


def compute_to_goal(grid: Sequence[float], regrets: Sequence[float]) -> float:
    """Return the least compute from which on regret stays at GOAL or below; infinite if there is none.

    >>> compute_to_goal([1, 2, 4, 8], [0.1, 0.004, 0.006, 0.001])
    8
    """
    above = [k for k, value in enumerate(regrets) if value > GOAL]
    first = above[-1] + 1 if above else 0
    return grid[first] if first < len(grid) else math.inf


def measure_all(
    methods: Mapping[str, Method], table: Table, workers: Sequence[int], repetitions: int, most: float = 32
) -> dict[str, Any]:
    """Measure methods on one table. Returns {"table", "made", "results": {workers: {method: result}}}."""
    results: dict[str, dict[str, Any]] = {}
    for count in workers:
        for name, method in methods.items():
            results.setdefault(str(count), {})[name] = measure(method, table, count, repetitions, most)
            print(f"{table.name}, {count} workers, {name}", file=sys.stderr)
    cells = f"{len(table.exponents)} by {len(table.decays)} cells of {table.steps:,} steps"
    made = f"{cells}: `{table.words}`" if table.words else cells
    return {"table": table.name, "made": made, "results": results}
