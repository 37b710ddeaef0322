"""Routes on the service itself: its page, health checks, metrics."""

import hashlib
from html import escape
from importlib import resources
from importlib.metadata import version
from pathlib import PurePath
from string import Template

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from espalier.services.clusters.cluster import Unreachable
from espalier.services.http import problems
from espalier.services.http.backend import BackendDep
from espalier.services.http.headers import OF_PAGE, OF_REPORT
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
PAGES = resources.files("espalier.services.http") / "web"
"""The service's page: plain files, which a browser takes as they are."""
LOOK = resources.files("espalier.sweeps.report") / "page.css"  # one look for the report and for this page
KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html"}
AGAIN = {"Cache-Control": "no-cache"}  # a browser asks whether a file has changed since


@plain.get("/", response_class=Response, responses={200: {"content": {"application/json": {}, "text/html": {}}}})  # pyright: ignore[reportArgumentType]
def start(request: Request) -> Response:
    """Return the service's page to a browser, links as JSON to other clients."""
    if "text/html" in request.headers.get("accept", ""):
        page = Template((PAGES / "index.html").read_text(encoding="utf-8"))
        server = escape(str(request.base_url).rstrip("/"))
        return HTMLResponse(page.substitute(server=server), headers={**AGAIN, "Vary": "Accept", **OF_PAGE})
    return JSONResponse({"name": "Espalier", "version": version("espalier"), "links": HINT}, headers={"Vary": "Accept"})


@plain.get("/web/{name}", include_in_schema=False)
def file(name: str, request: Request) -> Response:
    """Return a file of the service's page. It has no secret: whoever asks gets it."""
    files = {each.name: each for each in PAGES.iterdir() if each.name != "index.html"} | {"look.css": LOOK}
    kind = KINDS.get(PurePath(name).suffix)
    if name not in files or kind is None:
        raise Problem(404, f"the page has no file '{name}'")
    content = files[name].read_bytes()
    headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"'} | AGAIN
    headers |= OF_REPORT if kind == "text/html" else {}
    known = request.headers.get("if-none-match", "").removeprefix("W/") == headers["ETag"]
    return Response(status_code=304, headers=headers) if known else Response(content, headers=headers, media_type=kind)


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
