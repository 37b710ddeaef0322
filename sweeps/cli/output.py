"""The output of commands: a page or JSON, and the summary of a sweep."""

import json
import re
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from espalier.sweeps.answer.closing import Summary
    from espalier.sweeps.home import Home

SHOWN = 8  # trials in the table at the end of a sweep
COPIED = re.compile(r"\bsweep [a-z]|--set |http")  # commands and addresses are not wrapped, so that they can be copied


def print_json(document: object) -> None:
    """Print a JSON document, with the version of its schema."""
    from espalier.sweeps.documents import versioned

    click.echo(json.dumps(versioned(document), indent=2))


def print_lines(lines: Iterable[str], err: bool = False) -> None:
    """Print a page of text. err: on stderr."""
    for line in lines:
        click.echo(line, err=err)


def print_said(sweep: str, sentences: Iterable[str], as_json: bool, err: bool = False) -> None:
    """Print what was done with a sweep, in sentences. err: on stderr, unless as JSON."""
    if as_json:
        print_json({"sweep": sweep, "said": list(sentences)})
    else:
        print_lines(sentences, err)


def print_summary(summary: "Summary", place: "Home", as_json: bool) -> None:
    """Print how a sweep ended and which commands come next; exit with `exit_code` unless it is 0."""
    from espalier.sweeps.running.here import wrapped

    if as_json:
        from espalier.sweeps.documents import versioned

        click.echo(json.dumps(versioned(summary.document())))
    else:
        from espalier.sweeps.browse.trial_table import trial_table

        print_lines(trial_table(summary.trials, summary.spec, SHOWN, brief=True))
    for line in summary.closing_lines(place):
        click.echo(line if COPIED.search(line) else wrapped(line, sys.stderr if as_json else sys.stdout), err=as_json)
    if not summary.recorded:
        click.echo(f"MLflow did not take everything; the rest waits in {place.sweep(summary.sweep)}", err=as_json)
        click.echo(f"send it: {place.resume_command(summary.sweep)}", err=as_json)
    if code := exit_code(summary):
        sys.exit(code)


def exit_code(summary: "Summary") -> int:
    """Return 2 if the user has to fix something first, 130 after an interrupt, 1 if no trial is complete, else 0."""
    if summary.halted:
        return 2
    if summary.interrupted:
        return 130
    return 1 if summary.best is None else 0
