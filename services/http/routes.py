"""The routes below /v1: submit, watch, stop, resume and pull sweeps."""

from collections.abc import Callable
from functools import partial
from typing import Annotated

import anyio
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.orm import undefer

from espalier.core.errors import BadInput
from espalier.services.database.tables import State, Submission
from espalier.services.http import problems
from espalier.services.http.access import Reader, Submitter
from espalier.services.http.backend import Backend, BackendDep, Id, own_sweep, view_of
from espalier.services.http.problems import Problem, responses
from espalier.services.http.request_body import BODY, CHECKED, MORE, POINTS, hours_of, read_body, read_spec_body
from espalier.services.http.streams import LogEvents, Stream, SweepEvents
from espalier.services.queue import position
from espalier.services.reading.answers import Sweep, Trial, trial_view
from espalier.services.reading.best import as_submitted
from espalier.services.reading.trials import curves_of, extended, objective_of, trials_of
from espalier.services.reading.view import sweep_view
from espalier.services.submissions import MOST, read_more, read_points, read_spec, submission_of
from espalier.services.tokens import Caller
from espalier.sweeps.spec import yaml12
from espalier.sweeps.spec.notify import public_fields
from espalier.sweeps.spec.values import Fields

STREAM = {200: {"content": {"text/event-stream": {}, "text/plain": {}}, "description": "server-sent events"}}


class Submitted(BaseModel):
    """An accepted submission."""

    id: str = Field(examples=["names-20261121-1a2b3c4d"])
    state: State
    position: int | None = Field(description="how many sweeps wait before it")
    links: dict[str, str]


class Enqueued(BaseModel):
    """Points that were added to a sweep."""

    id: str = Field(examples=["names-20261121-1a2b3c4d"])
    added: int
    state: State


class Page(BaseModel):
    """A page of sweeps, the newest first; `next` is the link to the following page."""

    sweeps: list[Sweep]
    next: int | None = Field(None, description="the `before` of the next page; null: this is the last")


class Trials(BaseModel):
    """The trials of a sweep."""

    trials: list[Trial]
    total: int


class Point(BaseModel):
    """A trial's report at a step."""

    trial: int
    step: int
    value: float | None


class Curves(BaseModel):
    """The reports of a metric, by trial and step."""

    metric: str
    points: list[Point]


After = Annotated[str | None, Header(alias="Last-Event-ID", description="go on after this event", max_length=20)]

api = APIRouter(prefix="/v1")


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


# --- submitting ------------------------------------------------------------------------------------------------------


BODIES = responses(400, 401, 403, 408, 411, 413, 415, 422, 429)


@api.post("/sweeps", status_code=202, openapi_extra=BODY, responses=BODIES)
async def submit(
    request: Request,
    response: Response,
    backend: BackendDep,
    caller: Submitter,
    hours: Annotated[str | None, Query(description="how long it may run, in hours", max_length=20)] = None,
    key: Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=255)] = None,
) -> Submitted:
    """Submit a sweep. A repeated request with the same Idempotency-Key and content returns the same sweep."""
    body = await read_body(request, backend.settings)

    def admit() -> Submitted:
        fields, spec = read_spec(body.spec, body.kind, backend.settings)
        wanted = hours_of(body.hours or hours)
        submission = submission_of(caller.owner, fields, spec, body.archive, wanted, key, backend.settings)
        admitted, _ = backend.queue.admit(submission)
        view = view_of(backend, own_sweep(backend, caller, admitted.sweep))
        return Submitted(id=view.id, state=view.state, position=view.position, links=view.links)

    submitted = await anyio.to_thread.run_sync(admit)
    response.headers["Location"] = submitted.links["self"]
    return submitted


