"""Commands for editors and shells: the spec's JSON Schema, Tab completion."""

import json

import click

from espalier.sweeps.cli.completion import SHELLS, completion_script


@click.command(short_help="Print the JSON Schema of a spec.")
def schema() -> None:
    """Print the JSON Schema of the spec, for editors.

    \b
    Example:
      sweep schema > spec.schema.json
    """
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
