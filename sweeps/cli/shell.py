"""Commands for editors and shells: the spec's JSON Schema, Tab completion."""

import json

import click

from espalier.sweeps.cli.completion import SHELLS, completion_script


@click.command(short_help="Print the JSON Schema of a spec, or of what a command prints.")
@click.argument("words", nargs=-1, metavar="[COMMAND]")
def schema(words: tuple[str, ...]) -> None:
    """Print the JSON Schema of a spec, for editors; with COMMAND, of what that command prints with --json.

    \b
    Examples:
      sweep schema > spec.schema.json
      sweep schema show
      sweep schema token list
    """
    if command := " ".join(words):
        from espalier.core.errors import BadInput, nearest
        from espalier.sweeps.documents import DOCUMENTS, document_schema

        if command not in DOCUMENTS:
            raise BadInput(f"schema: '{command}' is no command that prints JSON; {nearest(command, DOCUMENTS)}")
        click.echo(json.dumps(document_schema(command), indent=2))
        return
    from espalier.sweeps.spec.spec import SweepSpec

    click.echo(json.dumps(SweepSpec.model_json_schema(), indent=2))


@click.command(short_help="Print what completes words with Tab.")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script for SHELL that completes commands, options, sweeps and ready sweeps with the Tab key.

    \b
    Examples:
      eval "$(sweep completion bash)"                    # in ~/.bashrc
      eval "$(sweep completion zsh)"                     # in ~/.zshrc
      sweep completion fish > ~/.config/fish/completions/sweep.fish
    """
    click.echo(completion_script(context.find_root().command, shell))
