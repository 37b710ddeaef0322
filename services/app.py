"""The HTTP service: sweeps handed in, watched, stopped, resumed and pulled. Routes read as their signatures."""

import os
import secrets
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from html import escape
from importlib.metadata import version
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request, Response
from fastapi import Path as Place
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, StreamingResponse
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel, Field
from sqlalchemy import select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import undefer

from espalier.core.errors import BadInput
from espalier.services import problems, schema
from espalier.services.access import Access, RateLimit, Reader, Submitter
from espalier.services.cluster import Cluster, LocalCluster, Unreachable, cluster_of
from espalier.services.intake import read_spec, submission_of
from espalier.services.measures import Measures
from espalier.services.openapi import describe
from espalier.services.problems import Problem, responses
from espalier.services.queue import Queue, position
from espalier.services.received import BODY, CHECKED, hours_of, received, received_spec
from espalier.services.settings import Settings
from espalier.services.store import State, Store, Submission
from espalier.services.streams import LogEvents, Slots, Stream, SweepEvents
from espalier.services.tokens import Caller
from espalier.services.views import Sweep, Sweeps, Trial, sweep_view, trial_view, trials_of
from espalier.sweeps.home import Home
from espalier.sweeps.spec import yaml12

SWEEP_ID = r"^[A-Za-z][A-Za-z0-9_-]{0,62}$"
STREAM = {200: {"content": {"text/event-stream": {}, "text/plain": {}}, "description": "server-sent events"}}


@dataclass
class Parts:
    """What the routes work with."""

    settings: Settings
    store: Store
    cluster: Cluster
    queue: Queue
    sweeps: Sweeps
    access: Access
    measures: Measures
    slots: Slots


class Submitted(BaseModel):
    """What was taken in."""

    id: str = Field(examples=["names-20261121-1a2b3c4d"])
    state: State
    position: int | None = Field(description="how many sweeps wait before it")
    links: dict[str, str]


class Page(BaseModel):
    """Some sweeps, the newest first; `next` asks for those before them."""

    sweeps: list[Sweep]
    next: int | None = Field(None, description="the `before` of the next page; null: this is the last")


class Trials(BaseModel):
    """The trials of a sweep."""

    trials: list[Trial]
    total: int


def parts_of(request: Request) -> Parts:
    """Return what the application was made of."""
    return request.app.state.parts


P = Annotated[Parts, Depends(parts_of)]
Id = Annotated[str, Place(pattern=SWEEP_ID, examples=["names-20261121-1a2b3c4d"])]
After = Annotated[str | None, Header(alias="Last-Event-ID", description="go on after this event", max_length=20)]

api = APIRouter(prefix="/v1")
plain = APIRouter()


def _theirs(parts: Parts, caller: Caller, sweep: str, *columns: Any) -> Submission:
    """Return a sweep that the caller may see. Raises Problem 404: of other people's nothing is said."""
    with parts.store.reading() as session:
        options = [undefer(Submission.spec), *map(undefer, columns)]
        found = session.scalar(select(Submission).where(Submission.sweep == sweep).options(*options))
    if found is None or not (caller.admin or found.owner == caller.owner):
        raise Problem(404, f"there is no sweep '{sweep}' of yours")
    return found


def _view(parts: Parts, submission: Submission) -> Sweep:
    with parts.store.reading() as session:
        before = position(session, submission)
    return sweep_view(submission, submission.spec, parts.sweeps, before)


def _after(value: str | None) -> int:
    if value is None or value == "":
        return 0
    if not value.isascii() or not value.isdigit():
        raise Problem(
            422,
            f"Last-Event-ID: '{value}' is no event's number",
            [problems.Wrong(field="Last-Event-ID", detail="no number")],
        )
    return int(value)


# --- handing in ------------------------------------------------------------------------------------------------------


BODIES = responses(400, 401, 403, 408, 411, 413, 415, 422, 429)


@api.post("/sweeps", status_code=202, openapi_extra=BODY, responses=BODIES)
async def submit(
    request: Request,
    response: Response,
    parts: P,
    caller: Submitter,
    hours: Annotated[str | None, Query(description="how long it may run, in hours", max_length=20)] = None,
    key: Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=255)] = None,
) -> Submitted:
    """Hand in a sweep. The same Idempotency-Key with the same content gives the same sweep, however often it comes."""
    words, kind, archive, form_hours = await received(request, parts.settings)

    def take() -> Submitted:
        fields, spec = read_spec(words, kind, parts.settings)
        wanted = hours_of(form_hours or hours)
        submission = submission_of(caller.owner, fields, spec, archive, wanted, key, parts.settings)
        found, _ = parts.queue.admit(submission)
        view = _view(parts, _theirs(parts, caller, found.sweep))
        return Submitted(id=view.id, state=view.state, position=view.position, links=view.links)

    taken = await anyio.to_thread.run_sync(take)
    response.headers["Location"] = taken.links["self"]
    return taken


