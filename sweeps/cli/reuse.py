"""Commands that reuse results: pull a configuration, train it again, fetch trained weights."""

import sys

import click

from espalier.sweeps.cli.completion import offered_sweeps
from espalier.sweeps.cli.errors import ends_on_ctrl_c
from espalier.sweeps.cli.options import home_option, json_at_end_option, json_option, server_option
from espalier.sweeps.cli.output import print_json, print_lines
from espalier.sweeps.cli.remote import chosen_origin
from espalier.sweeps.code.choices import CHOICES, RECORDED

TOP = 10  # trials in the table of several sweeps


@click.command(short_help="Print the best configuration as a file, or a table of the best.")
@click.argument("sweep", required=False, shell_complete=offered_sweeps)
@click.option("--trial", type=int, help="Another trial than the best.")
@click.option("--top", type=click.IntRange(1, 100_000), help="A table of so many trials in place of a file.")
@click.option("--across", metavar="PATTERN", help="The best of all sweeps whose id or name is so, as 'names*'.")
@json_option
@server_option
@home_option
def best(
    sweep: str | None,
    trial: int | None,
    top: int | None,
    across: str | None,
    as_json: bool,
    server: str | None,
    home: str | None,
) -> None:
    """Print the best configuration of SWEEP as a file that `sweep rerun` takes; with --top or --across, a table.

    Sweeps are put together by --across where they have the same objective; the others are named.

    \b
    Example:
      sweep best names > best.yaml
      sweep best --across 'names*' --top 10
    """
    from espalier.sweeps.origins.best_trials import best_across, best_of

    if (sweep is None) == (across is None):
        raise click.UsageError("name one sweep, or several by --across 'names*'")
    if trial is not None and (top or across or as_json):
        raise click.UsageError("--trial: it is of a file; leave --top, --across and --json out")
    origin = chosen_origin(server, home)
    if sweep is not None and not top and not as_json:
        click.echo(origin.read(sweep).best_file(trial), nl=False)
        return
    best_trials = best_of(origin, sweep or "", top or 1) if across is None else best_across(origin, across, top or TOP)
    if as_json:
        print_json(best_trials.document())
    else:
        print_lines(best_trials.lines())
    for note in best_trials.notes():
        click.echo(f"note: {note}", err=True)


@click.command(short_help="Train a best file again, compare every number.")
@click.argument("file")
@click.option("--register", metavar="NAME", help="Keep the trained weights in MLflow, as the champion of model NAME.")
@click.option(
    "--code",
    type=click.Choice(CHOICES),
    default=RECORDED,
    help="The code that it was trained with (default), or that which is here now.",
)
@json_at_end_option
@home_option
@ends_on_ctrl_c
def rerun(file: str, register: str | None, code: str, as_json: bool, home: str | None) -> None:
    """Train the trial of the best file FILE again and compare every number. Exit code 0: the same to the last bit.

    It trains with the code that is recorded in FILE, in the home, or in MLflow. Run only files that you trust.

    With --register its weights become a version of a model in MLflow's registry, if every number is the same.

    \b
    Example:
      sweep rerun best.yaml --register names-model
    """
    from espalier.sweeps.best_file import best_text
    from espalier.sweeps.home import Home
    from espalier.sweeps.repeat.here import rerun_here

    place = Home.at(home, reading=not register)
    outcome = rerun_here(best_text(file), file, register, place, lambda line: click.echo(line, err=True), code)
    if as_json:
        print_json(outcome.document(register))
    else:
        print_lines(outcome.lines(register))
    if not outcome.reproduced:
        sys.exit(1)


@click.command(short_help="Download the trained weights of a model.")
@click.argument("model")
@click.option("--to", metavar="DIR", help="The folder for the files (default: ./NAME).")
@json_option
@home_option
def pull(model: str, to: str | None, as_json: bool, home: str | None) -> None:
    """Download MODEL, which is NAME or NAME@ALIAS (default: @champion): its weights and its best file.

    The weights are a state dict: model.load_state_dict(torch.load("NAME/weights.pt", weights_only=True)).

    \b
    Example:
      sweep pull names-model
    """
    from espalier.sweeps.home import Home
    from espalier.sweeps.repeat.champion import pull as fetch
    from espalier.sweeps.spec.paths import argument

    pulled = fetch(model, argument(to or model.partition("@")[0]), Home.at(home))
    click.echo(pulled.sentence, err=True)
    if as_json:
        print_json(pulled.document())
    else:
        print_lines(map(str, pulled.files))
