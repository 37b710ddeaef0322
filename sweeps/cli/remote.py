"""Which sweeps a command means, those of a home or of a service; and a sweep of a service followed to its end."""

import json
import sys
from typing import TYPE_CHECKING

import click

from espalier.core.errors import BadInput

if TYPE_CHECKING:
    from espalier.sweeps.client.service import Remote
    from espalier.sweeps.origins.origin import Origin


def remote_of(server: str | None, home: str | None) -> "Remote | None":
    """Return the service that is meant; None where this machine's own home is."""
    from espalier.sweeps.client.service import Remote, server_of

    if server and home:
        raise BadInput("--home and --server: keep one of them")
    address = None if home else server_of(server)
    return Remote(address) if address else None


def chosen_origin(server: str | None, home: str | None, reading: bool = True) -> "Origin":
    """Return the service that is meant, or this machine's home. Raises BadInput. reading: as of Home.at."""
    if remote := remote_of(server, home):
        from espalier.sweeps.origins.service_origin import ServiceOrigin

        return ServiceOrigin(remote)
    from espalier.sweeps.origins.choice import origin_of

    return origin_of(None, home, reading)


def needed_remote(server: str | None) -> "Remote":
    """Return the service that is meant. Raises BadInput where none is."""
    remote = remote_of(server, None)
    if remote is None:
        raise BadInput("--server: missing; give the service's address, or set SWEEP_SERVER")
    return remote


def follow_remote(remote: "Remote", sweep: str, wait: bool, as_json: bool) -> None:
    """Print what happens to a sweep of a service until it is over, and exit with a code that says how it ended.

    Ctrl-C leaves it running. wait: False only prints how it stands.
    """
    from espalier.sweeps.client.lines import exit_code, follow

    try:
        answer = follow(remote, sweep, lambda line: click.echo(line, err=True)) if wait else remote.sweep(sweep)
    except KeyboardInterrupt:
        click.echo(f"\ndetached; {sweep} goes on: sweep show {sweep} --server {remote.server}", err=True)
        return
    if as_json:
        click.echo(json.dumps(answer))
    elif wait and answer["best"]:
        click.echo(f"pull it: sweep best {sweep} --server {remote.server} > best.yaml", err=True)
    if wait:
        sys.exit(exit_code(answer))
