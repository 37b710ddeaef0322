"""The routes of what is made of a sweep: its report as it is now, what was recorded of its training, its export."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, TypeVar

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field

from espalier.core.errors import BadInput
from espalier.services.database.tables import State
from espalier.services.http.access import Reader
from espalier.services.http.backend import Backend, BackendDep, Id, own_sweep
from espalier.services.http.headers import OF_REPORT
from espalier.services.http.problems import Problem, responses
from espalier.services.reading.reports import Busy
from espalier.services.tokens import Caller

RETRY_S = "5"


class Me(BaseModel):
    """The caller of a request."""

    owner: str = Field(examples=["ada"])
    role: str = Field(description="read, submit or admin", examples=["submit"])


class TraceOfTrial(BaseModel):
    """What was recorded of the training of a trial's first replicate."""

    trial: int
    curve: list[tuple[int, float | None]] = Field(description="step, mean training loss over the steps before")
    tensors: list[str] = Field([], description="the tensors whose update ratios are in `ratios`: of the best trial")
    ratios: list[list[float | None]] = Field([], description="the step, then the log10 ratio of each tensor")


class WorkDone(BaseModel):
    """What a sweep has trained, in steps of single trials."""

    trained: int
    shared: int = Field(description="steps that trials took from others")


class Traces(BaseModel):
    """What a report of a sweep shows besides its trials."""

    traces: list[TraceOfTrial]
    work: WorkDone | None = None
    begun: float | None = Field(None, description="seconds since 1970")
    facts: dict[str, str] = Field({}, description="what its best trial was trained with")


api = APIRouter(prefix="/v1")
PROBLEMS = responses(401, 404, 409, 422, 429, 503)
HTML = {
    200: {"content": {"text/html": {"schema": {"type": "string"}}}, "description": "one page that needs no network"},
    304: {"description": "it is still as the ETag of If-None-Match says"},
}
ADDRESS = r"^https?://[A-Za-z0-9.:_~/%\[\]-]+$"
Server = Annotated[
    str | None,
    Query(description="the address that its commands name, as of a proxy", pattern=ADDRESS, max_length=200),
]
Known = Annotated[str | None, Header(alias="If-None-Match", description="the ETag of the answer before", max_length=80)]


@api.get("/me", responses=responses(401, 429))
def me(caller: Reader) -> Me:
    """Say who the token's owner is, and what they may do."""
    return Me(owner=caller.owner, role=caller.role)


@api.get("/sweeps/{sweep}/report", response_class=HTMLResponse, responses=PROBLEMS | HTML)
def report(
    sweep: Id, request: Request, backend: BackendDep, caller: Reader, server: Server = None, known: Known = None
) -> Response:
    """Show the report of a sweep, of a running one as far as it is known. Of one that goes on it is seconds old."""
    address = (server or str(request.base_url)).rstrip("/")
    drawn = _made(backend, caller, sweep, partial(backend.reports.page, server=address))
    tag = f'"{drawn.tag}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Accept-Encoding", **OF_REPORT}
    if (known or "").removeprefix("W/") == tag:  # a proxy that compresses makes a weak one of it
        return Response(status_code=304, headers=headers)
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return HTMLResponse(drawn.text, headers=headers)
    return HTMLResponse(drawn.packed, headers=headers | {"Content-Encoding": "gzip"})


@api.get("/sweeps/{sweep}/traces", responses=PROBLEMS)
def traces(sweep: Id, backend: BackendDep, caller: Reader) -> Traces:
    """Show what was recorded of each trial's training: its loss, the best one's update ratios, and the work of all."""
    drawn = _made(backend, caller, sweep, backend.reports.traces)
    try:
        return Traces.model_validate_json(drawn.text)
    except ValueError as error:
        raise Problem(503, f"the records of {sweep} cannot be read", headers={"Retry-After": RETRY_S}) from error


ZIP = {200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}}


@api.get("/sweeps/{sweep}/export", response_class=Response, responses=PROBLEMS | ZIP)  # pyright: ignore[reportArgumentType]
def export(sweep: Id, backend: BackendDep, caller: Reader) -> Response:
    """Export a sweep that has ended as a zip, which `sweep unpack` opens elsewhere: all but its checkpoints."""
    submission = own_sweep(backend, caller, sweep)
    if not State(submission.state).over:
        raise Problem(409, f"{sweep} is {submission.state}; export it when it has ended, or stop it first")
    named = {"Content-Disposition": f'attachment; filename="{sweep}.zip"'}
    packed = _made(backend, caller, sweep, backend.reports.export)
    return Response(packed, media_type="application/zip", headers=named)


T = TypeVar("T")


def _made(backend: Backend, caller: Caller, sweep: str, make: Callable[..., T]) -> T:
    """Return what is made of a sweep. To make it takes one of the caller's slots; what was kept does not."""
    submission = own_sweep(backend, caller, sweep)
    if not backend.sweeps.begun(sweep, submission.owner):
        raise Problem(409, f"{sweep} has not begun; it is {submission.state}")
    try:
        return make(submission, hold=partial(backend.slots.taken, caller.owner))
    except (Busy, BadInput) as error:
        raise Problem(503, str(error), headers={"Retry-After": RETRY_S}) from error
