"""Every command of `sweep`, those of administrators too."""

from collections.abc import Iterator

import click

from espalier.services.cli import main


def _commands_of(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _commands_of(command, f"{name} ")
        else:
            yield before + name, command


COMMANDS = dict(_commands_of(main))
"""By their words, as `token list`."""
