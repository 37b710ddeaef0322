"""Commands that help a person type: the spec's JSON Schema for an editor."""

import json

import click


@click.command()
def schema() -> None:
    """Print the JSON Schema of the spec, for editors.

    \b
    Example:
      sweep schema > spec.schema.json
    """
    from espalier.sweeps.spec.spec import SweepSpec

    click.echo(json.dumps(SweepSpec.model_json_schema(), indent=2))
