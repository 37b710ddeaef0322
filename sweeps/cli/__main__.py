"""`python -m espalier.sweeps.cli`: the command `sweep`, without the commands for administrators of a service."""

from espalier.sweeps.cli.process import command

command()
