"""How many go on at a rung: `reduction` 2, 3 and 4 on truth tables, and where most configurations fail.

usage: python -m tests.bench.search.reductions [TABLE.npz ...] [--repetitions N]  (prints one JSON document)
"""

import argparse
import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tests.bench.search.clock import regret
from tests.bench.search.failing import failing_table
from tests.bench.search.product import Product
from tests.bench.search.table import Table

REDUCTIONS, BUDGETS, SIMULATED = (2, 3, 4), (4, 8, 10, 16), 20
SWEEPS = {
    "random, one branch": ("random", 1),
    "random, four branches": ("random", 4),
    "tpe, one branch": ("tpe", 1),
    "tpe, four branches": ("tpe", 4),
}


def measure(tables: Iterable[Table], repetitions: int, workers: int = 1) -> dict[str, dict[int, list[list[float]]]]:
    """Return by sweep and reduction [mean, median, 90th percentile] of regret at each of BUDGETS."""
    tables, found = list(tables), dict[str, dict[int, list[list[float]]]]()
    for name, (sampler, branches) in SWEEPS.items():
        for reduction in REDUCTIONS:
            method = Product(sampler, branches, {"reduction": reduction})
            regrets_SB = np.array(
                [
                    [regret(finishes, budget, table.best) for budget in BUDGETS]
                    for table in tables
                    for seed in range(repetitions)
                    if (finishes := method.replay(table, BUDGETS[-1], workers, seed)) is not None
                ]
            )
            levels = [np.mean(regrets_SB, 0), *np.quantile(regrets_SB, (0.5, 0.9), axis=0)]
            found.setdefault(name, {})[reduction] = np.stack(levels, 1).tolist()
    return found


def measure_all(files: Sequence[str], repetitions: int) -> dict[str, Any]:
    """Measure on each table, and on all simulated ones together; with one worker, and with eight."""
    simulated = [failing_table(seed) for seed in range(SIMULATED)]
    share = float(np.mean([table.final_ED > 0.9 for table in simulated]))
    found = {
        f"{name}, {workers} worker{'s' if workers > 1 else ''}": measure(tables, count, workers)
        for name, tables, count in [
            *((table.name, [table], repetitions) for table in map(Table.read, files)),
            ("most fail", simulated, max(1, repetitions // 10)),
        ]
        for workers in (1, 8)
    }
    return {"failing": share, "repetitions": repetitions, "regrets": found}


def section(measured: Mapping[str, Any]) -> str:
    """Return it as a section of the report."""
    reductions = [str(reduction) for reduction in REDUCTIONS]
    text = f"""## How many go on at a rung

`stopping.reduction`: mean / median / 90th percentile of regret over {measured["repetitions"]} repetitions. *most fail*:
{SIMULATED} simulated tables together, losses as shares of the first, of whose cells {measured["failing"]:.0%} end above
.9 (`tests/bench/search/failing.py`).

| table | sweep | compute | {" | ".join(reductions)} |
|---|---|---|{"---|" * len(reductions)}
"""
    for table, sweeps in measured["regrets"].items():
        for sweep, by_reduction in sweeps.items():
            for k, budget in enumerate(BUDGETS):
                cells = (" / ".join(f"{v:.4f}" for v in by_reduction[reduction][k]) for reduction in reductions)
                text += f"| {table} | {sweep} | {budget}x | {' | '.join(cells)} |\n"
    return text


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*")
    parser.add_argument("--repetitions", type=int, default=50)
    wanted = parser.parse_args()
    warnings.simplefilter("ignore")
    print(json.dumps(measure_all(wanted.tables, wanted.repetitions)))


if __name__ == "__main__":
    main()
