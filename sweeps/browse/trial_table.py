"""Trials as a table of text."""

import sys
from collections.abc import Sequence
from typing import cast

from espalier.sweeps.results.formatting import decimals, params_text
from espalier.sweeps.results.trial_result import TrialResult, ranked
from espalier.sweeps.spec.spec import SweepSpec

WIDTH = 110  # characters of a line, where stdout is no terminal
CONFIGURATION = "configuration"


def trial_table(trials: Sequence[TrialResult], spec: SweepSpec, top: int, brief: bool = False) -> list[str]:
    """Return the `top` best trials, best first, as the lines of a table as wide as the terminal.

    A configuration begins with what differs most between them, so that this is there even if its end is cut off.
    brief: on a terminal each trial takes one line, and a configuration that is too long ends with "…",
    unless two of them would look alike.
    """
    from rich.console import Console
    from rich.table import Table

    header = ("trial", spec.objective.metric, "state", CONFIGURATION, "verdict")
    best = ranked(trials, spec.objective.mode)[:top]
    names = most_different(best, trials, list(spec.space.searched()))
    rows = [_row(trial, spec, names) for trial in best]
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


def most_different(best: Sequence[TrialResult], trials: Sequence[TrialResult], names: Sequence[str]) -> list[str]:
    """Return the names of hyperparameters, first those of which the best trials have most of what all trials have.

    Those that are the same in all the best trials are last. Among equals the order stays.

    >>> trials = [TrialResult(k, "complete", k, {"lr": k, "hidden": 50, "depth": k % 2}) for k in range(9)]
    >>> most_different(trials[:2], trials, ["hidden", "lr", "depth"])
    ['depth', 'lr', 'hidden']
    """

    def share(name: str) -> float:
        few, all_of_them = ([t.params[name] for t in some if name in t.params] for some in (best, trials))
        return _spread(few) / (_spread(all_of_them) or 1.0)

    return sorted(names, key=share, reverse=True)


def _spread(values: Sequence[object]) -> float:
    """Return how far numbers lie apart, of lists the first that differs; of anything else how many others there are."""
    if all(isinstance(value, list | tuple) for value in values):
        columns = zip(*cast("Sequence[Sequence[object]]", values), strict=False)
        return next((spread for column in columns if (spread := _spread(column))), 0.0)
    numbers = [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) == len(values):
        return max(numbers) - min(numbers) if numbers else 0.0
    return len({str(value) for value in values}) - 1.0


def _row(trial: TrialResult, spec: SweepSpec, names: Sequence[str]) -> tuple[str, ...]:
    spread = f" ± {decimals(trial.spread)}" if trial.spread is not None else ""
    params = params_text({name: trial.params[name] for name in names if name in trial.params}, names)
    state = trial.state if trial.confirms is None else f"{trial.state}, confirms {trial.confirms}"
    return str(trial.number), decimals(trial.value) + spread, state, params, trial.verdict


def _room(rows: Sequence[tuple[str, ...]], width: int) -> int:
    """Return the width left for the configurations, with two spaces between columns."""
    others = [max(map(len, column)) for column in zip(*rows, strict=True) if column[0] != CONFIGURATION]
    return max(len(CONFIGURATION), width - sum(others) - 2 * len(others))
