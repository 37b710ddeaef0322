"""Trials as a table of text."""

import sys
from collections.abc import Sequence

from espalier.sweeps.results.formatting import decimals, params_text
from espalier.sweeps.results.trial_result import TrialResult, ranked
from espalier.sweeps.spec.spec import SweepSpec

WIDTH = 110  # characters of a line, where stdout is no terminal
CONFIGURATION = "configuration"


def trial_table(trials: Sequence[TrialResult], spec: SweepSpec, top: int, brief: bool = False) -> list[str]:
    """Return the `top` best trials, best first, as the lines of a table as wide as the terminal.

    brief: on a terminal each trial takes one line, and a configuration that is too long ends with "…",
    unless two of them would look alike.
    """
    from rich.console import Console
    from rich.table import Table

    header = ("trial", spec.objective.metric, "state", CONFIGURATION, "verdict")
    rows = [_row(trial, spec) for trial in ranked(trials, spec.objective.mode)[:top]]
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    room = _room([header, *rows], console.width) if brief and sys.stdout.isatty() else None
    configurations = {row[header.index(CONFIGURATION)] for row in rows}
    if room and len({text[: room - 1] for text in configurations}) < len(configurations):
        room = None  # cut, they could not be told apart
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in header:
        cut = room if name == CONFIGURATION else None
        overflow, justify = "ellipsis" if cut else "fold", "right" if name in header[:2] else "left"
        table.add_column(name, justify=justify, overflow=overflow, no_wrap=cut is not None, max_width=cut)
    for row in rows:
        table.add_row(*row)
    with console.capture() as capture:
        console.print(table)
    return capture.get().splitlines()


def _row(trial: TrialResult, spec: SweepSpec) -> tuple[str, ...]:
    spread = f" ± {decimals(trial.spread)}" if trial.spread is not None else ""
    params = params_text(trial.params, spec.space.searched())
    state = trial.state if trial.confirms is None else f"{trial.state}, confirms {trial.confirms}"
    return str(trial.number), decimals(trial.value) + spread, state, params, trial.verdict


def _room(rows: Sequence[tuple[str, ...]], width: int) -> int:
    """Return the width left for the configurations, with two spaces between columns."""
    others = [max(map(len, column)) for column in zip(*rows, strict=True) if column[0] != CONFIGURATION]
    return max(len(CONFIGURATION), width - sum(others) - 2 * len(others))
