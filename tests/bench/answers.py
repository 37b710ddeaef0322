"""What the answer says of searches by freeze and thaw over tables of trained trials, held against the tables.

    python -m tests.bench.answers --tables FOLDER [--jobs N]  (numbers as JSON)

Each sweep is replayed twice in the same way: told of all trials, and of those alone that came to their end. Of each
table the truth is made smooth, and noise is put on it again, as much as the table had (tests.sweeps.answer.thawed).
"""

import argparse
import json
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.search.table import Table
from tests.sweeps.answer.thawed import Outcome, known, replayed

BUDGETS = (4.0, 8.0, 16.0)
SEEDS = range(5, 12)  # the model was chosen with those before


def outcomes_of(file: Path, budget: float, scored: bool) -> list[Outcome | None]:
    """Return the outcome of each seed."""
    table, seen = Table.read(file), list[Outcome | None]()
    for seed in SEEDS:
        truth, noisy, _ = known(table, np.random.default_rng([seed, round(budget)]))
        seen.append(replayed(truth, noisy, budget, seed, scored))
    return seen


def summed(seen: Sequence[Outcome | None]) -> dict[str, Any]:
    """Return the shares that held, and of how many."""
    told = [each for each in seen if each]
    measured, foreseen = ([held for each in told for held in getattr(each, name)] for name in ("measured", "foreseen"))
    asked = sum(each.asked for each in told)
    shares = {name: _mean([getattr(each, name) for each in told]) for name in ("two_se", "interval", "level")}
    return {
        "sweeps": len(seen),
        "valley": len(told) / len(seen),
        **shares,
        "measured": [_mean(measured), len(measured)],
        "foreseen": [_mean(foreseen), len(foreseen)],
        "unknown": sum(each.unknown for each in told) / asked if asked else None,
        "se": float(np.median([each.se for each in told])) if told else None,
    }


def _mean(held: Sequence[bool]) -> float | None:
    return float(np.mean(held)) if held else None


def measure(folder: Path, jobs: int) -> dict[str, Any]:
    """Return the sums of each budget, with scores and without, and those of each table over all budgets."""
    files = sorted(folder.glob("*.npz"))
    work = [(file, budget, scored) for file in files for budget in BUDGETS for scored in (True, False)]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        seen = dict(zip(work, pool.map(_star, work), strict=True))

    def of(**wanted: Any) -> dict[str, Any]:
        names = "file", "budget", "scored"
        chosen = [k for k in work if all(k[names.index(name)] == value for name, value in wanted.items())]
        return summed([each for k in chosen for each in seen[k]])

    budgets = {f"{budget:g}": [of(budget=budget, scored=scored) for scored in (True, False)] for budget in BUDGETS}
    return {"budgets": budgets, "tables": {file.stem: of(file=file, scored=True) for file in files}}


def _star(work: tuple[Path, float, bool]) -> list[Outcome | None]:
    return outcomes_of(*work)


def report(found: dict[str, Any], text: str) -> str:
    """Return the report as Markdown."""
    head = "sweeps | have a valley | the best within 2 se | in its interval | the objective in its band"
    head += " | costs measured, in theirs | costs foreseen, in theirs | costs not known | median se, decades |"
    line = "\n|" + "---|" * 10
    budgets = [_row(name, *both) for name, both in found["budgets"].items()]
    tables = [_row(name, each, None) for name, each in found["tables"].items()]
    return f"""# {date.today()}: how often the answer holds in searches by pieces

{text}

Tables of whole trainings, the truth made smooth and noise put on again, as much as the table had. `search: {{sampler:
thaw}}`, 2 workers, seeds {SEEDS[0]} to {SEEDS[-1]} of each table; the model was chosen with the seeds before. 95 % is
meant. In brackets what complete trials alone said.

| trainings | {head}{line}
{chr(10).join(budgets)}

## By table, all trainings together

| table | {head}{line}
{chr(10).join(tables)}
"""


def _row(name: str, told: dict[str, Any], alone: dict[str, Any] | None) -> str:
    def cell(key: str) -> str:
        return f"{_share(told[key])} ({_share(alone[key])})" if alone else _share(told[key])

    def counted(key: str) -> str:
        share, many = told[key]
        return f"{_share(share)} of {many}"

    def se(each: dict[str, Any]) -> str:
        return "-" if each["se"] is None else f"{each['se']:.2f}".lstrip("0")

    cells = [name, str(told["sweeps"]), *map(cell, ("valley", "two_se", "interval", "level")), counted("measured")]
    cells += [counted("foreseen"), cell("unknown"), f"{se(told)} ({se(alone)})" if alone else se(told)]
    return f"| {' | '.join(cells)} |"


def _share(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def main() -> None:
    """Measure, and print the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    wanted = parser.parse_args()
    print(json.dumps(measure(wanted.tables, wanted.jobs)))


if __name__ == "__main__":
    main()
