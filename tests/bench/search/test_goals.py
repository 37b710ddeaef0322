"""Goals are counted by table, and a search is worse than another only by more than chance."""

import math
from typing import Any

import numpy as np

from tests.bench.search import goals
from tests.bench.search.benchmark import WORKERS, joined, words
from tests.bench.search.measuring import BUDGETS, measure_all
from tests.bench.search.methods import METHODS
from tests.bench.search.test_replay import small_table


def result(regret: float, to_goal: float, repetitions: int = 20) -> dict[str, Any]:
    """Return a result whose regrets are about `regret` from 1x on; nothing has finished before."""
    draw, row = np.random.default_rng(0), [math.inf, *[regret] * (len(BUDGETS) - 1)]
    spread_SB = draw.uniform(0.5, 1.5, (repetitions, len(BUDGETS)))
    regrets = (np.array(row) * spread_SB).tolist()
    return {"median": row, "p90": row, "median_to_goal": to_goal, "p90_to_goal": to_goal, "regrets": regrets}


def table(name: str, ours: dict[str, Any], random: dict[str, Any]) -> dict[str, Any]:
    """Return what was measured on a table, the same for all workers."""
    found = {goals.SEARCH: ours, "Optuna random": random}
    return {"table": name, "results": {str(workers): found for workers in WORKERS}}


def test_a_goal_is_counted_by_table() -> None:
    random = result(0.1, math.inf)
    measured = [table("good", result(0.001, 3), random), table("late", result(0.02, 4.5), random)]
    text = goals.section(measured)
    assert "| median to 0.005 within 3x | 1 | 1 of 2 | late (4.5) |" in text
    assert "| 90th percentile to 0.005 within 5x | 1 | 2 of 2 |  |" in text
    assert "| median to 0.005 within 4x | 2 | 1 of 2 | late (4.5) |" in text
    assert "| median at most 0.01 at 4x | 8 | 1 of 2 | late (0.02) |" in text


def test_a_search_is_worse_where_chance_does_not_explain_it() -> None:
    good, bad = result(0.01, 3), result(0.1, math.inf)
    assert goals.worse_at(bad, good) == list(BUDGETS[1:]), "nothing has finished at the first budget, on either side"
    assert goals.worse_at(good, bad) == []
    assert goals.worse_at(good, good) == []
    nearly = result(0.0101, 3)
    assert goals.worse_at(nearly, good) == [], "a difference within the error of the medians"
    none = {"regrets": [[math.inf] * len(BUDGETS)] * 20}
    assert goals.worse_at(none, good) == list(BUDGETS[1:]), "no end at all is worse than any"
    text = goals.section([table("bowl", bad, good)])
    assert f"| Optuna random | 1 | {len(BUDGETS)} | bowl: 1x, 2x, 4x, 8x, 16x, 32x |" in text


def test_parts_of_a_table_join_into_one() -> None:
    chosen = {name: METHODS[name] for name in ("espalier, random", "Optuna random")}
    parts = [measure_all(chosen, small_table(), [workers], 2, most=2) for workers in (1, 2)]
    whole = joined(parts)
    assert list(whole["results"]) == ["1", "2"]
    assert all(len(result["regrets"]) == 2 for results in whole["results"].values() for result in results.values())
    assert whole["made"] == "9 by 6 cells of 1,000 steps"
    assert {name for name in words("t.npz", 2, 5) if name in METHODS} >= {goals.SEARCH, *goals.RANDOM}
