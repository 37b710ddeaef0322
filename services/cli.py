"""The commands for administrators of a service, in addition to those for users (sweeps.cli)."""

import os
import time
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click

from espalier.core.errors import BadInput
from espalier.sweeps.cli import process
from espalier.sweeps.cli.app import SERVICE, main
from espalier.sweeps.cli.options import json_option
from espalier.sweeps.cli.output import print_json

if TYPE_CHECKING:
    from espalier.services.database.store import Store

P = ParamSpec("P")
R = TypeVar("R")


def command() -> None:
    """Run the command `sweep`: the entry point."""
    process.command()


def needs_service_packages(command: Callable[P, R]) -> Callable[P, R]:
    """Turn the ImportError of a package that only the service needs into bad input."""

    @wraps(command)
    def with_hint(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except ModuleNotFoundError as error:
            missing = str(error.name).partition(".")[0]
            raise BadInput(
                f"the service's packages are not installed ('{missing}' is missing): pip install 'espalier[service]', "
                "in a checkout pip install -e '.[service]'"
            ) from error

    return with_hint


def _take_home(context: click.Context, option: click.Parameter, value: str | None) -> None:
    """Set this home in the environment of this process and of those that it starts."""
    if value:
        os.environ["SWEEP_HOME"] = os.path.abspath(os.path.expanduser(value))


home_option = click.option(
    "--home",
    metavar="DIR",
    expose_value=False,
    callback=_take_home,
    help="Where the service's state lies (default: $SWEEP_HOME, else ./sweep-data).",
)


@click.command(short_help="Serve sweeps over HTTP.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Beyond this machine only with tokens.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True)
@click.option("--tls-certificate", metavar="FILE", help="Speak HTTPS with this certificate.")
@click.option("--tls-key", metavar="FILE", help="The certificate's private key.")
@home_option
@needs_service_packages
def serve(host: str, port: int, tls_certificate: str | None, tls_key: str | None) -> None:
    """Serve sweeps over HTTP: accept, queue and run them, on this machine or on a Ray cluster.

    Settings come from the environment: SWEEP_HOME, SWEEP_DATABASE_URL, SWEEP_STORAGE_URL, SWEEP_RAY_ADDRESS,
    SWEEP_RUNNING_PER_OWNER, SWEEP_RUNNING_TOTAL and more.

    \b
    Example:
      sweep serve --port 8080
    """
    from espalier.services.serve import serve as serve_app
    from espalier.services.settings import read_settings

    serve_app(read_settings(), host, port, tls_certificate, tls_key)


@click.group()
def token() -> None:
    """Make, list and revoke access tokens of the service."""


@token.command("create")
@click.option("--owner", required=True, help="To whom its sweeps belong.")
@click.option("--role", default="submit", show_default=True, help="read, submit or admin.")
@click.option("--days", type=float, help="How long it is valid (default: until it is revoked).")
@json_option
@home_option
@needs_service_packages
def token_create(owner: str, role: str, days: float | None, as_json: bool) -> None:
    """Make a token and print it. It cannot be shown again.

    \b
    Example:
      sweep token create --owner ada --role submit --days 90
    """
    from espalier.services import tokens

    with _store().session() as session:
        secret = tokens.create(session, owner, role, time.time(), days)
    if as_json:
        print_json({"token": secret, "owner": owner, "role": role, "days": days})
    else:
        click.echo(secret)


@token.command("list")
@json_option
@home_option
@needs_service_packages
def token_list(as_json: bool) -> None:
    """List the tokens, without their secrets.

    \b
    Example:
      sweep token list
    """
    from espalier.services import tokens

    with _store().reading() as session:
        rows = tokens.listed(session, time.time())
    if as_json:
        print_json(rows)
        return
    for row in rows:
        until = row["expires"] or "does not expire"
        click.echo(f"{row['id']}  {row['owner']:<20} {row['role']:<7} {row['state']:<8} {until}")
    if not rows:
        click.echo("no token yet; make one: sweep token create --owner NAME")


@token.command("revoke")
@click.argument("token_id")
@json_option
@home_option
@needs_service_packages
def token_revoke(token_id: str, as_json: bool) -> None:
    """End the token with the id TOKEN_ID (see `sweep token list`) at once.

    \b
    Example:
      sweep token revoke 0a1b2c3d4e5f
    """
    from espalier.services import tokens

    with _store().session() as session:
        tokens.revoke(session, token_id, time.time())
    click.echo(f"{token_id} is revoked", err=True)
    if as_json:
        print_json({"id": token_id})


@click.command(short_help="Set or show what an owner may use.")
@click.argument("owner")
@click.option("--trials", type=click.IntRange(min=0), help="Trials, over all sweeps.")
@click.option("--gpu-hours", type=click.FloatRange(min=0), help="GPU-hours, over all sweeps.")
@click.option("--unlimited", is_flag=True, help="Take all limits away.")
@json_option
@home_option
@needs_service_packages
def quota(owner: str, trials: int | None, gpu_hours: float | None, unlimited: bool, as_json: bool) -> None:
    """Set or show the quota of OWNER.

    \b
    Example:
      sweep quota ada --trials 10000 --gpu-hours 200
    """
    from espalier.services.quota import set_quota

    with _store().session() as session:
        use = set_quota(session, owner, trials, gpu_hours, unlimited, time.time())
    if as_json:
        print_json(vars(use))
    else:
        click.echo(use.line)


@click.group()
def db() -> None:
    """Manage the databases."""


@db.command("upgrade")
@json_option
@home_option
@needs_service_packages
def db_upgrade(as_json: bool) -> None:
    """Bring the databases of the service, of Optuna and of MLflow to the schema of this version.

    They are those that SWEEP_DATABASE_URL, SWEEP_STORAGE_URL and SWEEP_MLFLOW_DATABASE_URL name. Concurrent upgrades
    wait for one another; an up-to-date database stays unchanged.

    \b
    Example:
      sweep db upgrade
    """
    from espalier.services.serve import upgrade
    from espalier.services.settings import read_settings

    messages: list[str] = []
    for line in upgrade(read_settings()):
        messages.append(line)
        if not as_json:
            click.echo(line)
    if as_json:
        print_json({"said": messages})


def _store() -> "Store":
    from espalier.services.database import schema
    from espalier.services.database.store import Store
    from espalier.services.settings import read_settings
    from espalier.sweeps.home import Home

    settings = read_settings()
    if not settings.database_url:
        Home.at(str(settings.home))  # refused by the settings themselves
    store = Store(settings.database)
    if store.url.startswith("sqlite"):
        schema.upgrade(store)  # a regular file of the user's own is allowed
    schema.check(store)
    return store


main.add_section(SERVICE, [serve, token, quota, db])

if __name__ == "__main__":
    command()
