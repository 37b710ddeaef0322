"""Validate a submission without running any of its code."""

import hashlib
import json
import math
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from espalier.core.errors import BadInput, within
from espalier.services.database.tables import State, Submission
from espalier.services.settings import Settings
from espalier.sweeps.code import archive as archives
from espalier.sweeps.home import SWEEP_ID, new_id
from espalier.sweeps.search.extension import More
from espalier.sweeps.spec.first import TOP_MOST
from espalier.sweeps.spec.spec import SweepSpec, make_spec, whole_fields
from espalier.sweeps.spec.values import Fields, unique_fields
from espalier.sweeps.spec.yaml12 import read as parse_yaml

DEPTH = 40  # the most nested levels of a spec
MOST = 2**31 - 1  # the most trials and GPUs, a limit of the columns


def read_spec(text: bytes, kind: str, settings: Settings) -> tuple[Fields, SweepSpec]:
    """Parse a spec; return its fields as sent, and the spec. kind: json or yaml. Raises BadInput."""
    return checked_fields(_parsed(text, kind, settings, "spec"))


def _parsed(text: bytes, kind: str, settings: Settings, what: str) -> Any:
    if len(text) > settings.spec_kib * 1024:
        raise BadInput(f"{what}: {len(text) / 1024:.0f} KiB; at most {settings.spec_kib:g} KiB are taken")
    try:
        decoded = text.decode("utf-8")
        return _json(decoded) if kind == "json" else parse_yaml(decoded, what)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{what}: not valid {kind.upper()}: {' '.join(str(error).split())[:200]}") from error


class Points(BaseModel):
    """Points for a sweep, and another sweep whose best points are added after them."""

    model_config = ConfigDict(extra="forbid")

    points: list[dict[str, Any]] = Field([], description="each as in a spec; what one leaves out the sampler proposes")
    other: str | None = Field(None, alias="from", pattern=f"^{SWEEP_ID}$", description="a sweep with more of them")
    top: int = Field(1, ge=1, le=TOP_MOST, description="how many of its best points")


class MoreToTrain(BaseModel):
    """How much more a sweep is to train: one of these, in the unit of its budget."""

    model_config = ConfigDict(extra="forbid", strict=True)

    trials: int | None = Field(None, gt=0, le=MOST)
    trainings: float | None = Field(None, gt=0, le=MOST)
    hours: float | None = Field(None, gt=0, le=MOST)
    gpu_hours: float | None = Field(None, gt=0, le=MOST)


def read_more(text: bytes, kind: str, settings: Settings) -> More:
    """Parse how much more a sweep is to train. kind: json or yaml. Raises BadInput."""
    return More(**_model(MoreToTrain, _parsed(text, kind, settings, "extend"), "extend").model_dump())


def read_points(text: bytes, kind: str, settings: Settings) -> Points:
    """Parse points for a sweep. kind: json or yaml. Raises BadInput."""
    return _model(Points, _parsed(text, kind, settings, "points"), "points")


M = TypeVar("M", bound=BaseModel)


def _model(model: type[M], fields: Any, what: str) -> M:
    _check_values(fields, what)
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        wrong = error.errors()[0]
        raise BadInput(f"{'.'.join(map(str, wrong['loc'])) or what}: {within(wrong['msg'])}") from error


def _json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=unique_fields, parse_constant=_no_number)


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number of JSON")


def _check_values(fields: object, what: str = "spec") -> None:
    """Raise BadInput for the first value that cannot be stored in a database or sent in an answer."""
    waiting: list[tuple[str, int, object]] = [("", 0, fields)]
    while waiting:
        place, depth, value = waiting.pop()
        if wrong := _wrong(value, depth):
            raise BadInput(f"{what}: {place[1:201] or what}: {wrong}")
        if isinstance(value, Mapping):
            waiting += [(place, depth, str(key)) for key in value]
            waiting += [(f"{place}.{_printed(key)}", depth + 1, inner) for key, inner in value.items()]
        elif isinstance(value, list | tuple):
            waiting += [(f"{place}.{number}", depth + 1, inner) for number, inner in enumerate(value)]


def _wrong(value: object, depth: int) -> str:
    """Return what is wrong with a value; "" if it is valid."""
    if depth > DEPTH:
        return f"more than {DEPTH} levels; a spec is flatter"
    if isinstance(value, int) and abs(value) >= 2**63:
        return f"a number of {value.bit_length()} bits arrived; whole numbers have at most 63"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value} arrived; a number is finite"
    if isinstance(value, str) and any(c == "\0" or "\ud800" <= c <= "\udfff" for c in value):
        return "a text holds half of a character, or a NUL; write the character"
    return ""


def _printed(key: object) -> str:
    return str(key).encode("utf-8", "replace").decode()[:64]


def checked_fields(fields: Any) -> tuple[Fields, SweepSpec]:
    """Validate the fields of a spec; return them and the spec. Raises BadInput."""
    _check_values(fields)
    spec = make_spec(fields)
    _check_schema(fields)
    if spec.tracking_uri is not None:
        raise BadInput("spec: tracking_uri: the service records all sweeps in one place; leave it out")
    if not all(isinstance(key, str) for key in fields):
        raise BadInput("spec: a spec's fields have names")
    return json.loads(json.dumps(whole_fields(spec, exclude_unset=True))), spec


@lru_cache(maxsize=1)
def _schema() -> Draft202012Validator:
    return Draft202012Validator(SweepSpec.model_json_schema())


def _check_schema(fields: Fields) -> None:
    """Raise BadInput for values that the JSON Schema refuses but pydantic would convert, such as true for a number."""
    if wrong := best_match(_schema().iter_errors(fields)):
        place = ".".join(str(part) for part in wrong.absolute_path) or "spec"
        raise BadInput(f"spec: {place}: {wrong.message[:200]}")


def gpus_at_once(spec: SweepSpec, settings: Settings) -> float:
    """Return how many GPUs a running sweep counts for."""
    wanted = spec.resources
    if wanted.gpus == "auto":
        return settings.gpus_of_auto
    return wanted.gpus * (1 if wanted.cohorts == "auto" else wanted.cohorts)


def submission_of(
    owner: str,
    fields: Fields,
    spec: SweepSpec,
    archive: bytes | None,
    hours: float | None,
    key: str | None,
    settings: Settings,
) -> Submission:
    """Return a validated submission for the queue. Raises BadInput."""
    if archive is not None:
        archives.check(archive, settings.archive_mib, settings.unpacked_mib)
    if hours is not None and hours > settings.hours:
        raise BadInput(f"hours: {hours:g}; a sweep may run for {settings.hours:g} hours here")
    gpus = gpus_at_once(spec, settings)
    if spec.trials_wanted > MOST or not gpus <= MOST:
        raise BadInput(f"spec: {spec.trials_wanted} trials on {gpus:g} GPUs; at most {MOST:,} of each are counted")
    now = time.time()
    text = json.dumps([fields, hours, hashlib.sha256(archive or b"").hexdigest()], sort_keys=True)
    return Submission(
        sweep=new_id(spec.name, 4),
        owner=owner,
        name=spec.name,
        spec=fields,
        archive=archive,
        idempotency_key=key,
        fingerprint=hashlib.sha256(text.encode()).hexdigest(),
        state=str(State.QUEUED),
        reason="",
        trials=spec.trials_wanted,
        gpus=gpus,
        hours=hours or settings.hours,
        attempt=0,
        created=now,
        changed=now,
        ran_s=0.0,
    )
