"""Commands to look at sweeps: list, show, ui; and to delete one."""

import os
import sys

import click

from espalier.sweeps.address import UI_PORT
from espalier.sweeps.cli.completion import offered_sweeps
from espalier.sweeps.cli.options import home_option, json_option, server_option
from espalier.sweeps.cli.output import print_json, print_lines, print_said
from espalier.sweeps.cli.remote import chosen_origin


@click.command("list", short_help="List the sweeps of a home or a service.")
@json_option
@click.option("--state", help="Only those in this state, such as running or finished.")
@server_option
@home_option
def list_(as_json: bool, state: str | None, server: str | None, home: str | None) -> None:
    """List the sweeps of this home, the oldest first, or those of a service, the newest first.

    \b
    Example:
      sweep list
    """
    listing = chosen_origin(server, home).listing(state)
    if as_json:
        print_json(listing.rows)
    else:
        print_lines(listing.lines)


@click.command(short_help="Show one: its state, its best trials.")
@click.argument("sweep", shell_complete=offered_sweeps)
@json_option
@click.option("--top", type=click.IntRange(1), default=10, show_default=True, help="How many trials to list.")
@server_option
@home_option
def show(sweep: str, as_json: bool, top: int, server: str | None, home: str | None) -> None:
    """Show SWEEP: its state, its best trials, where its data are.

    \b
    Example:
      sweep show names
    """
    snapshot = chosen_origin(server, home).read(sweep)
    if as_json:
        print_json(snapshot.document())
    else:
        print_lines(snapshot.lines(top))


@click.command(short_help="Compare two: did the second do better?")
@click.argument("first", shell_complete=offered_sweeps)
@click.argument("second", shell_complete=offered_sweeps)
@json_option
@click.option("--figure", metavar="FILE", help="Also draw the best so far of both against their cost, into a PNG file.")
@server_option
@home_option
def compare(first: str, second: str, as_json: bool, figure: str | None, server: str | None, home: str | None) -> None:
    """Compare the sweeps FIRST and SECOND: did the second do better, by how much, is it noise, and at which cost?

    Then their best configurations side by side, and what was different: fields of the spec, code, data. Sweeps of
    different objectives, or of different data, are not compared.

    \b
    Example:
      sweep compare names-20261130-ab12 names-20261130-cd34
    """
    from espalier.sweeps.origins.comparing import compared

    origin = chosen_origin(server, home)
    comparison = compared(origin.read(first), origin.read(second))
    if figure:
        from espalier.sweeps.origins.comparing import draw
        from espalier.sweeps.spec.paths import argument

        draw(comparison, argument(figure))
    if as_json:
        print_json(comparison.document())
    else:
        print_lines(comparison.lines())


@click.command(short_help="Open MLflow's page.")
@click.option("--port", type=click.IntRange(1, 65535), default=UI_PORT, show_default=True, help="Its port.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address it listens on. It asks for no login: beyond 127.0.0.1 others can change the records.",
)
@home_option
def ui(port: int, host: str, home: str | None) -> None:
    """Open MLflow on the data of this home, at the page of its latest sweep.

    \b
    Example:
      sweep ui --port 5000
    """
    from espalier.sweeps.browse.ui import check_port, home_of_records, latest_page, server_command

    place = home_of_records(home)
    check_port(host, port)
    click.echo(f"MLflow on {latest_page(place, f'http://{host}:{port}')} (Ctrl-C ends it)", err=True)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    sys.stderr.flush()
    os.execv(sys.executable, server_command(place, host, port))


@click.command(short_help="Remove one, with its checkpoints.")
@click.argument("sweep", shell_complete=offered_sweeps)
@click.option("--records", is_flag=True, help="Also delete its runs in MLflow.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@home_option
def delete(sweep: str, records: bool, yes: bool, as_json: bool, home: str | None) -> None:
    """Remove SWEEP (an id, or a name: its latest sweep) from this home, with its checkpoints.

    Its runs stay in MLflow, unless --records is given. A running sweep is refused: stop it first.

    \b
    Example:
      sweep delete names --yes
    """
    from espalier.sweeps.deletion import delete_sweep, find_deletable
    from espalier.sweeps.home import Home

    where = Home.at(home)
    chosen = find_deletable(where, sweep)
    if not yes:
        what = "its trials, its folder and its runs in MLflow" if records else "its trials and its folder"
        click.confirm(f"delete {chosen}: {what}?", abort=True, err=True)
    print_said(chosen, delete_sweep(where, chosen, records).lines(), as_json)
