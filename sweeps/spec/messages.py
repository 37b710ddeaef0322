"""Messages on a wrong spec: one sentence a field, with what arrived and what would work."""

import re
from collections.abc import Sequence

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from espalier.core.errors import nearest, shown, within
from espalier.sweeps.spec import yaml12
from espalier.sweeps.spec.kinds import NAMED, OWN
from espalier.sweeps.spec.meaning import MEANT
from espalier.sweeps.spec.space import Range, union_members
from espalier.sweeps.spec.values import place

NAMED_MOST = 10  # the most wrong fields named in a message


def messages(error: ValidationError, model: type[BaseModel]) -> str:
    """Return what is wrong with the fields of a model, one sentence each, on one line."""
    fields: dict[str, list[ErrorDetails]] = {}
    for item in error.errors(include_url=False):
        fields.setdefault(".".join(map(str, _path(item))), []).append(item)
    named = [_message(errors, model) for errors in list(fields.values())[:NAMED_MOST]]
    more = [f"and {len(fields) - NAMED_MOST:,} more"] if len(fields) > NAMED_MOST else []
    return "; ".join(named + more)


def _known_keys(path: Sequence[int | str], model: type[BaseModel]) -> list[str]:
    for part in path:
        field = model.model_fields.get(str(part))
        models = [kind for kind in union_members(field.annotation) if hasattr(kind, "model_fields")] if field else []
        if not models:
            return {"decay_points": ["count", "low", "high", "step", "branches"]}.get(
                str(path[-1]), list(Range.model_fields)
            )
        model = models[0]
    return list(model.model_fields)


_TAGS = {"range", "choice", "list", "constant", "plain", "sampled", "points", "auto", NAMED, OWN}


_ALTERNATIVE = re.compile(r"(bool|int|float|str|none|constrained-.*|list\[.*\]|literal\[.*\])$")


def _path(error: ErrorDetails) -> list[int | str]:
    """Return the path to a mistake, up to a field with a union of types."""
    unknown = error["loc"][-1:] if error["type"] == "extra_forbidden" else ()  # a name from the spec
    parts = error["loc"][: len(error["loc"]) - len(unknown)]
    path = [part for part in parts if part not in _TAGS and not str(part).startswith("function-")]
    end = next((i for i, part in enumerate(path) if _ALTERNATIVE.match(str(part))), len(path))
    return [*path[:end], *unknown]


def _message(errors: Sequence[ErrorDetails], model: type[BaseModel]) -> str:
    """Return one sentence on what is wrong with a field, with a part for each type that it may have."""
    error, path = errors[0], _path(errors[0])
    field = place(tuple(path)) if path else ""
    if error["type"] == "extra_forbidden":
        name = str(path[-1])
        return f"{field}: unknown field; {MEANT.get(name.lower()) or nearest(name, _known_keys(path[:-1], model))}"
    if error["type"] == "missing":
        return f"{field}: missing; it is required"
    text = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{field}: {text}" if field else text
    others = dict.fromkeys(str(other["msg"]).removeprefix("Input should be ") for other in errors[1:])
    arrived = error.get("input")
    space = yaml12.missing_space(arrived) if isinstance(arrived, str) else ""
    wanted = ", or ".join([within(text), *others])
    return f"{field or 'spec'}: {wanted}; {shown(arrived)} arrived{f', with {space}' if space else ''}"
