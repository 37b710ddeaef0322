"""Commands that look at sweeps: which there are, what came of one, its page in MLflow."""

import json
import os
import sys

import click

from espalier.core.errors import BadInput
from espalier.sweeps.address import UI_PORT
from espalier.sweeps.cli.completion import offered_sweeps
from espalier.sweeps.cli.options import home_option, json_option, server_option
from espalier.sweeps.cli.output import print_trials
from espalier.sweeps.cli.remote import list_remote, remote_of, show_remote
from espalier.sweeps.results.formatting import decimals


@click.command("list", short_help="List the sweeps of a home or a service.")
@json_option
@click.option("--state", help="Of a service: only those queued, running, stopped, finished or failed.")
@server_option
@home_option
def list_(as_json: bool, state: str | None, server: str | None, home: str | None) -> None:
    """List the sweeps of this home, the oldest first, or those of a service, the newest first.

    \b
    Example:
      sweep list
    """
    if remote := remote_of(server, home):
        list_remote(remote, as_json, state)
        return
    from espalier.sweeps.browse.details import list_sweeps
    from espalier.sweeps.home import Home

    rows = list_sweeps(Home.at(home, reading=True))
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif not rows:
        click.echo("no sweep here yet; start one: sweep run names")
    for row in rows if not as_json else []:
        if row["state"] in ("unreadable", "lost"):
            click.echo(f"{row['sweep']:<32} {row['state']:<12} why: sweep show {row['sweep']}")
            continue
        best = "-" if row["best"] is None else f"{row['metric']} {decimals(row['best'])} (trial {row['best_trial']})"
        click.echo(f"{row['sweep']:<32} {row['state']:<12} {row['ended']:>4} of {row['wanted']:<5} best {best}")


@click.command(short_help="Show one: its state, its best trials.")
@click.argument("sweep", shell_complete=offered_sweeps)
@json_option
@click.option("--top", default=10, show_default=True, help="How many trials to list.")
@server_option
@home_option
def show(sweep: str, as_json: bool, top: int, server: str | None, home: str | None) -> None:
    """Show SWEEP: its state, its best trials, where its data lie.

    \b
    Example:
      sweep show names
    """
    if remote := remote_of(server, home):
        show_remote(remote, sweep, as_json, top)
        return
    from espalier.sweeps.browse.details import details
    from espalier.sweeps.home import Home

    found = details(Home.at(home, reading=True), sweep)
    if as_json:
        click.echo(json.dumps(found.document(), indent=2))
        return
    for line in found.lines():
        click.echo(line)
    print_trials(found.trials, found.spec, top, err=False)
    for line in found.evidence(top):
        click.echo(line)


@click.command(short_help="Open MLflow's page.")
@click.option("--port", type=click.IntRange(1, 65535), default=UI_PORT, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True)
@home_option
def ui(port: int, host: str, home: str | None) -> None:
    """Open MLflow's page on the data of this home: that of its latest sweep.

    \b
    Example:
      sweep ui --port 5000
    """
    from espalier.sweeps.address import open_port
    from espalier.sweeps.browse.details import latest_page
    from espalier.sweeps.home import Home
    from espalier.sweeps.recording.reachable import check_reachable
    from espalier.sweeps.recording.tracking_uri import STORE_FILE, default_uri

    place = Home.at(home, reading=True)
    if not (place.path / STORE_FILE).is_file():  # MLflow makes one
        place = Home.at(home)
    check_reachable(default_uri(place.path), reading=True)
    try:
        open_port(host, port).close()
    except OSError as error:
        raise BadInput(f"--port {port}: {host}:{port} cannot be had ({error.strerror}); give another --port") from error
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--backend-store-uri",
        default_uri(place.path),
        "--workers",
        "1",
        "--default-artifact-root",
        (place.path / "mlartifacts").as_uri(),
        "--host",
        host,
        "--port",
        str(port),
    ]
    click.echo(f"MLflow on {latest_page(place, f'http://{host}:{port}')} (Ctrl-C ends it)", err=True)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    sys.stderr.flush()
    os.execv(sys.executable, command)


@click.command(short_help="Remove one, with its checkpoints.")
@click.argument("sweep", shell_complete=offered_sweeps)
@click.option("--records", is_flag=True, help="Also delete its runs in MLflow.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@home_option
def delete(sweep: str, records: bool, yes: bool, home: str | None) -> None:
    """Remove SWEEP (an id, or a name: its latest sweep) from this home, with its checkpoints.

    Its runs stay in MLflow, unless --records is given. A sweep that a process drives is refused: stop that first.

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
    for line in delete_sweep(where, chosen, records).lines():
        click.echo(line)
