"""Options that several commands share."""

import click

from espalier.core.errors import brief

home_option = click.option("--home", metavar="DIR", help="Where state lies (default: $SWEEP_HOME, else ./sweep-data).")
server_option = click.option(
    "--server", metavar="URL", help="Ask a sweep service (default: $SWEEP_SERVER, or the config file's)."
)
set_option = click.option(
    "--set", "assignments", multiple=True, metavar="FIELD=VALUE", help="Override a field of the spec; repeatable."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
json_at_end_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document on stdout at the end."
)
wait_option = click.option(
    "--wait/--no-wait", default=True, help="Of a service: follow it until it is over (default), or only ask for it."
)
changed_option = click.option(
    "--changed", is_flag=True, help="Go on although the task's code or the data have changed, and record it."
)


def check_id(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """Refuse an id that a sweep cannot have."""
    from espalier.sweeps.home import ID_RULE, is_sweep_id

    if value is not None and not is_sweep_id(value):
        raise click.BadParameter(f"'{brief(value)}'; {ID_RULE}")
    return value
