"""Check before training that a tracking server answers and accepts the login, or that a store can be opened."""

import base64
import configparser
import http.client
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from espalier.core.errors import BadInput
from espalier.sweeps.address import no_secret, sqlite_file, without_login
from espalier.sweeps.recording.store import damage_of, is_filled
from espalier.sweeps.recording.tracking_uri import STORE_FILE, uri_source

PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
PINGS, PING_AGAIN_S = 6, 0.2
SQLITE_PATH_BYTES = 500  # sqlite opens no paths of more than 512
OTHER_LOGINS = {"MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_AWS_SIGV4"}  # of MLflow plugins, which cannot be checked here


def check_reachable(uri: str, reading: bool = False, tries: int = PINGS) -> None:
    """Raise BadInput if a tracking server does not answer or refuses the login, or a store's folder is read-only.

    reading: the folder may be read-only if the store is there.
    tries: the number of attempts before a server counts as unreachable.
    """
    scheme, colon, _ = uri.partition("://")
    kind, name = scheme.split("+")[0], uri_source(uri)
    instead = f"leave {name} out to record in the home"
    if kind == "sqlite":
        _check_sqlite(uri, name, instead, os.R_OK if reading and _is_there(uri) else os.R_OK | os.W_OK)
    elif not colon or kind not in PORTS:
        raise BadInput(f"{name}: '{no_secret(uri)}' is no address; write http://HOST:PORT or sqlite:///PATH")
    else:
        _check_server(uri, kind, name, instead, tries)


def _check_server(uri: str, kind: str, name: str, instead: str, tries: int) -> None:
    for attempt in range(tries):
        try:
            return ping(uri, kind, name)
        except BadInput:
            raise
        except (OSError, ValueError, http.client.HTTPException) as error:
            if attempt + 1 < tries:  # one answer may be lost
                time.sleep(PING_AGAIN_S)
                continue
            reason = no_secret(str(getattr(error, "reason", None) or error))
            message = f"{name}: {no_secret(uri)} does not answer ({reason}); start it, or {instead}"
            raise BadInput(message) from error


def _is_there(uri: str) -> bool:
    store = sqlite_file(uri)
    return store is not None and store.is_file()


def _check_sqlite(uri: str, name: str, instead: str, access: int) -> None:
    """Raise BadInput for a sqlite store that cannot be opened. access: os.R_OK, also os.W_OK to write."""
    file = (sqlite_file(uri) or Path(STORE_FILE)).absolute()
    if access & os.W_OK and not os.access(file.parent, os.W_OK):
        raise BadInput(f"{name}: the folder {file.parent} of {uri} cannot be written; {instead}")
    if len(os.fsencode(file)) > SQLITE_PATH_BYTES:
        raise BadInput(
            f"{name}: the path of {file.name} has {len(os.fsencode(file)):,} bytes, and sqlite opens none of more than "
            f"{SQLITE_PATH_BYTES}; name a home with a shorter path, or an MLflow server: {file}"
        )
    if file.exists() and not file.is_file():
        raise BadInput(f"{name}: {file} is no file; move it away, and the next sweep makes it anew")
    if file.exists() and not os.access(file, access):
        raise BadInput(f"{name}: {file} cannot be read{' and written' if access & os.W_OK else ''}; {instead}")
    if file.name != STORE_FILE and is_filled(file) and (damage := damage_of(file)):
        raise BadInput(f"{name}: {file} cannot be read ({damage}); {instead}")


def ping(uri: str, kind: str, name: str) -> None:
    """Ask a tracking server for its health and log in, or connect to a database's port. Raises OSError, BadInput."""
    if kind in ("http", "https"):
        server, login = _login(uri)
        urllib.request.urlopen(server + "/health", timeout=5).close()
        if not OTHER_LOGINS & os.environ.keys():
            check_login(server, login, name)
    else:
        parts = urlsplit(uri)
        socket.create_connection((parts.hostname or "localhost", parts.port or PORTS[kind]), timeout=5).close()


def check_login(server: str, login: Mapping[str, str], name: str) -> None:
    """Send a tracking server a request that needs a login if there are logins; /health needs none."""
    request = urllib.request.Request(f"{server}/api/2.0/mlflow/experiments/search?max_results=1", headers=dict(login))
    try:
        urllib.request.urlopen(request, timeout=10).close()
    except urllib.error.HTTPError as error:
        if error.code not in (401, 403):
            raise
        reason = error.read(200).decode(errors="replace").split("\n")[0].strip()
        visitor = "the login" if login else "a visitor without a login"
        ask = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" if error.code == 401 else f"it says: {reason}"
        raise BadInput(f"{name}: {server} refuses {visitor} ({error.code}); {ask}") from error


def _login(uri: str) -> tuple[str, dict[str, str]]:
    """Return a server's address without its login, and the Authorization header that MLflow would send."""
    parts = urlsplit(uri)
    server = without_login(uri)
    file = configparser.ConfigParser(interpolation=None)
    file.read(Path("~/.mlflow/credentials").expanduser())
    user, password = (
        os.environ.get(name) or file.get("mlflow", name.lower(), fallback=None) or unquote(in_address or "")
        for name, in_address in (
            ("MLFLOW_TRACKING_USERNAME", parts.username),
            ("MLFLOW_TRACKING_PASSWORD", parts.password),
        )
    )
    if user and password:
        return server, {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    return server, {"Authorization": f"Bearer {token}"} if token else {}
