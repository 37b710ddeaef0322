"""The routes of reports: a sweep's report as it is now, and what was recorded of the training of its trials."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field

from espalier.core.errors import BadInput
from espalier.services.database.tables import Submission
from espalier.services.http.access import Reader
from espalier.services.http.backend import Backend, BackendDep, Id, own_sweep
from espalier.services.http.headers import OF_REPORT
from espalier.services.http.problems import Problem, responses
from espalier.services.reading.reports import Busy, Drawn
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
Known = Annotated[str | None, Header(alias="If-None-Match", description="the ETag of the answer before", max_length=80)]


@api.get("/me", responses=responses(401, 429))
def me(caller: Reader) -> Me:
    """Say who the token's owner is, and what they may do."""
    return Me(owner=caller.owner, role=caller.role)


@api.get("/sweeps/{sweep}/report", response_class=HTMLResponse, responses=PROBLEMS | HTML)
def report(sweep: Id, request: Request, backend: BackendDep, caller: Reader, known: Known = None) -> Response:
    """Show the report of a sweep, of a running one as far as it is known. Of one that goes on it is seconds old."""
    server = str(request.base_url).rstrip("/")
    drawn = _made(backend, caller, sweep, lambda submission: backend.reports.page(submission, server))
    tag = f'"{drawn.tag}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Accept-Encoding", **OF_REPORT}
    if known == tag:
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


def _made(backend: Backend, caller: Caller, sweep: str, make: Callable[[Submission], Drawn]) -> Drawn:
    submission = own_sweep(backend, caller, sweep)
    if not backend.sweeps.begun(sweep, submission.owner):
        raise Problem(409, f"{sweep} has not begun; it is {submission.state}")
    try:
        with backend.slots.taken(caller.owner):
            return make(submission)
    except (Busy, BadInput) as error:
        raise Problem(503, str(error), headers={"Retry-After": RETRY_S}) from error
