"""Commands to begin: write a first spec, or take over a sweep file of W&B."""

import sys

import click

from espalier.sweeps.cli.completion import offered_files
from espalier.sweeps.cli.options import json_option
from espalier.sweeps.cli.output import print_json, print_lines

WAYS = ("function", "command", "task")
EXPLAINED = """What trains?
  function   a loop of your own, as def train(config, report)
  command    a script that takes its hyperparameters as arguments
  task       a model, a loss and data; trials train side by side, the fastest"""


@click.command(short_help="Write a first spec, for your code or a small example.")
@click.option("--function", "way", flag_value="function", help="An example with a function (default).")
@click.option("--command", "way", flag_value="command", help="An example with a script that takes arguments.")
@click.option("--task", "way", flag_value="task", help="An example with a Task class, whose trials share a program.")
@click.option(
    "--from", "code", metavar="CODE", help='Read this code: train.py:train, or a command such as "python train.py".'
)
@click.option("--name", metavar="NAME", help="The sweep's name (default: that of the file or the folder).")
@click.option("--to", "spec", metavar="FILE", default="sweep.yaml", show_default=True, help="The spec to write.")
@click.option("--force", is_flag=True, help="Write over files that are there.")
@json_option
def init(way: str | None, code: str | None, name: str | None, spec: str, force: bool, as_json: bool) -> None:
    """Write a spec to begin with, and where there is no code yet, a small train.py that runs at once.

    With --from it reads your code: a function's signature and what it takes from config, or a command's --help. The
    spec searches what most trainings are sensitive to; all else stands in it as comments, with its default. Without
    flags it asks, if this is a terminal.

    \b
    Examples:
      sweep init
      sweep init --from train.py:train
      sweep init --from "python train.py --data data"
    """
    from espalier.core.errors import BadInput
    from espalier.sweeps.starting.begin import begin_from, begin_new

    if way and code:
        raise BadInput(f"--{way} and --from: keep one of them; --from sees by itself what the code is")
    if not way and not code and _is_terminal():
        way, code, name = _asked(name)
    begun = begin_from(code, name, spec, force) if code else begin_new(way or WAYS[0], name, spec, force=force)
    if as_json:
        print_json(begun.document())
    else:
        print_lines(begun.lines())


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _asked(name: str | None) -> tuple[str | None, str | None, str | None]:
    """Ask what trains, and for a name; return the way, the code, and the name."""
    from espalier.sweeps.starting.begin import folder_name

    code = click.prompt(
        "Code that is there already, as train.py:train or python train.py (none: Enter)",
        default="",
        show_default=False,
        err=True,
    ).strip()
    way = None
    if not code:
        click.echo(EXPLAINED, err=True)
        way = click.prompt("Way", type=click.Choice(WAYS), default=WAYS[0], err=True)
    if name is None and not code:
        name = click.prompt("Name of the sweep", default=folder_name(), err=True)
    return way, code or None, name


@click.command("import", short_help="Turn a sweep file of W&B into a spec.")
@click.argument("file", shell_complete=offered_files)
@json_option
def import_(file: str, as_json: bool) -> None:
    """Print a spec for the W&B sweep file FILE, and what of it has no counterpart, line by line, on stderr.

    \b
    Example:
      sweep import wandb.yaml > sweep.yaml
    """
    from espalier.sweeps.starting.wandb_file import imported

    result = imported(file)
    if as_json:
        print_json(result.document())
        return
    click.echo(result.text, nl=False)
    for line in result.lines():
        click.echo(line, err=True)
