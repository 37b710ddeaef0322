"""A best file for another machine: its references to code are those of the submission, not paths in the cluster."""

from collections.abc import Mapping

from espalier.sweeps.spec.references import map_references
from espalier.sweeps.spec.space import Point


def as_submitted(best: Point, submitted: Point) -> Point:
    """Return the fields of a best file with the submission's own references to code and its task's options.

    >>> best = {"spec": {"task": "/job/a.py:A", "schedule": {"kind": "/job/b.py:B"}}, "params": {}, "program": "plain"}
    >>> as_submitted(best, {"task": "a.py:A", "schedule": "b.py:B"})["spec"]
    {'task': 'a.py:A', 'schedule': {'kind': 'b.py:B'}}
    """
    there, here = _references(best["spec"]), _references(submitted)
    names = dict(zip(there, here, strict=True)) if len(there) == len(here) else {}
    spec = map_references(best["spec"], lambda reference: names.get(reference, reference))
    if "task_options" in submitted:
        spec["task_options"] = submitted["task_options"]
    params = {name: names.get(str(value), value) for name, value in best["params"].items()}
    return dict(best) | {"spec": spec, "params": params, "program": names.get(best["program"], best["program"])}


def _references(spec: Mapping[str, object]) -> list[str]:
    """Return the references to code of a spec, including repeated ones."""
    references: list[str] = []

    def note(reference: str) -> str:
        references.append(reference)
        return reference

    map_references(spec, note)
    return references