@api.post("/check", openapi_extra=CHECKED, responses=BODIES)
async def check(request: Request, parts: P, caller: Submitter) -> dict[str, Any]:
    """Say whether a spec would be taken, without handing it in."""
    words, kind = await received_spec(request, parts.settings)

    def look() -> dict[str, Any]:
        fields, spec = read_spec(words, kind, parts.settings)
        submission = submission_of(caller.owner, fields, spec, None, None, None, parts.settings)
        return {"name": spec.name, "trials": spec.trials, "gpus": submission.gpus, "spec": fields}

    return await anyio.to_thread.run_sync(look)


# --- looking ---------------------------------------------------------------------------------------------------------


@api.get("/sweeps", responses=responses(401, 422, 429))
def sweeps(
    parts: P,
    caller: Reader,
    state: Annotated[State | None, Query(description="only those in this state")] = None,
    name: Annotated[str | None, Query(description="only those whose spec has this name", max_length=64)] = None,
    owner: Annotated[str | None, Query(description="only this owner's; for admins", max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="the `next` of the page before")] = None,
) -> Page:
    """List sweeps, the newest first: the caller's own, or, for an admin, everybody's."""
    query = select(Submission).options(undefer(Submission.spec)).order_by(Submission.number.desc()).limit(limit + 1)
    query = query if caller.admin else query.where(Submission.owner == caller.owner)
    if owner is not None:
        query = query.where(Submission.owner == owner.replace("\0", ""))
    if name is not None:
        query = query.where(Submission.name == name.replace("\0", ""))
    if state is not None:
        query = query.where(Submission.state == state)
    if before is not None:
        query = query.where(Submission.number < before)
    with parts.store.reading() as session:
        found = list(session.scalars(query))
        views = [sweep_view(s, s.spec, parts.sweeps, position(session, s)) for s in found[:limit]]
    return Page(sweeps=views, next=found[limit - 1].number if len(found) > limit else None)


@api.get("/sweeps/{sweep}", responses=responses(401, 404, 422, 429))
def sweep(sweep: Id, parts: P, caller: Reader) -> Sweep:
    """Show one sweep: where it is, how far, the best so far."""
    return _view(parts, _theirs(parts, caller, sweep))


@api.get("/sweeps/{sweep}/trials", responses=responses(401, 404, 422, 429))
def trials(
    sweep: Id,
    parts: P,
    caller: Reader,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, le=10**6)] = 0,
) -> Trials:
    """List the trials of a sweep, by number."""
    found = trials_of(_theirs(parts, caller, sweep), parts.sweeps)
    return Trials(trials=[trial_view(t) for t in found[offset : offset + limit]], total=len(found))


LOGS = responses(401, 404, 422, 429, 503) | STREAM
BEST = {200: {"content": {"application/yaml": {"schema": {"type": "string"}}, "application/json": {}}}}


@api.get("/sweeps/{sweep}/best", response_class=Response, responses=responses(401, 404, 409, 422, 429, 503) | BEST)  # pyright: ignore[reportArgumentType]
def best(
    sweep: Id,
    request: Request,
    parts: P,
    caller: Reader,
    trial: Annotated[int | None, Query(ge=0, le=10**9, description="another trial than the best")] = None,
) -> Response:
    """Pull the best configuration as a file that `sweep rerun` takes: YAML, or JSON where that is asked for."""
    found = _theirs(parts, caller, sweep)
    complete = [t.number for t in parts.sweeps.trials(sweep, owner=found.owner) if t.state == "complete"]
    if not complete:
        raise Problem(409, f"{sweep} has no complete trial yet; it is {found.state}")
    if trial is not None and trial not in complete:
        raise Problem(404, f"trial {trial} of {sweep} is not complete; complete are {', '.join(map(str, complete))}")
    try:
        with parts.slots.taken(caller.owner):
            head, _, body = parts.sweeps.best(sweep, found.owner, trial).partition("\n")
    except BadInput as error:  # nothing that the caller could do better
        raise Problem(503, str(error), headers={"Retry-After": "10"}) from error
    content = yaml12.read(body, "best file")
    for field in ("task", "watchers", "task_options"):  # where files lay in the cluster means nothing at another desk
        if field in found.spec:
            content["spec"][field] = found.spec[field]
    if "json" in request.headers.get("accept", ""):
        return JSONResponse(content)
    written = yaml12.write(content, flow=None)
    return Response(f"{head}\n{written}", media_type="application/yaml")


@api.get("/sweeps/{sweep}/events", response_class=StreamingResponse, responses=responses(401, 404, 422, 429) | STREAM)
def events(sweep: Id, parts: P, caller: Reader, after: After = None) -> StreamingResponse:
    """Follow a sweep until it is over: an event for each trial that ends, and for each change of its state."""
    found = _theirs(parts, caller, sweep)
    view = lambda: _view(parts, _theirs(parts, caller, sweep))  # noqa: E731
    look = SweepEvents(parts.sweeps, sweep, found.owner, view, _after(after)).look
    return Stream(look, parts.slots, caller.owner, partial(parts.access.ended, caller))


