"""`python -m espalier.sweeps.cli`: the command `sweep`, without those of whoever runs the service."""

from espalier.sweeps.cli.process import command

command()
