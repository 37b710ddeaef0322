"""The command that explains a sweep."""

import shlex

import click

from espalier.sweeps.cli.completion import offered_sweeps
from espalier.sweeps.cli.options import home_option, json_option, server_option
from espalier.sweeps.cli.output import print_json, print_lines
from espalier.sweeps.cli.remote import chosen_origin


@click.command(short_help="Explain one: why this best, what next.")
@click.argument("sweep", shell_complete=offered_sweeps)
@json_option
@server_option
@home_option
def explain(sweep: str, as_json: bool, server: str | None, home: str | None) -> None:
    """Explain SWEEP: its answer and how sure it is, why this trial is the best, why each was trained, what was
    unhealthy, and what to try next.

    \b
    Example:
      sweep explain names
    """
    from espalier.sweeps.answer.answer import answer_of
    from espalier.sweeps.answer.explanation import Explanation

    stored = chosen_origin(server, home).read(sweep)
    answer = answer_of(stored.spec, stored.trials, stored.references, stored.state)
    options = {"home": home, "server": server}
    option = "".join(f" --{name} {shlex.quote(value)}" for name, value in options.items() if value)
    explanation = Explanation(stored.id, answer, stored.chosen, option)
    if as_json:
        print_json(explanation.document())
    else:
        print_lines(explanation.lines())