@api.get(
    "/sweeps/{sweep}/logs", response_class=StreamingResponse, responses=responses(401, 404, 422, 429, 503) | STREAM
)
def logs(sweep: Id, request: Request, parts: P, caller: Reader, after: After = None) -> Response:
    """Read what the sweep's driver wrote: all of it as text/plain, or, as text/event-stream, until it is over."""
    found = _theirs(parts, caller, sweep)
    if "text/event-stream" not in request.headers.get("accept", ""):
        with parts.slots.taken(caller.owner):
            return PlainTextResponse(parts.cluster.logs(found.job))
    read = LogEvents(
        lambda start, most: parts.cluster.log_from(found.job, start, most),
        lambda: State(_theirs(parts, caller, sweep).state).over,
        _after(after),
    )
    return Stream(read.look, parts.slots, caller.owner, partial(parts.access.ended, caller))


# --- wishes ----------------------------------------------------------------------------------------------------------


@api.post("/sweeps/{sweep}/stop", status_code=202, responses=responses(401, 403, 404, 422, 429))
def stop(sweep: Id, parts: P, caller: Submitter) -> Sweep:
    """Stop a sweep: it writes its checkpoints and ends; `resume` goes on from there. Nothing if it is over."""
    _theirs(parts, caller, sweep)
    parts.queue.stop(sweep, f"stopped by {caller.owner}")
    return _view(parts, _theirs(parts, caller, sweep))


@api.post("/sweeps/{sweep}/resume", status_code=202, responses=responses(401, 403, 404, 409, 422, 429))
def resume(
    sweep: Id,
    parts: P,
    caller: Submitter,
    changed: Annotated[bool, Query(description="go on also if the data have changed, and record it")] = False,
) -> Sweep:
    """Put a stopped or failed sweep at its old place in the queue; it goes on from its checkpoints.

    It runs the code that was handed in. If its data, or code that is installed here, have changed since it last ran, it
    fails and says what differs, unless `changed` is true: then each trial bears the fingerprints it was trained with.
    """
    found = _theirs(parts, caller, sweep)
    if found.state == State.FINISHED:
        raise Problem(409, f"{sweep} is finished; there is nothing to go on with")
    if found.state == State.STOPPING:
        raise Problem(409, f"{sweep} is being stopped; wait until it has stopped")
    parts.queue.resume(sweep, changed)
    return _view(parts, _theirs(parts, caller, sweep))


# --- its own state ---------------------------------------------------------------------------------------------------


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
    """Say where to go: a page for a browser, JSON for all else."""
    if "text/html" in request.headers.get("accept", ""):
        return HTMLResponse(PAGE.format(server=escape(str(request.base_url).rstrip("/"))))
    return JSONResponse({"name": "Espalier", "version": version("espalier"), "links": HINT})


@plain.get("/healthz")
def healthz() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "ok", "version": version("espalier")}


@plain.get("/readyz", responses=responses(503))
def readyz(parts: P) -> dict[str, str]:
    """Say whether the databases and the cluster answer."""
    wrong = []
    try:
        with parts.store.reading() as session:
            session.execute(text("SELECT 1"))
    except SQLAlchemyError as error:
        wrong.append(f"database: {type(error).__name__}")
    try:
        parts.cluster.check()
    except Unreachable as error:
        wrong.append(f"cluster: {error}")
    if wrong:
        raise Problem(503, "; ".join(wrong), [problems.Wrong(field=w.partition(":")[0], detail=w) for w in wrong])
    return {"status": "ready"}


@plain.get("/metrics", response_class=PlainTextResponse)
def metrics(parts: P) -> Response:
    """Measures for Prometheus. They name no owner and no sweep."""
    return Response(parts.measures.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


# --- putting it together ---------------------------------------------------------------------------------------------


def build(settings: Settings, loopback: bool = True, cluster: Cluster | None = None) -> FastAPI:
    """Return the application. Raises BadInput if its database is missing or has another schema.

    loopback: whether it listens to this machine alone; without any token nobody else is let in.
    """
    store = Store(settings.database)
    schema.check(store)
    cluster = cluster or cluster_of(settings)
    holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    queue = Queue(store, cluster, settings, time.time, holder)
    access = Access(store, RateLimit(settings.requests_per_minute), loopback)
    tenants = cluster.tenants if isinstance(cluster, LocalCluster) else None
    sweeps = Sweeps(Home.at(str(settings.home)), settings.mlflow_url, tenants)
    parts = Parts(settings, store, cluster, queue, sweeps, access, Measures(store), Slots(settings.streams_per_owner))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        thread = threading.Thread(target=queue.run, name="queue", daemon=True)
        thread.start()
        yield
        queue.close()

    app = FastAPIOffline(
        title="Espalier",
        version=version("espalier"),
        summary="Learning-rate sweeps on a cluster: handed in, watched, stopped, resumed, pulled.",
        lifespan=lifespan,
    )
    app.state.parts, app.state.access = parts, access
    problems.install(app)
    app.middleware("http")(parts.measures.measure)
    app.include_router(api)
    app.include_router(plain)
    describe(app)
    return app
