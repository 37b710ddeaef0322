"""The tracking URI: from the spec, else from the environment, else the home's own store."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from espalier.sweeps.address import no_secret, sqlite_file, sqlite_url
from espalier.sweeps.home import Home

if TYPE_CHECKING:
    from espalier.sweeps.search.study import SweepRecord  # which imports Optuna

VARIABLE, STORE_FILE = "MLFLOW_TRACKING_URI", "mlflow.db"
AT_HOME = "home"  # the origin of a sweep that was first recorded in the home's store


def default_uri(home: Path) -> str:
    """Return the URI of a home's store."""
    return sqlite_url(home.resolve() / STORE_FILE)


def resolve_tracking_uri(wanted: str | None, home: Path, origin: str | None = None) -> str:
    """Return the tracking URI: the spec's, else $MLFLOW_TRACKING_URI, else the home's store.

    origin: where the sweep was first recorded, see `tracking_origin`. A sweep that began in the home's store stays
    there, even if the variable is set later. A server may have another address here than where the sweep began.
    """
    elsewhere = None if origin == AT_HOME else os.environ.get(VARIABLE) or origin
    return wanted or elsewhere or default_uri(home)


def sweep_tracking_uri(sweep_record: "SweepRecord", home: Home) -> str:
    """Return the address at which a sweep is recorded."""
    return resolve_tracking_uri(sweep_record.spec.tracking_uri, home.path, sweep_record.tracking_origin)


def public_uri(uri: str) -> str:
    """Return an address as any process of this machine can use it; "" if it has a secret, which no file may get."""
    store = sqlite_file(uri)
    if store is not None:
        return sqlite_url(store.absolute())
    return uri if no_secret(uri) == uri else ""


def tracking_origin(home: Path) -> str:
    """Return the tracking origin stored with a new sweep: AT_HOME, or a server's address without its password."""
    uri = resolve_tracking_uri(None, home)
    return AT_HOME if uri == default_uri(home) else no_secret(uri)


def uri_source(uri: str) -> str:
    """Return the source of an address, for messages: the environment variable, or the spec's field."""
    return VARIABLE if uri == os.environ.get(VARIABLE) else "tracking_uri"
