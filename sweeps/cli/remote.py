"""Choose between a home and a service, and follow a service's sweep to its end."""

import json
import sys
from typing import TYPE_CHECKING

import click

from espalier.core.errors import BadInput

if TYPE_CHECKING:
    from espalier.sweeps.client.service import Remote
    from espalier.sweeps.origins.origin import Origin


def remote_of(server: str | None, home: str | None) -> "Remote | None":
    """Return the service of the options or the configuration; None for a home on this machine."""
    from espalier.sweeps.client.service import Remote, server_of

    if server and home:
        raise BadInput("--home and --server: keep one of them")
    address = None if home else server_of(server)
    return Remote(address) if address else None


def chosen_origin(server: str | None, home: str | None, reading: bool = True) -> "Origin":
    """Return the chosen service or home. Raises BadInput if both are given. reading: see Home.at."""
    if remote := remote_of(server, home):
        from espalier.sweeps.origins.service_origin import ServiceOrigin

        return ServiceOrigin(remote)
    from espalier.sweeps.origins.choice import origin_of

    return origin_of(None, home, reading)


def needed_remote(server: str | None) -> "Remote":
    """Return the chosen service. Raises BadInput if there is none."""
    remote = remote_of(server, None)
    if remote is None:
        raise BadInput("--server: missing; give the service's address, or set SWEEP_SERVER")
    return remote


def follow_remote(remote: "Remote", sweep: str, wait: bool, as_json: bool) -> None:
    """Print the events of a service's sweep until it ends, and its answer; then exit with a code for its result.

    Ctrl-C leaves it running. wait: False only prints its state.
    """
    from espalier.sweeps.cli.output import print_lines
    from espalier.sweeps.client.lines import exit_code, follow
    from espalier.sweeps.documents import versioned

    try:
        answer = follow(remote, sweep, lambda line: click.echo(line, err=True)) if wait else remote.sweep(sweep)
    except KeyboardInterrupt:
        click.echo(f"\ndetached; {sweep} goes on: sweep show {sweep} --server {remote.server}", err=True)
        return
    from espalier.sweeps.origins.service_origin import ServiceSweep  # which imports numpy: not before it is followed

    ended = ServiceSweep(remote, answer)
    if as_json:
        click.echo(json.dumps(versioned(ended.submitted(over=wait))))
    elif wait:
        print_lines(ended.closing_lines(), err=True)
    if wait:
        sys.exit(exit_code(answer))
