"""A group of commands whose help lists them under headings."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from espalier.sweeps.cli.errors import handle_errors

WITHOUT = "Commands"  # the heading of commands without a section


class SectionedGroup(click.Group):
    """A click group that lists its commands under headings, in the order added, and prints errors as one line."""

    def __init__(self, *arguments: Any, **more: Any):
        super().__init__(*arguments, **more)
        self.sections: dict[str, list[str]] = {}

    def add_section(self, heading: str, commands: Sequence[click.Command]) -> None:
        """Add commands under a new or an existing heading."""
        names = self.sections.setdefault(heading, [])
        for command in commands:
            self.add_command(command)
            names.append(command.name or "")

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the headings with their commands, with all summaries in one column."""
        known = {name for names in self.sections.values() for name in names}
        rest = [name for name in self.list_commands(ctx) if name not in known]
        sections: Mapping[str, Sequence[str]] = self.sections | ({WITHOUT: rest} if rest else {})
        width = max((len(name) for names in sections.values() for name in names), default=0)
        for heading, names in sections.items():
            commands = {name: self.get_command(ctx, name) for name in names}
            rows = [
                (name.ljust(width), command.get_short_help_str(formatter.width - width - 6))
                for name, command in commands.items()
                if command and not command.hidden
            ]
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        """Call the chosen command; bad input becomes one line and an exit code."""
        with handle_errors():
            return super().invoke(ctx)
