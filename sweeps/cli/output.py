"""What commands print of trials and of how a sweep ended."""

import json
import shlex
import sys
from typing import Any

import click

from espalier.sweeps.results.formatting import decimals


def print_trials(trials: Any, spec: Any, top: int, err: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from espalier.sweeps.results.figures import point_text
    from espalier.sweeps.results.trial_result import ranked

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("trial", spec.objective.metric, "state", "configuration", "verdict"):
        table.add_column(name, justify="right" if name in ("trial", spec.objective.metric) else "left", overflow="fold")
    for t in ranked(trials, spec.objective.mode)[:top]:
        spread = f" ± {decimals(t.spread)}" if t.spread is not None else ""
        value = f"{decimals(t.value)}{spread}"
        table.add_row(str(t.number), value, t.state, point_text(t.params, spec), t.verdict)
    Console(stderr=err, width=None if sys.stdout.isatty() else 110).print(table)


def print_summary(summary: Any, place: Any, as_json: bool, home: str | None) -> None:
    """Say how a sweep ended and which commands come next."""

    def say(text: str) -> None:
        click.echo(text, err=as_json)

    at = f" --home {shlex.quote(home)}" if home else ""
    if as_json:
        click.echo(json.dumps(summary.document()))
    else:
        print_trials(summary.trials, summary.spec, 8, err=False)
    for line in summary.closing_lines(at):
        say(line)
    if not summary.recorded:
        say(
            f"MLflow did not take everything; the rest waits in {place.sweep(summary.sweep)}. "
            f"Send it: sweep resume {summary.sweep}{at}"
        )
    if summary.halted:
        sys.exit(2)
    if summary.interrupted:
        sys.exit(130)
    if summary.best is None:
        sys.exit(1)
