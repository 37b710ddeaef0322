"""The body of a submission: a spec as JSON or YAML, or a form with a spec, an archive of code and hours."""

import math
from dataclasses import dataclass

import anyio
from fastapi import Request
from starlette.datastructures import FormData
from starlette.datastructures import UploadFile as Uploaded
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Message

from espalier.core.errors import BadInput, nearest
from espalier.services.http.problems import Problem
from espalier.services.settings import Settings
from espalier.services.submissions import MoreToTrain, Points

EXAMPLE = {
    "name": "names",
    "task": "espalier.core.tasks.names:Names",
    "budget": {"steps": 1000, "batch_size": 32},
    "trials": 16,
    "space": {"lr_exponent": {"low": -2.0, "high": 0.0}, "decay_points": {"count": 1, "low": 0.4, "high": 0.9}},
}
KINDS = {"application/json": "json", "application/yaml": "yaml", "application/x-yaml": "yaml", "text/yaml": "yaml"}
FORM = ", or, to hand in code, multipart/form-data"
FIELDS = ("spec", "archive", "hours")
SPEC_SCHEMA = {"$ref": "#/components/schemas/SweepSpec"}


@dataclass(frozen=True)
class SubmissionBody:
    """The content of a request: the text of a spec and its kind (json or yaml), an archive of code, unparsed hours."""

    spec: bytes
    kind: str
    archive: bytes | None = None
    hours: str | None = None


async def _multipart(request: Request, settings: Settings) -> SubmissionBody:
    try:
        form = await request.form(max_files=2, max_fields=4, max_part_size=int(settings.spec_kib * 1024))
    except ClientDisconnect as error:
        raise Problem(400, "the body broke off") from error
    except HTTPException as error:
        raise Problem(422, f"the form cannot be read: {error.detail}") from error
    except (ValueError, LookupError, AttributeError, TypeError) as error:  # an unknown charset, a bad header of a part
        raise Problem(422, f"the form cannot be read: {type(error).__name__}") from error
    try:
        return await _read_form(form)
    finally:
        await form.close()


async def _read_form(form: FormData) -> SubmissionBody:
    for name in form:
        if name not in FIELDS:
            raise BadInput(f"{name[:64]!r}: unknown field; {nearest(name[:64], FIELDS)}")
    spec, archive, hours = form.get("spec"), form.get("archive"), form.get("hours")
    kind = "json" if isinstance(spec, Uploaded) and "json" in (spec.content_type or "") else "yaml"
    if spec is None:
        raise BadInput("spec: missing; a form has the parts spec, archive and hours")
    if archive is not None and not isinstance(archive, Uploaded):
        raise BadInput("archive: a file is needed, a zip of the code")
    text = await spec.read() if isinstance(spec, Uploaded) else str(spec).encode("utf-8", "replace")
    packed = await archive.read() if isinstance(archive, Uploaded) else None
    return SubmissionBody(text, kind, packed, hours if isinstance(hours, str) else None)


def bounded(request: Request, most: int, settings: Settings) -> Request:
    """Return a request whose body is limited in size and time. Raises Problem 408, 411, 413, 415.

    The caller is authenticated already. The headers are checked before the body is read.
    """
    length = request.headers.get("content-length", "")
    if not (length.isascii() and length.isdigit()) or "transfer-encoding" in request.headers:
        raise Problem(411, "Content-Length: missing; say how long the body is, and send it whole")
    if len(length) > 18 or int(length) > most:
        raise Problem(413, f"the body has {length[:18]} bytes; at most {most} are taken")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Problem(415, "Content-Encoding: send the body as it is, not packed")
    left, end = most, anyio.current_time() + settings.body_s

    async def receive() -> Message:
        nonlocal left
        try:
            with anyio.fail_after(min(settings.piece_s, end - anyio.current_time())):
                message = await request.receive()
        except TimeoutError as error:
            raise Problem(408, "the body did not arrive in time", headers={"Connection": "close"}) from error
        left -= len(message.get("body", b""))
        if left < 0:
            raise Problem(413, f"the body is longer than its head says; at most {most} bytes are taken")
        return message

    return Request(request.scope, receive)


async def text_of(request: Request) -> bytes:
    """Return a complete body. Raises Problem if the connection breaks."""
    try:
        return await request.body()
    except ClientDisconnect as error:
        raise Problem(400, "the body broke off") from error


async def read_body(request: Request, settings: Settings) -> SubmissionBody:
    """Return the content of a submission. Raises Problem."""
    kind = _kind(request)
    if kind == "multipart/form-data":
        most = int((settings.archive_mib * 2**20) + settings.spec_kib * 1024 + 65_536)
        return await _multipart(bounded(request, most, settings), settings)
    return await read_spec_body(request, settings)


async def read_spec_body(request: Request, settings: Settings) -> SubmissionBody:
    """Return the content of a request that consists of a spec only. Raises Problem."""
    kind = _kind(request)
    if kind not in KINDS:
        raise Problem(415, f"Content-Type: '{kind[:100]}'; send application/yaml, application/json{FORM}")
    text = await text_of(bounded(request, int(settings.spec_kib * 1024) + 65_536, settings))
    return SubmissionBody(text, KINDS[kind])


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def hours_of(text: str | None) -> float | None:
    """Parse a number of hours above 0; None for an empty text. Raises BadInput."""
    if text is None or text == "":
        return None
    try:
        hours = float(text)
    except ValueError:
        hours = float("nan")
    if not 0 < hours < math.inf:  # the limit of the service is named by `submission_of`
        raise BadInput(f"hours: '{text}'; give a number of hours above 0")
    return hours


BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": SPEC_SCHEMA, "example": EXAMPLE},
            "application/yaml": {"schema": SPEC_SCHEMA, "example": EXAMPLE},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["spec"],
                    "properties": {
                        "spec": SPEC_SCHEMA,
                        "archive": {"type": "string", "format": "binary", "description": "a zip of the task's code"},
                        "hours": {"type": "string", "description": "how long it may run"},
                    },
                },
                "encoding": {"spec": {"contentType": "application/json"}},
                "example": {"spec": EXAMPLE, "hours": "2"},
            },
        },
    }
}
POINTS = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": Points.model_json_schema(),
                "example": {"points": [{"lr_exponent": -1.0}]},
            }
        },
    }
}
MORE = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": MoreToTrain.model_json_schema(), "example": {"trials": 8}}},
    }
}
CHECKED = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": SPEC_SCHEMA, "example": EXAMPLE}}}
}
