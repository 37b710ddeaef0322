"""The command that serves agents."""

from pathlib import Path

import click

from espalier.sweeps.cli.options import home_option, server_option
from espalier.sweeps.cli.remote import remote_of


@click.command(short_help="Serve these commands to an agent (MCP).")
@server_option
@home_option
def mcp(server: str | None, home: str | None) -> None:
    """Serve the commands of `sweep` as tools of the Model Context Protocol, on standard input and output.

    An agent can then submit sweeps, watch, explain, compare and extend them: those of a home, or with --server those of
    a service, by the token of SWEEP_TOKEN and within its quotas.

    \b
    Example:
      sweep mcp --home data
    """
    from espalier.sweeps.agents.commands import Commands
    from espalier.sweeps.agents.server import serve
    from espalier.sweeps.home import Home

    remote = remote_of(server, home)
    place = Home.at(home, reading=remote is not None)
    serve(Commands(place.path, remote.server if remote else "", Path.cwd()))
