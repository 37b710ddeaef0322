"""What the answer says of searches over tables of trained trials, by freeze and thaw and by halving, held against them.

    python -m tests.bench.answers --tables FOLDER [--jobs N]  (numbers as JSON)

Each sweep is replayed twice in the same way: told of all trials, and of those alone that came to their end. Of each
table the truth is made smooth, and noise is put on it again, as much as the table had (tests.sweeps.answer.thawed).
"""

import argparse
import json
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.search.table import Table
from tests.sweeps.answer.thawed import Outcome, Sweep, halved, known, replayed

SEARCHES = {
    "4 trainings, thaw": (False, 4),
    "8 trainings, thaw": (False, 8),
    "16 trainings, thaw": (False, 16),
    "12 trials, halving": (True, 12),
    "30 trials, halving": (True, 30),
    "60 trials, halving": (True, 60),
}
"""Whether trials are stopped early, and the size."""
SEEDS = range(5, 12)  # the model was chosen with those before


def outcomes_of(file: Path, search: str, scored: bool) -> list[Outcome | None]:
    """Return the outcome of each seed. scored: whether the answer knows the scores of trials on their way."""
    table, seen, (stopped, size) = Table.read(file), list[Outcome | None](), SEARCHES[search]
    for seed in SEEDS:
        truth, noisy, _ = known(table, np.random.default_rng([seed, size]))
        trials = halved(noisy, size, seed) if stopped else Sweep(noisy, float(size), seed).run()
        seen.append(replayed(truth, noisy, trials if scored else [replace(t, scores={}) for t in trials]))
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
    """Return the sums of each search, with scores and without, and those of each table over all searches."""
    files = sorted(folder.glob("*.npz"))
    work = [(file, search, scored) for file in files for search in SEARCHES for scored in (True, False)]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        seen = dict(zip(work, pool.map(_outcomes_of, work), strict=True))

    def of(**wanted: Any) -> dict[str, Any]:
        names = "file", "search", "scored"
        chosen = [k for k in work if all(k[names.index(name)] == value for name, value in wanted.items())]
        return summed([each for k in chosen for each in seen[k]])

    searches = {search: [of(search=search, scored=scored) for scored in (True, False)] for search in SEARCHES}
    return {"searches": searches, "tables": {file.stem: of(file=file, scored=True) for file in files}}


def _outcomes_of(work: tuple[Path, str, bool]) -> list[Outcome | None]:
    return outcomes_of(*work)


def report(found: dict[str, Any], text: str) -> str:
    """Return the report as Markdown."""
    head = "sweeps | have a valley | the best within 2 se | in its interval | the objective in its band"
    head += " | costs measured, in theirs | costs foreseen, in theirs | costs not known | median se, decades |"
    line = "\n|" + "---|" * 10
    searches = [_row(name, *both) for name, both in found["searches"].items()]
    tables = [_row(name, each, None) for name, each in found["tables"].items()]
    return f"""# {date.today()}: how often the answer holds where trials are parked or stopped

{text}

Tables of whole trainings, the truth made smooth and noise put on again, as much as the table had. thaw: `search:
{{sampler: thaw}}`, 2 workers. halving: a random search, `stopping: {{}}`. Seeds {SEEDS[0]} to {SEEDS[-1]} of each
table; the model was chosen with the seeds before. 95 % is meant. In brackets what complete trials alone said.

| search | {head}{line}
{chr(10).join(searches)}

## By table, all searches together

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
