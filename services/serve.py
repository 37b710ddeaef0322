"""The service as a process: upgrade its databases, check access and isolation, run uvicorn."""

import errno
import logging
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from time import time
from typing import Any

from espalier.core.errors import BadInput
from espalier.core.own import SEARCH_PATH
from espalier.services import tokens
from espalier.services.clusters.choice import tenants_of
from espalier.services.clusters.environment import variables_of_jobs
from espalier.services.database import external, schema
from espalier.services.database.store import Store
from espalier.services.http.access import is_loopback
from espalier.services.isolation import confine
from espalier.services.settings import Settings
from espalier.sweeps.address import no_secret, open_port
from espalier.sweeps.home import Home

log = logging.getLogger(__name__)


def upgrade(settings: Settings) -> Iterator[str]:
    """Upgrade every database to this version's schema; yield a line for each."""
    store = Store(settings.database)
    schema.upgrade(store)
    yield f"service  {no_secret(settings.database)}: up to date"
    optuna, mlflow = os.environ.get("SWEEP_STORAGE_URL"), os.environ.get("SWEEP_MLFLOW_DATABASE_URL")
    if optuna:
        external.upgrade_optuna(optuna)
        yield f"Optuna   {no_secret(optuna)}: up to date"
    if mlflow:
        external.upgrade_mlflow(mlflow)
        yield f"MLflow   {no_secret(mlflow)}: up to date"


def check_doors(store: Store, host: str) -> None:
    """Raise BadInput if other machines could use the service without a token."""
    with store.reading() as session:
        if not is_loopback(host) and not tokens.ever_made(session):
            raise BadInput(
                f"--host {host}: reachable from other machines, and there is no token yet; "
                "make one first: sweep token create --owner NAME --role admin"
            )
        if tokens.ever_made(session) and not tokens.any_valid(session, time()):
            log.warning("every token has expired or is revoked: nobody can come in; make one: sweep token create")


def check_isolation(settings: Settings, host: str) -> None:
    """Raise BadInput if jobs of other machines' users could read the service's database."""
    if is_loopback(host) and not settings.trusted_proxies:
        return
    where = f"--host {host}" if not is_loopback(host) else f"SWEEP_TRUSTED_PROXIES={settings.trusted_proxies}"
    why = why_not_isolated(settings)
    if why:
        raise BadInput(f"{where}: others than this machine can hand in code, and {why}")


def why_not_isolated(settings: Settings) -> str:
    """Return why a job could reach the service's database, and the remedy; "" if it cannot."""
    file = settings.database.removeprefix("sqlite:///") if settings.database.startswith("sqlite") else None
    if settings.ray_address:
        if file is None or not Path(file).absolute().is_relative_to(settings.home.absolute()):
            return ""
        return "every node of the cluster sees the home, with the tokens; set SWEEP_DATABASE_URL to PostgreSQL's"
    if not (reason := confine.possible()):
        return ""
    if file is None and os.geteuid() != 0:
        return ""
    return (
        f"their jobs would run as this user and could open its database, since {reason}; start it as root (jobs then "
        "have users of their own), or name a cluster (SWEEP_RAY_ADDRESS)"
        + (", or keep tokens in PostgreSQL (SWEEP_DATABASE_URL)" if os.geteuid() != 0 else "")
    )


def check_jobs(settings: Settings) -> None:
    """Raise BadInput if jobs run as separate users, and such a user could not start Python or record."""
    if (tenants := tenants_of(settings)) is None:
        return
    for variable, schemes in (("MLFLOW_TRACKING_URI", ("http", "postgresql")), ("SWEEP_STORAGE_URL", ("postgresql",))):
        if (value := os.environ.get(variable)) and not value.startswith(schemes):
            raise BadInput(
                f"{variable}: {no_secret(value)}: jobs have users of their own here, who cannot write this service's "
                "files; name a server, or leave it out: then each owner's home has its own"
            )
    with tempfile.TemporaryDirectory(prefix="sweep-") as folder:
        os.chown(folder, tenants.uids.start, tenants.uids.start)
        command = confine.entrance(Path(folder), [sys.executable, "-c", "import espalier.core.errors"])
        env = variables_of_jobs(os.environ) | {"PYTHONPATH": str(SEARCH_PATH), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            command, cwd=SEARCH_PATH, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise BadInput(
            f"jobs cannot run as user {tenants.uids.start}: {last}; make Python and {SEARCH_PATH} readable for all"
        )


def make_private(settings: Settings) -> None:
    """Make the home private, with earlier versions' files. A cluster's volume keeps its own mode at its root."""
    home = settings.home.absolute()
    for path in [*([] if settings.ray_address else [home]), *home.iterdir()]:
        facts = path.lstat()
        if facts.st_uid == os.geteuid() and facts.st_mode & 0o077 and not stat.S_ISLNK(facts.st_mode):
            path.chmod(0o700 if stat.S_ISDIR(facts.st_mode) else 0o600)


def _check_tls(certificate: str | None, key: str | None) -> None:
    if bool(certificate) != bool(key):
        raise BadInput("--tls-certificate and --tls-key belong together")
    for option, file in (("--tls-certificate", certificate), ("--tls-key", key)):
        if file and not os.access(file, os.R_OK):
            raise BadInput(f"{option} {file}: cannot be read")


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to a port. Raises BadInput for a port in use or without permission."""
    try:
        return open_port(host, port)
    except OSError as error:
        why = "another process listens there" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
        raise BadInput(f"--port {port}: cannot listen on {host}:{port} ({why}); give another --port") from error


def serve(settings: Settings, host: str, port: int, certificate: str | None, key: str | None) -> None:
    """Serve until a signal ends it; running sweeps go on. Raises BadInput."""
    import uvicorn

    from espalier.services.http.app import build

    os.umask(0o077)
    confine.hide_environment()
    _check_tls(certificate, key)
    Home.at(str(settings.home))
    make_private(settings)
    store = Store(settings.database)
    if store.url.startswith("sqlite"):
        schema.upgrade(store)
    check_doors(store, host)
    check_isolation(settings, host)
    check_jobs(settings)
    app = build(settings, is_loopback(host))
    taken = listening(host, port)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    where = f"{'https' if certificate else 'http'}://{host}:{taken.getsockname()[1]}"
    log.info("serving on %s; sweeps run %s", where, settings.ray_address or "on this machine")
    options: dict[str, Any] = server_options(settings) | {"ssl_certfile": certificate, "ssl_keyfile": key}
    uvicorn.Server(uvicorn.Config(app, **options)).run(sockets=[taken])


def server_options(settings: Settings) -> dict[str, Any]:
    """Return uvicorn's options: it trusts X-Forwarded-For only from a trusted proxy, and does not wait on shutdown."""
    from espalier.services.http.timeouts import TimedProtocol

    return {
        "http": partial(TimedProtocol, settings.head_s),
        "ws": "none",
        "proxy_headers": bool(settings.trusted_proxies),
        "forwarded_allow_ips": settings.trusted_proxies,
        "limit_concurrency": settings.connections,
        "log_level": "warning",
        "access_log": False,
        "timeout_graceful_shutdown": 5,
        "server_header": False,
    }
