"""The body of a submission: a spec as JSON or YAML, or a form with a spec, an archive of code and hours."""

from fastapi import Request
from starlette.datastructures import FormData
from starlette.datastructures import UploadFile as Uploaded
from starlette.exceptions import HTTPException

from core.errors import BadInput, nearest
from services.problems import Problem
from services.settings import Settings

EXAMPLE = {
    "name": "names",
    "task": "core.tasks.names:Names",
    "budget": {"steps": 1000, "batch_size": 32},
    "trials": 16,
    "space": {"lr_exponent": {"low": -2.0, "high": 0.0}, "decay_points": {"count": 1, "low": 0.4, "high": 0.9}},
}
FIELDS = ("spec", "archive", "hours")
SPEC_SCHEMA = {"$ref": "#/components/schemas/SweepSpec"}


async def _multipart(request: Request, settings: Settings) -> tuple[bytes, str, bytes | None, str | None]:
    try:
        form = await request.form(max_files=2, max_fields=4, max_part_size=int(settings.spec_kib * 1024))
    except HTTPException as error:
        raise Problem(422, f"the form cannot be read: {error.detail}") from error
    try:
        return await _parts(form)
    finally:
        await form.close()


async def _parts(form: FormData) -> tuple[bytes, str, bytes | None, str | None]:
    for name in form:
        if name not in FIELDS:
            raise BadInput(f"{name}: unknown field; {nearest(name, FIELDS)}")
    spec, archive, hours = form.get("spec"), form.get("archive"), form.get("hours")
    kind = "json" if isinstance(spec, Uploaded) and "json" in (spec.content_type or "") else "yaml"
    if spec is None:
        raise BadInput("spec: missing; a form has the parts spec, archive and hours")
    if archive is not None and not isinstance(archive, Uploaded):
        raise BadInput("archive: a file is needed, a zip of the code")
    words = await spec.read() if isinstance(spec, Uploaded) else str(spec).encode()
    packed = await archive.read() if isinstance(archive, Uploaded) else None
    return words, kind, packed, hours if isinstance(hours, str) else None


async def received(request: Request, settings: Settings) -> tuple[bytes, str, bytes | None, str | None]:
    """Return the spec's text, its kind, the archive and the hours of a request. Raises Problem."""
    most = int((settings.archive_mib * 2**20) + settings.spec_kib * 1024 + 65_536)
    length = request.headers.get("content-length", "")
    if not length.isdigit():
        raise Problem(411, "Content-Length: missing; say how long the body is")
    if int(length) > most:
        raise Problem(413, f"the body has {int(length) / 2**20:.1f} MiB; at most {most / 2**20:.1f} are taken")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _multipart(request, settings)
    known = {"application/json": "json", "application/yaml": "yaml", "application/x-yaml": "yaml", "text/yaml": "yaml"}
    if kind not in known:
        raise Problem(415, f"Content-Type: '{kind}'; send application/yaml, application/json or multipart/form-data")
    return await request.body(), known[kind], None, None


def hours_of(text: str | None) -> float | None:
    """Return a number of hours above 0, or None where nothing came. Raises BadInput."""
    if text is None or text == "":
        return None
    try:
        hours = float(text)
    except ValueError:
        hours = float("nan")
    if not 0 < hours < 1e6:
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
CHECKED = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": SPEC_SCHEMA, "example": EXAMPLE}}}
}
