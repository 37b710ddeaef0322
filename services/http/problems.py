"""Errors as RFC 9457 problems: what arrived, and what would work."""

import logging
from collections.abc import Sequence
from functools import singledispatch
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.routing import Match

from espalier.core.errors import BadInput, within
from espalier.services.clusters.cluster import Unreachable
from espalier.services.quota import Quota

MEDIA = "application/problem+json"
TEXT_MOST = 4000  # characters
log = logging.getLogger(__name__)
TITLES = {
    400: "bad request",
    401: "no valid token",
    403: "not allowed",
    404: "not found",
    405: "no such method here",
    406: "not acceptable",
    408: "too slow",
    409: "not now",
    411: "length needed",
    413: "too large",
    415: "unknown kind of content",
    422: "input that cannot be used",
    429: "too many requests",
    500: "a fault of the service",
    503: "not ready",
}


class Wrong(BaseModel):
    """One field of the input and what is wrong with it."""

    field: str
    detail: str


class ProblemDocument(BaseModel):
    """An error in the format of RFC 9457."""

    type: str = Field("about:blank", examples=["about:blank"])
    title: str = Field(examples=["input that cannot be used"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["spec: trials: input should be greater than or equal to 1; 0 arrived"])
    errors: list[Wrong] = Field([], description="the fields that are wrong, one by one")


class Problem(Exception):
    """An error that a route raises as its answer."""

    def __init__(self, status: int, detail: str, errors: Sequence[Wrong] = (), headers: dict[str, str] | None = None):
        super().__init__(detail)
        self.status, self.detail, self.errors, self.headers = status, detail, list(errors), headers


def from_bad_input(error: BadInput) -> Problem:
    """Return bad input, `source: field: what; field: what`, as a problem with an error for each field."""
    text = str(error)
    source, _, rest = text.partition(": ")
    errors = []
    for part in rest.split("; ") if source == "spec" else []:
        field, colon, detail = part.partition(": ")
        named = colon and " " not in field and not part.startswith("'")
        if named:
            errors.append(Wrong(field=field, detail=detail))
        elif errors:
            errors[-1].detail += f"; {part}"
    if not errors and " " not in source:
        errors = [Wrong(field=source, detail=rest or text)]
    return Problem(413 if "are taken" in text else 422, text, errors)


def answer(problem: Problem) -> JSONResponse:
    """Return the response of a problem."""
    title = TITLES.get(problem.status, "error")
    errors = [Wrong(field=_encodable(wrong.field), detail=_encodable(wrong.detail)) for wrong in problem.errors]
    document = ProblemDocument(title=title, status=problem.status, detail=_encodable(problem.detail), errors=errors)  # pyright: ignore[reportCallIssue]
    return JSONResponse(document.model_dump(), problem.status, problem.headers, MEDIA)


def _encodable(text: str) -> str:
    """Return a text that can be encoded: a lone surrogate, echoed from the input, cannot."""
    return text[:TEXT_MOST].encode("utf-8", "replace").decode()


def responses(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Return the problems of a route, for its OpenAPI entry."""
    schema = {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}
    return {code: {"description": TITLES[code], "content": {MEDIA: schema}} for code in codes}


def _place(loc: Sequence[object]) -> str:
    """Return the location of a value: its field, or the part of the request."""
    return ".".join(str(part) for part in loc[1:]) or str(loc[0])


def _methods(request: Request) -> set[str]:
    """Return the allowed methods of a path, over all its routes."""
    methods: set[str] = set()
    for route in request.app.routes:
        if route.matches(request.scope)[0] != Match.NONE:
            methods |= set(getattr(route, "methods", None) or ())
    return methods


@singledispatch
def problem_of(error: Exception, request: Request) -> Problem:
    """Return an error as a problem; an unexpected one with its type only, since the log has the rest."""
    return Problem(500, f"{type(error).__name__}; the service's log has more")


@problem_of.register
def _(error: Problem, request: Request) -> Problem:
    return error


@problem_of.register
def _(error: BadInput, request: Request) -> Problem:
    return from_bad_input(error)


@problem_of.register
def _(error: Quota, request: Request) -> Problem:
    return Problem(403, f"quota: {error}", [Wrong(field=str(error).split(":")[0], detail=str(error))])


@problem_of.register
def _(error: Unreachable, request: Request) -> Problem:
    return Problem(503, str(error), headers={"Retry-After": "5"})


@problem_of.register
def _(error: OperationalError | InterfaceError | PoolTimeout, request: Request) -> Problem:
    log.warning("the database does not answer: %s", type(error).__name__)
    return Problem(503, "the database does not answer", headers={"Retry-After": "5"})


@problem_of.register
def _(error: HTTPException, request: Request) -> Problem:
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(sorted(_methods(request)))
    return Problem(error.status_code, str(error.detail), headers=headers or None)


@problem_of.register
def _(error: RequestValidationError, request: Request) -> Problem:
    wrong = [Wrong(field=_place(item["loc"]), detail=within(item["msg"])) for item in error.errors()]
    return Problem(422, "; ".join(f"{w.field}: {w.detail}" for w in wrong), wrong)


def install(app: FastAPI) -> None:
    """Install handlers that answer every error of the application as a problem."""

    async def handle(request: Request, error: Exception) -> JSONResponse:
        return answer(problem_of(error, request))

    for kind in problem_of.registry:
        app.add_exception_handler(Exception if kind is object else kind, handle)
