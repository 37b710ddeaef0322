"""Routes on the service itself: a start page, health checks, metrics."""

from html import escape
from importlib.metadata import version

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from espalier.services.clusters.cluster import Unreachable
from espalier.services.http import problems
from espalier.services.http.backend import BackendDep
from espalier.services.http.problems import Problem, responses

plain = APIRouter()


HINT = {
    "docs": "/docs",
    "openapi": "/openapi.json",
    "health": "/healthz",
    "ready": "/readyz",
    "measures": "/metrics",
    "sweeps": "/v1/sweeps",
}
PAGE = """<!doctype html><html lang="en"><title>Espalier</title><h1>Espalier</h1>
<p>A service that runs learning-rate sweeps: <a href="docs">every route, with examples</a>,
<a href="healthz">health</a>, <a href="readyz">readiness</a>, <a href="metrics">measures</a>.</p>
<pre>export SWEEP_SERVER={server}   # and SWEEP_TOKEN, which `sweep token create` prints
sweep submit SPEC.yaml
sweep list</pre></html>"""


@plain.get("/", response_class=Response, responses={200: {"content": {"application/json": {}, "text/html": {}}}})  # pyright: ignore[reportArgumentType]
def start(request: Request) -> Response:
    """Return the start page: HTML for a browser, JSON for other clients."""
    if "text/html" in request.headers.get("accept", ""):
        return HTMLResponse(PAGE.format(server=escape(str(request.base_url).rstrip("/"))))
    return JSONResponse({"name": "Espalier", "version": version("espalier"), "links": HINT})


@plain.get("/healthz")
def healthz() -> dict[str, str]:
    """Liveness: the process answers."""
    return {"status": "ok", "version": version("espalier")}


@plain.get("/readyz", responses=responses(503))
def readyz(backend: BackendDep) -> dict[str, str]:
    """Readiness: the databases and the cluster answer."""
    wrong = []
    try:
        with backend.store.reading() as session:
            session.execute(text("SELECT 1"))
    except SQLAlchemyError as error:
        wrong.append(f"database: {type(error).__name__}")
    try:
        backend.cluster.check()
    except Unreachable as error:
        wrong.append(f"cluster: {error}")
    if wrong:
        raise Problem(503, "; ".join(wrong), [problems.Wrong(field=w.partition(":")[0], detail=w) for w in wrong])
    return {"status": "ready"}


@plain.get("/metrics", response_class=PlainTextResponse)
def metrics(backend: BackendDep) -> Response:
    """Metrics for Prometheus. They name no owner and no sweep."""
    return Response(backend.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
