"""How commands speak with a sweep service, and print what it answers."""

import json
import sys
from typing import TYPE_CHECKING

import click

from espalier.core.errors import BadInput

if TYPE_CHECKING:
    from espalier.sweeps.client.service import Remote
    from espalier.sweeps.origins import Origin


def remote_of(server: str | None, home: str | None) -> "Remote | None":
    """Return the service that is meant; None where this machine's own home is."""
    from espalier.sweeps.client.service import Remote, server_of

    if server and home:
        raise BadInput("--home and --server: keep one of them")
    address = None if home else server_of(server)
    return Remote(address) if address else None


def chosen_origin(server: str | None, home: str | None) -> "Origin":
    """Return the service that is meant, or this machine's home, for reading."""
    from espalier.sweeps.home import Home
    from espalier.sweeps.origins import HomeOrigin, ServiceOrigin

    remote = remote_of(server, home)
    return ServiceOrigin(remote) if remote else HomeOrigin(Home.at(home, reading=True))


def needed_remote(server: str | None) -> "Remote":
    remote = remote_of(server, None)
    if remote is None:
        raise BadInput("--server: missing; give the service's address, or set SWEEP_SERVER")
    return remote


def follow_remote(remote: "Remote", sweep: str, wait: bool, as_json: bool) -> None:
    from espalier.sweeps.client.desk import exit_code, follow

    try:
        view = follow(remote, sweep, lambda line: click.echo(line, err=True)) if wait else remote.sweep(sweep)
    except KeyboardInterrupt:
        click.echo(f"\ndetached; {sweep} goes on: sweep show {sweep} --server {remote.server}", err=True)
        return
    if as_json:
        click.echo(json.dumps(view))
    elif wait and view["best"]:
        click.echo(f"pull it: sweep best {sweep} --server {remote.server} > best.yaml", err=True)
    if wait:
        sys.exit(exit_code(view))


def list_remote(remote: "Remote", as_json: bool, state: str | None) -> None:
    from espalier.sweeps.client.desk import table

    views = list(remote.sweeps(state))
    if as_json:
        click.echo(json.dumps(views, indent=2))
        return
    for line in table(views):
        click.echo(line)
    if not views and state:
        click.echo(f"no sweep is {state} there")
    elif not views:
        click.echo(f"no sweep there yet; hand one in: sweep submit SPEC --server {remote.server}")


def show_remote(remote: "Remote", wanted: str, as_json: bool, top: int) -> None:
    from espalier.sweeps.client.desk import show_lines

    view = remote.sweep(remote.find(wanted))
    trials = remote.trials(view["id"])
    if as_json:
        click.echo(json.dumps(view | {"trials": trials}, indent=2))
        return
    for line in show_lines(view, trials, top):
        click.echo(line)
