"""The report of the benchmark, as Markdown."""

import math
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from tests.bench.search import asking, goals, reductions
from tests.bench.search.measuring import BUDGETS, DEAR_MOST, GOAL
from tests.bench.search.peers import DEAR, DEARER


def report(
    measured: Sequence[Mapping[str, Any]], halved: Mapping[str, Any], asked: Mapping[str, Any], surroundings: str
) -> str:
    """Return the report.

    measured: of each table, as `measure_all` returns it. halved: what `reductions` measured. asked: what `asking`
    measured. surroundings: the machine and the command.
    """
    sections = "\n".join(_section(each) for each in measured)
    return f"""# {date.today()}: what a search finds for its compute

{surroundings}

Each search is replayed over tables of whole trainings (exponent by decay point), which the engine trained; between
cells they are bilinear. Compute counts in full trainings, trunks that trials share once. Work counts in the order in
which it was begun, up to the budget. Regret is the final validation loss of the best finished trial less the table's
best; median / 90th percentile over the repetitions. A dash: no trial has finished, or not measured: searches by a
Gaussian process, whose proposals take long, have up to {DEAR_MOST // DEAR}x, with a pruner {DEAR_MOST // DEARER}x, and
fewer repetitions. The last columns: the compute from which on the median and the 90th percentile stay at {GOAL:g} or
below. Below a table's name are the words of `python -m tests.bench.tables` that make it, where it says.

Espalier's rows are its own code: search, planning, asking and halving, one lane a core. `Optuna` is its public
interface: trials that share nothing, pruners that see the validation loss ten times a trial, TPE with its constant liar
where there are several workers.

{sections}
{reductions.section(halved)}
{asking.section(asked)}
{goals.section(measured)}
## What this does not show

Wall time; verdicts, which stop hopeless trials before their rank does; more than two dimensions; the noise of another
seed, since a table has one.
"""


def _section(measured: Mapping[str, Any]) -> str:
    budgets = " | ".join(f"{budget:g}x" for budget in BUDGETS)
    head = f"| search | repetitions | {budgets} | median to {GOAL:g} | 90th to {GOAL:g} |\n"
    head += f"|---|{'---|' * (len(BUDGETS) + 3)}\n"
    text = f"### {measured['table']}\n\n{measured['made']}.\n\n"
    for workers, results in measured["results"].items():
        rows = "".join(_row(name, result) for name, result in results.items())
        text += f"#### {measured['table']}, {workers} worker{'s' if int(workers) > 1 else ''}\n\n{head}{rows}\n"
    return text


def _row(name: str, result: Mapping[str, Any]) -> str:
    cells = [f"{_number(m)} / {_number(p)}" for m, p in zip(result["median"], result["p90"], strict=True)]
    goals = [_compute(result[f"{level}_to_goal"]) for level in ("median", "p90")]
    return f"| {name} | {' | '.join([str(result['repetitions']), *cells, *goals])} |\n"


def _number(value: float) -> str:
    return f"{value:.4f}".lstrip("0") if math.isfinite(value) else "-"


def _compute(value: float) -> str:
    return f"{value:g}" if math.isfinite(value) else "-"
