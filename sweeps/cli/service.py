"""Commands that submit a sweep to a service, and follow or stop it there."""

import click

from espalier.sweeps.cli.completion import offered_specs, offered_sweeps
from espalier.sweeps.cli.options import (
    home_option,
    json_at_end_option,
    json_option,
    server_option,
    set_option,
)
from espalier.sweeps.cli.output import print_json, print_said
from espalier.sweeps.cli.remote import chosen_origin, follow_remote, needed_remote


@click.command(short_help="Hand a sweep to a service, and follow it.")
@click.argument("spec", shell_complete=offered_specs)
@set_option
@click.option(
    "--code",
    metavar="FOLDER",
    help="Send all of this folder. Without it the task's file goes along, with the files that it imports, and with "
    "what git tracks or does not ignore in its folder.",
)
@click.option("--hours", type=click.FloatRange(min=0, min_open=True), help="How long it may run.")
@click.option("--wait/--no-wait", default=True, help="Follow it until it is over, or only hand it in.")
@json_at_end_option
@server_option
def submit(
    spec: str,
    assignments: tuple[str, ...],
    code: str | None,
    hours: float | None,
    wait: bool,
    as_json: bool,
    server: str | None,
) -> None:
    """Submit the sweep of the file SPEC to a service, and follow it. Ctrl-C detaches; the sweep goes on.

    Exit code 0: finished; 1: failed, or no trial is complete; 130: stopped.

    \b
    Example:
      sweep submit sweeps/library/names.yaml --server http://127.0.0.1:8080
    """
    from espalier.sweeps.client.submission import submit as hand_in

    remote = needed_remote(server)
    submitted = hand_in(remote, spec, assignments, code, hours)
    click.echo(f"{submitted['id']}: {submitted['state']}; {remote.page(submitted['id'])} shows it", err=True)
    follow_remote(remote, submitted["id"], wait, as_json)


@click.command(short_help="Print what a sweep's driver wrote.")
@click.argument("sweep", shell_complete=offered_sweeps)
@click.option("--follow", is_flag=True, help="Go on until the sweep is over.")
@json_option
@server_option
def logs(sweep: str, follow: bool, as_json: bool, server: str | None) -> None:
    """Print the log of SWEEP's driver on a service's cluster.

    \b
    Example:
      sweep logs names --server http://127.0.0.1:8080
    """
    if follow and as_json:
        raise click.UsageError("--follow: it prints lines as they come; leave it or --json out")
    remote = needed_remote(server)
    sweep = remote.find(sweep)
    if as_json:
        print_json({"sweep": sweep, "log": remote.logs(sweep)})
        return
    if not follow:
        click.echo(remote.logs(sweep), nl=False)
        return
    try:
        for kind, text in remote.follow(sweep, "logs"):
            click.echo(text if kind == "log" else "", nl=False)
    except KeyboardInterrupt:
        return


@click.command(short_help="Stop a sweep; resume goes on from there.")
@click.argument("sweep", shell_complete=offered_sweeps)
@click.option("--wait", is_flag=True, help="Wait until it has stopped.")
@json_option
@server_option
@home_option
def stop(sweep: str, wait: bool, as_json: bool, server: str | None, home: str | None) -> None:
    """Stop SWEEP, on a service's cluster or in a process of this machine: it writes checkpoints, from which `sweep
    resume` continues.

    \b
    Example:
      sweep stop names
    """
    print_said(sweep, chosen_origin(server, home).stop(sweep, wait), as_json, err=True)
