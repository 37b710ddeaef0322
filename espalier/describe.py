"""How a sweep is described in Python: by a file, a dictionary, a spec, or a Task class or object."""

import inspect
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from espalier.core.errors import BadInput, brief
from espalier.sweeps.home import Home
from espalier.sweeps.spec.overrides import merged
from espalier.sweeps.spec.spec import SweepSpec, make_spec
from espalier.sweeps.spec.values import Fields

Spec = str | PathLike[str] | Mapping[str, object] | SweepSpec | type | object
"""What describes a sweep: a YAML file, the name of a ready sweep, a dictionary, a SweepSpec, a Task class or object."""

TASKS = "tasks"  # in a home: the tasks that were defined in a notebook or a script, each in a folder of its own


def describe(spec: Spec, task: type | object | str | None, fields: Mapping[str, object], home: Home) -> SweepSpec:
    """Make a spec of whatever describes it, with other fields. Raises BadInput."""
    from espalier.sweeps.spec import paths

    if isinstance(spec, SweepSpec) and task is None and not fields:
        return spec
    folder, source = Path.cwd(), "spec"
    if isinstance(spec, SweepSpec):
        written: Any = spec.model_dump(mode="json", exclude_unset=True)
    elif isinstance(spec, Mapping):
        written = dict(spec)
    elif isinstance(spec, str | PathLike):
        from espalier.sweeps.spec.spec import read_fields

        written, source, folder = read_fields(str(spec))
    else:
        written, task = {}, spec if task is None else task
    if not isinstance(written, dict):
        return make_spec(written, source)
    written = merged(written, fields)
    task = written.get("task") if task is None else task
    if task is not None and not isinstance(task, str):
        written |= _task_fields(task, written, home)
    elif task is not None:
        written["task"] = task
    return make_spec(paths.found_files(written, folder), source)


def _task_fields(task: type | object, fields: Fields, home: Home) -> Fields:
    """Return the fields that name a Task class or object: its reference, its options, and a name where none stands."""
    from espalier.core.loading.capture import capture, is_importable
    from espalier.core.loading.references import reference_of
    from espalier.core.task import made_with

    kind = task if inspect.isclass(task) else type(task)
    if lacking := [method for method in ("model", "loss", "data") if not callable(getattr(kind, method, None))]:
        raise BadInput(
            f"spec: {brief(repr(task), 60)} has no {lacking[0]}(); a sweep is described by a YAML file, the name of a "
            "ready sweep, a dictionary, a SweepSpec, or a Task class or object with model(), loss() and data()"
        )
    options = {} if inspect.isclass(task) else made_with(task)
    if is_importable(kind):
        reference = reference_of(kind)
    else:
        reference = f"{capture(kind).write(home.path / TASKS)}:{kind.__name__}"
    described: Fields = {"task": reference}
    if options:
        described["task_options"] = options | dict(fields.get("task_options") or {})
    if "name" not in fields:
        described["name"] = _name_of(kind)
    return described


def _name_of(kind: type) -> str:
    """Return a sweep's name after its task.

    >>> _name_of(type("MyTask", (), {}))
    'my-task'
    """
    from espalier.core.loading.capture import file_name

    return file_name(kind.__name__).replace("_", "-").strip("-") or "sweep"
