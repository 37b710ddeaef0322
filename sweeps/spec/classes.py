"""Classes in a spec that was written in Python: each is replaced by the reference that a file would have."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from types import FunctionType

from espalier.core.errors import BadInput, shown
from espalier.sweeps.spec.references import KINDS
from espalier.sweeps.spec.values import Fields

TASKS_ARE = "a task is a class or an object with model(), loss() and data(), or a text: file.py:Class"


def with_references(fields: Mapping[str, object], sources: Path | None, wanted: str = "") -> Fields:
    """Return a spec's fields with a reference in place of each class, and of the task's object with its options.

    sources: where the source of a class of a script or a notebook is kept; None: such a class is refused. wanted: what
    describes a sweep, in the message on a task that is none; "" if the task stands in its own field.
    """
    out: Fields = dict(fields)
    for way in ("task", "function"):
        if inspect.isfunction(out.get(way)):
            out |= _function_fields(out.pop(way), out, sources)
    if not isinstance(out.get("task"), str | Path | None):
        out |= _task_fields(out["task"], out, sources, wanted)
    for part, field in KINDS:
        below = out.get(part)
        if isinstance(below, type) and part in ("optimizer", "schedule"):
            out[part] = _reference(below, part, sources)
        elif isinstance(below, Mapping) and isinstance(kind := below.get(field), type):
            out[part] = {**below, field: _reference(kind, f"{part}.{field}", sources)}
    if isinstance(watchers := out.get("watchers"), list | tuple):
        out["watchers"] = _listed(watchers, "watchers", sources)
    if isinstance(space := out.get("space"), Mapping) and "schedule" in space:
        out["space"] = {**space, "schedule": _listed(space["schedule"], "space.schedule", sources)}
    return out


def _listed(value: object, field: str, sources: Path | None) -> object:
    """Return a value, a list or a choice with a reference in place of each class."""
    if isinstance(value, type):
        return _reference(value, field, sources)
    if isinstance(value, list | tuple):
        return [_listed(inner, field, sources) for inner in value]
    if isinstance(value, Mapping) and "choices" in value:
        return {**value, "choices": _listed(value["choices"], field, sources)}
    return value


def _reference(kind: type | FunctionType, field: str, sources: Path | None) -> str:
    """Return a reference to a class or a function; of a script or a notebook it is written into a file first.

    Raises BadInput.
    """
    from espalier.core.loading.capture import capture, is_importable
    from espalier.core.loading.references import reference_of

    if "." in kind.__qualname__:
        raise BadInput(
            f"{field}: {kind.__qualname__} is defined inside another definition, whose variables no file has; "
            "define it at the top level"
        )
    if kind.__module__ == "builtins":
        raise BadInput(f"{field}: the class {kind.__name__} arrived; give a class of your own, or file.py:Class")
    if is_importable(kind):
        return reference_of(kind)
    if sources is None:
        raise BadInput(
            f"{field}: {kind.__name__} is defined in a script or a notebook, of which a spec has no file; "
            "give it to es.sweep, which keeps its source, or write it into a file"
        )
    return f"{capture(kind).write(sources)}:{kind.__name__}"


def _task_fields(task: object, fields: Fields, sources: Path | None, wanted: str) -> Fields:
    """Return the fields that name a Task class or object: its reference, its options, and a name where none stands."""
    from espalier.core.task import recorded_options

    kind = task if isinstance(task, type) else type(task)
    if lacking := [method for method in ("model", "loss", "data") if not callable(getattr(kind, method, None))]:
        field = "spec" if wanted else "task"
        raise BadInput(f"{field}: {shown(task, 60)} has no {lacking[0]}(); {wanted or TASKS_ARE}")
    options = {} if inspect.isclass(task) else recorded_options(task)
    described: Fields = {"task": _reference(kind, "task", sources)}
    if options:
        described["task_options"] = options | dict(fields.get("task_options") or {})
    if "name" not in fields:
        described["name"] = _name_of(kind)
    return described


def _function_fields(function: FunctionType, fields: Fields, sources: Path | None) -> Fields:
    """Return the fields that name a training function, and a name where none stands."""
    described: Fields = {"function": _reference(function, "function", sources)}
    return described if "name" in fields else {**described, "name": _name_of(function)}


def _name_of(kind: type | FunctionType) -> str:
    """Return a sweep's name after its task.

    >>> _name_of(type("MyTask", (), {}))
    'my-task'
    """
    from espalier.core.loading.capture import file_name

    return file_name(kind.__name__).replace("_", "-").strip("-")[:40] or "sweep"