@api.post("/check", openapi_extra=CHECKED, responses=BODIES)
async def check(request: Request, backend: BackendDep, caller: Submitter) -> Fields:
    """Validate a spec without submitting it."""
    body = await read_spec_body(request, backend.settings)

    def look() -> Fields:
        fields, spec = read_spec(body.spec, body.kind, backend.settings)
        submission = submission_of(caller.owner, fields, spec, None, None, None, backend.settings)
        return {"name": spec.name, "trials": spec.trials, "gpus": submission.gpus, "spec": public_fields(fields)}

    return await anyio.to_thread.run_sync(look)


# --- looking ---------------------------------------------------------------------------------------------------------


@api.get("/sweeps", responses=responses(401, 422, 429))
def sweeps(
    backend: BackendDep,
    caller: Reader,
    state: Annotated[State | None, Query(description="only those in this state")] = None,
    name: Annotated[str | None, Query(description="only those whose spec has this name", max_length=64)] = None,
    like: Annotated[str | None, Query(description="only those whose id has this in it", max_length=64)] = None,
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
    if like is not None:
        query = query.where(Submission.sweep.icontains(like.replace("\0", ""), autoescape=True))
    if state is not None:
        query = query.where(Submission.state == state)
    if before is not None:
        query = query.where(Submission.number < before)
    with backend.store.reading() as session:
        submissions = list(session.scalars(query))
        views = [sweep_view(s, backend.sweeps, position(session, s)) for s in submissions[:limit]]
    return Page(sweeps=views, next=submissions[limit - 1].number if len(submissions) > limit else None)


@api.get("/sweeps/{sweep}", responses=responses(401, 404, 422, 429))
def sweep(sweep: Id, backend: BackendDep, caller: Reader) -> Sweep:
    """Show one sweep: its state, its progress, the best trial so far."""
    return view_of(backend, own_sweep(backend, caller, sweep))


@api.get("/sweeps/{sweep}/trials", responses=responses(401, 404, 422, 429))
def trials(
    sweep: Id,
    backend: BackendDep,
    caller: Reader,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, le=10**6)] = 0,
) -> Trials:
    """List the trials of a sweep, by number."""
    all_trials = trials_of(own_sweep(backend, caller, sweep), backend.sweeps)
    return Trials(trials=[trial_view(t) for t in all_trials[offset : offset + limit]], total=len(all_trials))


@api.get("/sweeps/{sweep}/spec", responses=responses(401, 404, 422, 429))
def spec(sweep: Id, backend: BackendDep, caller: Reader) -> Fields:
    """Show the spec of a sweep, as submitted: of a webhook's address the host alone."""
    return public_fields(own_sweep(backend, caller, sweep).spec)


@api.get("/sweeps/{sweep}/curves", responses=responses(401, 404, 422, 429, 503))
def curves(
    sweep: Id,
    backend: BackendDep,
    caller: Reader,
    metric: Annotated[str | None, Query(description="default: the objective", max_length=200)] = None,
) -> Curves:
    """List every report of a metric, replicates averaged; `train_curve` is the training loss in fine steps."""
    submission = own_sweep(backend, caller, sweep)
    wanted = metric or objective_of(submission)
    try:
        with backend.slots.taken(caller.owner):
            rows = curves_of(submission, backend.sweeps, wanted)
            points = [Point(trial=trial, step=step, value=value) for trial, step, value in rows]
            return Curves(metric=wanted, points=points)
    except BadInput as error:
        raise Problem(404, str(error)) from error


LOGS = responses(401, 404, 422, 429, 503) | STREAM
BEST = {200: {"content": {"application/yaml": {"schema": {"type": "string"}}, "application/json": {}}}}


