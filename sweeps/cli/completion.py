"""Completion by the Tab key: ids and names of sweeps, ready sweeps, and files."""

import click
from click.shell_completion import CompletionItem

from espalier.core.errors import BadInput

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_SWEEP_COMPLETE"  # the variable by which the shell's script asks for completions


def offered_sweeps(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Return the names and ids of a home's sweeps that begin with the typed text, the latest first."""
    from espalier.sweeps.home import Home
    from espalier.sweeps.search.store import SweepStore

    home = context.params.get("home")
    if context.params.get("server"):
        return []
    try:
        named = SweepStore.open_for_reading(Home.at(home, reading=True).storage).ids_and_names()
    except (BadInput, OSError):  # no error messages while typing
        return []
    words = [*dict.fromkeys(name for _, name in named[::-1] if name), *(sweep for sweep, _ in named[::-1])]
    return [CompletionItem(word) for word in words if word.startswith(begun)]


def offered_specs(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Return the ready sweeps that begin with the typed text; the shell adds files."""
    from espalier.sweeps.spec.paths import ready_sweeps

    ready = [CompletionItem(name) for name in ready_sweeps() if name.startswith(begun)]
    return [*ready, CompletionItem(begun, type="file")]


def offered_files(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Leave it to the shell to complete the name of a file."""
    return [CompletionItem(begun, type="file")]


def completion_script(command: click.Command, shell: str) -> str:
    """Return the script that a shell has to source for completion."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind, shell
    return kind(command, {}, "sweep", VARIABLE).source()
