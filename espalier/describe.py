"""How a sweep is described in Python: by a file, a dictionary, a spec, or a Task class or object."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from espalier.core.errors import BadInput
from espalier.sweeps.home import TASKS, Home
from espalier.sweeps.spec.overrides import merged
from espalier.sweeps.spec.spec import SweepSpec, make_spec

Spec = str | PathLike[str] | Mapping[str, object] | SweepSpec | type | object
"""What describes a sweep: a YAML file, the name of a ready sweep, a dictionary, a SweepSpec, a Task class or object."""

DESCRIPTIONS = (
    "a sweep is described by a YAML file, the name of a ready sweep, a dictionary, a SweepSpec, or a Task class or "
    "object with model(), loss() and data()"
)


def describe(spec: Spec, task: type | object | str | None, fields: Mapping[str, object], home: Home) -> SweepSpec:
    """Make a spec of whatever describes it, with other fields. Raises BadInput."""
    from espalier.sweeps.spec import paths
    from espalier.sweeps.spec.classes import with_references

    if isinstance(spec, SweepSpec) and task is None and not fields:
        return spec
    if spec is None and task is None:
        raise BadInput(f"spec: None arrived; {DESCRIPTIONS}")
    folder, source, wanted = Path.cwd(), "spec", ""
    if isinstance(spec, SweepSpec):
        written: Any = spec.model_dump(mode="json", exclude_unset=True)
    elif isinstance(spec, Mapping):
        written = dict(spec)
    elif isinstance(spec, str | PathLike):
        from espalier.sweeps.spec.spec import read_fields

        written, source, folder = read_fields(str(spec))
    else:
        written, task, wanted = {}, spec if task is None else task, DESCRIPTIONS if task is None else ""
    if not isinstance(written, dict):
        return make_spec(written, source)
    written = merged(written, fields) | ({} if task is None else {"task": task})
    return make_spec(paths.found_files(with_references(written, home.path / TASKS, wanted), folder), source)