@api.get("/sweeps/{sweep}/best", response_class=Response, responses=responses(401, 404, 409, 422, 429, 503) | BEST)  # pyright: ignore[reportArgumentType]
def best(
    sweep: Id,
    request: Request,
    backend: BackendDep,
    caller: Reader,
    trial: Annotated[int | None, Query(ge=0, le=10**9, description="another trial than the best")] = None,
) -> Response:
    """Pull the best configuration as a file that `sweep rerun` takes: YAML, or JSON where that is asked for."""
    submission = own_sweep(backend, caller, sweep)
    complete = [t.number for t in backend.sweeps.trials(sweep, owner=submission.owner) if t.state == "complete"]
    if not complete:
        raise Problem(409, f"{sweep} has no complete trial yet; it is {submission.state}")
    if trial is not None and trial not in complete:
        raise Problem(404, f"trial {trial} of {sweep} is not complete; complete are {', '.join(map(str, complete))}")
    try:
        with backend.slots.taken(caller.owner):
            head, _, body = backend.sweeps.best(sweep, submission.owner, trial).partition("\n")
    except BadInput as error:  # not the caller's mistake
        raise Problem(503, str(error), headers={"Retry-After": "10"}) from error
    content = as_submitted(yaml12.read(body, "best file"), submission.spec)
    if "json" in request.headers.get("accept", ""):
        return JSONResponse(content)
    written = yaml12.write(content, flow=None)
    return Response(f"{head}\n{written}", media_type="application/yaml")


@api.get("/sweeps/{sweep}/events", response_class=StreamingResponse, responses=responses(401, 404, 422, 429) | STREAM)
def events(sweep: Id, backend: BackendDep, caller: Reader, after: After = None) -> StreamingResponse:
    """Follow a sweep until it ends: an event for each trial that ends, and for each change of state."""
    submission = own_sweep(backend, caller, sweep)
    view = lambda: view_of(backend, own_sweep(backend, caller, sweep))  # noqa: E731
    look = SweepEvents(backend.sweeps, sweep, submission.owner, view, _after(after)).look
    return _stream(look, backend, caller)


@api.get(
    "/sweeps/{sweep}/logs", response_class=StreamingResponse, responses=responses(401, 404, 422, 429, 503) | STREAM
)
def logs(
    sweep: Id,
    request: Request,
    backend: BackendDep,
    caller: Reader,
    after: After = None,
    last: Annotated[int | None, Query(ge=1, le=2**30, description="so many bytes, the last ones, by a stream")] = None,
) -> Response:
    """Read the driver's log: all of it as text/plain, or followed to its end as text/event-stream.

    With `last` a stream's first event says how many bytes it leaves out. An event's id is how many bytes were read.
    """
    submission = own_sweep(backend, caller, sweep)
    if "text/event-stream" not in request.headers.get("accept", ""):
        with backend.slots.taken(caller.owner):
            return PlainTextResponse(backend.cluster.logs(submission.job))
    start = _after(after)
    left_out = backend.cluster.log_size(submission.job) - last if last and not start else 0
    read = LogEvents(
        lambda start, most: backend.cluster.log_from(submission.job, start, most),
        lambda: State(own_sweep(backend, caller, sweep).state).over,
        max(start, left_out),
        left_out=max(0, left_out),
    )
    return _stream(read.look, backend, caller)


def _stream(look: Callable[[], tuple[list[str], bool]], backend: Backend, caller: Caller) -> Stream:
    ended = partial(backend.access.ended, caller)
    return Stream(look, backend.slots, caller.owner, ended, backend.settings.quiet_s)


# --- changing -------------------------------------------------------------------------------------------------------


@api.post("/sweeps/{sweep}/stop", status_code=202, responses=responses(401, 403, 404, 422, 429))
def stop(sweep: Id, backend: BackendDep, caller: Submitter) -> Sweep:
    """Stop a sweep: it writes checkpoints, from which `resume` continues. Does nothing if it has ended."""
    own_sweep(backend, caller, sweep)
    backend.queue.stop(sweep, f"stopped by {caller.owner}")
    return view_of(backend, own_sweep(backend, caller, sweep))


ENQUEUED = responses(400, 401, 403, 404, 408, 409, 411, 413, 415, 422, 429, 503)


