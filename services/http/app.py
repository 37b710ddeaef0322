"""The HTTP application: its routes, its queue and its state."""

import os
import secrets
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from espalier.services.clusters.choice import cluster_of
from espalier.services.clusters.cluster import Cluster
from espalier.services.clusters.local import LocalCluster
from espalier.services.database import schema
from espalier.services.database.store import Store
from espalier.services.http import problems
from espalier.services.http.access import Access, RateLimit
from espalier.services.http.backend import Backend
from espalier.services.http.headers import guard
from espalier.services.http.metrics import Metrics
from espalier.services.http.openapi import describe
from espalier.services.http.pages import plain
from espalier.services.http.report_routes import api as reports
from espalier.services.http.routes import api
from espalier.services.http.streams import Slots
from espalier.services.queue import Queue
from espalier.services.reading.reports import Reports
from espalier.services.reading.trials import Sweeps
from espalier.services.settings import Settings
from espalier.sweeps.home import Home


def build(settings: Settings, loopback: bool = True, cluster: Cluster | None = None) -> FastAPI:
    """Return the application. Raises BadInput if its database is missing or has another schema.

    loopback: whether it listens on loopback only, where no token is needed as long as none was made.
    """
    store = Store(settings.database)
    schema.check(store)
    cluster = cluster or cluster_of(settings)
    holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    queue = Queue(store, cluster, settings, time.time, holder)
    access = Access(store, RateLimit(settings.requests_per_minute), loopback)
    tenants = cluster.tenants if isinstance(cluster, LocalCluster) else None
    sweeps = Sweeps(Home.at(str(settings.home)), settings.mlflow_url, tenants)
    slots = Slots(settings.streams_per_owner)
    backend = Backend(settings, store, cluster, queue, sweeps, access, Metrics(store), slots, Reports(sweeps))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        thread = threading.Thread(target=queue.run, name="queue", daemon=True)
        thread.start()
        yield
        queue.close()
        store.engine.dispose()

    app = FastAPIOffline(
        title="Espalier",
        version=version("espalier"),
        summary="Learning-rate sweeps on a cluster: handed in, watched, stopped, resumed, pulled.",
        lifespan=lifespan,
    )
    app.state.backend, app.state.access = backend, access
    problems.install(app)
    app.middleware("http")(backend.metrics.measure)
    app.middleware("http")(guard)
    app.include_router(api)
    app.include_router(reports)
    app.include_router(plain)
    describe(app)
    return app
