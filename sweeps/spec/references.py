"""References to user code in a spec: the task, watchers, and every kind that may be file.py:Class."""

from collections.abc import Callable, Mapping

from espalier.core.loading.registry import is_reference
from espalier.sweeps.spec.values import Fields

KINDS = (
    ("optimizer", "kind"),
    ("schedule", "kind"),
    ("search", "sampler"),
    ("stopping", "score"),
    ("resources", "program"),
)
"""Part and field of each kind that may be of one's own. A part that is a text is its kind."""


def map_references(fields: Mapping[str, object], change: Callable[[str], str]) -> Fields:
    """Return a spec's fields, possibly invalid ones, with each reference mapped by `change`.

    >>> fields = {"task": "line", "schedule": {"kind": "a.py:A"}, "space": {"schedule": ["step", "a.py:A"]}}
    >>> map_references(fields, lambda reference: f"/x/{reference}")["space"]
    {'schedule': ['step', '/x/a.py:A']}
    """

    def changed(value: object) -> object:
        if isinstance(value, list | tuple):
            return [changed(inner) for inner in value]
        if isinstance(value, Mapping) and "choices" in value:
            return dict(value) | {"choices": changed(value["choices"])}
        return change(value) if isinstance(value, str) and is_reference(value) else value

    out: Fields = dict(fields)
    for way in ("task", "function"):
        if isinstance(out.get(way), str) and out[way]:
            out[way] = change(out[way])
    if isinstance(out.get("watchers"), list | tuple):
        out["watchers"] = [change(value) if isinstance(value, str) else value for value in out["watchers"]]
    for part, field in KINDS:
        below = out.get(part)
        if isinstance(below, Mapping) and field in below:
            out[part] = dict(below) | {field: changed(below[field])}
        elif part in ("optimizer", "schedule"):
            out |= {part: changed(below)} if isinstance(below, str) else {}
    if isinstance(space := out.get("space"), Mapping) and "schedule" in space:
        out["space"] = dict(space) | {"schedule": changed(space["schedule"])}
    return out


def references(fields: Mapping[str, object]) -> list[str]:
    """Return every reference to code in a spec's fields: the task, the watchers, then user-defined kinds.

    >>> references({"task": "line", "optimizer": "lion.py:Lion", "search": {"sampler": "tpe"}})
    ['line', 'lion.py:Lion']
    """
    seen: dict[str, None] = {}

    def note(reference: str) -> str:
        seen[reference] = None
        return reference

    map_references(fields, note)
    return list(seen)