@api.post("/sweeps/{sweep}/enqueue", status_code=202, openapi_extra=POINTS, responses=ENQUEUED)
async def enqueue(sweep: Id, request: Request, backend: BackendDep, caller: Submitter) -> Enqueued:
    """Add points to a sweep that asks for more trials: it takes each when it next asks, or when it is resumed.

    They are among the trials that it was submitted with, so they count towards no quota again.
    """
    submission = await anyio.to_thread.run_sync(own_sweep, backend, caller, sweep)
    body = await read_spec_body(request, backend.settings)

    def add() -> Enqueued:
        if submission.state == State.FINISHED:
            raise Problem(409, f"{sweep} is finished; it asks for no more trials")
        wanted = read_points(body.spec, body.kind, backend.settings)
        if wanted.other and own_sweep(backend, caller, wanted.other).owner != submission.owner:
            raise Problem(409, f"{wanted.other} is another owner's than {sweep}")
        try:
            with backend.slots.taken(caller.owner):
                count = backend.sweeps.enqueue(
                    sweep, submission.owner, wanted.points, wanted.other, wanted.top, submission.extended
                )
        except KeyError as error:
            raise Problem(409, f"{sweep} has not begun; add points once it runs, or have them in its spec") from error
        return Enqueued(id=sweep, added=count, state=State(submission.state))

    return await anyio.to_thread.run_sync(add)


EXTENDED = responses(400, 401, 403, 404, 408, 409, 411, 413, 415, 422, 429)


@api.post("/sweeps/{sweep}/extend", status_code=202, openapi_extra=MORE, responses=EXTENDED)
async def extend(
    sweep: Id,
    request: Request,
    backend: BackendDep,
    caller: Submitter,
    changed: Annotated[bool, Query(description="go on also if the data have changed, and record it")] = False,
) -> Sweep:
    """Give a sweep that has ended more to train than its spec says, in the unit of its budget, and queue it again.

    Its trials so far stay as they are. What is added counts towards the quota of its owner.
    """
    submission = await anyio.to_thread.run_sync(own_sweep, backend, caller, sweep)
    body = await read_spec_body(request, backend.settings)

    def add() -> Sweep:
        if not State(submission.state).over:
            raise Problem(409, f"{sweep} is {submission.state}; extend it once it has ended")
        try:
            with backend.slots.taken(caller.owner):
                record = backend.sweeps.record(sweep, submission.owner)
        except KeyError as error:
            raise Problem(409, f"{sweep} has no trials yet; hand in a larger one") from error
        wanted = extended(submission, record, read_more(body.spec, body.kind, backend.settings))
        if wanted.trials > MOST:
            raise BadInput(f"trials: {wanted.trials:,} in all; at most {MOST:,} are counted")
        if not backend.queue.extend(sweep, wanted.budget, wanted.trials, submission.attempt, changed):
            raise Problem(409, f"{sweep} is being changed by another request; look at it, and ask again")
        return view_of(backend, own_sweep(backend, caller, sweep))

    return await anyio.to_thread.run_sync(add)


@api.post("/sweeps/{sweep}/resume", status_code=202, responses=responses(401, 403, 404, 409, 422, 429))
def resume(
    sweep: Id,
    backend: BackendDep,
    caller: Submitter,
    changed: Annotated[bool, Query(description="go on also if the data have changed, and record it")] = False,
) -> Sweep:
    """Put a stopped or failed sweep back at its old position in the queue; it continues from its checkpoints.

    It runs the submitted code. If its data, or code installed here, have changed since it last ran, it fails and says
    what differs. With `changed` it continues, and each trial has the fingerprints it was trained with.
    """
    submission = own_sweep(backend, caller, sweep)
    if submission.state == State.FINISHED:
        raise Problem(409, f"{sweep} is finished; there is nothing to go on with")
    if submission.state == State.STOPPING:
        raise Problem(409, f"{sweep} is being stopped; wait until it has stopped")
    backend.queue.resume(sweep, changed)
    return view_of(backend, own_sweep(backend, caller, sweep))
