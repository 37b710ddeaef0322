"""Trials as a table for a person."""

import sys
from collections.abc import Sequence

from espalier.sweeps.results.formatting import decimals, params_text
from espalier.sweeps.results.trial_result import TrialResult, ranked
from espalier.sweeps.spec.spec import SweepSpec

WIDTH = 110  # characters of a line, where stdout is no terminal


def trial_table(trials: Sequence[TrialResult], spec: SweepSpec, top: int, brief: bool = False) -> list[str]:
    """Return so many trials, the best first, as the lines of a table that is as wide as the terminal.

    brief: on a terminal each trial takes one line, and a configuration that is too long for it ends with "…".
    """
    from rich.console import Console
    from rich.table import Table

    cut, metric = brief and sys.stdout.isatty(), spec.objective.metric
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("trial", metric, "state", "configuration", "verdict"):
        short = cut and name == "configuration"
        table.add_column(
            name,
            justify="right" if name in ("trial", metric) else "left",
            overflow="ellipsis" if short else "fold",
            no_wrap=short,
        )
    searched = spec.space.searched()
    for t in ranked(trials, spec.objective.mode)[:top]:
        spread = f" ± {decimals(t.spread)}" if t.spread is not None else ""
        table.add_row(str(t.number), decimals(t.value) + spread, t.state, params_text(t.params, searched), t.verdict)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    with console.capture() as capture:
        console.print(table)
    return capture.get().splitlines()
