"""The service as a process: its databases made ready, its doors checked, uvicorn run."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from time import time

from core.errors import BadInput
from services import migrate, schema, tokens
from services.access import is_loopback
from services.settings import Settings
from services.store import Store
from sweeps.address import no_secret
from sweeps.home import Home


def upgrade(settings: Settings) -> Iterator[str]:
    """Bring every database to this version's schema; yield what was done."""
    store = Store(settings.database)
    schema.upgrade(store)
    yield f"service  {no_secret(settings.database)}: up to date"
    optuna, mlflow = os.environ.get("SWEEP_STORAGE_URL"), os.environ.get("SWEEP_MLFLOW_DATABASE_URL")
    if optuna:
        migrate.upgrade_optuna(optuna)
        yield f"Optuna   {no_secret(optuna)}: up to date"
    if mlflow:
        migrate.upgrade_mlflow(mlflow)
        yield f"MLflow   {no_secret(mlflow)}: up to date"


def check_doors(store: Store, host: str) -> None:
    """Raise BadInput if strangers could come in: beyond this machine nothing is served without tokens."""
    with store.reading() as session:
        if not is_loopback(host) and not tokens.any_valid(session, time()):
            raise BadInput(
                f"--host {host}: reachable from other machines, and there is no token yet; "
                "make one first: sweep token create --owner NAME --role admin"
            )


def _check_tls(certificate: str | None, key: str | None) -> None:
    if bool(certificate) != bool(key):
        raise BadInput("--tls-certificate and --tls-key belong together")
    for option, file in (("--tls-certificate", certificate), ("--tls-key", key)):
        if file and not os.access(file, os.R_OK):
            raise BadInput(f"{option} {file}: cannot be read")


def serve(settings: Settings, host: str, port: int, certificate: str | None, key: str | None) -> None:
    """Serve until a signal ends it; sweeps that run go on. Raises BadInput."""
    import uvicorn

    from services.app import build

    _check_tls(certificate, key)
    Home.at(str(settings.home))
    store = Store(settings.database)
    if store.url.startswith("sqlite"):
        schema.upgrade(store)
    check_doors(store, host)
    app = build(settings, is_loopback(host))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    where = f"{'https' if certificate else 'http'}://{host}:{port}"
    logging.getLogger("services").info("serving on %s; sweeps run %s", where, settings.ray_address or "on this machine")
    uvicorn.run(
        app,
        host=host,
        port=port,
        ssl_certfile=Path(certificate) if certificate else None,
        ssl_keyfile=Path(key) if key else None,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=5,
        server_header=False,
    )
