"""Overrides of a spec's fields before validation: `--set a.b=value`, and merging of mappings."""

from collections.abc import Mapping, Sequence
from typing import Any

from espalier.core.errors import BadInput, brief
from espalier.sweeps.spec.values import Fields
from espalier.sweeps.spec.yaml12 import read as parse_yaml

_TWINS = {"lr": "lr_exponent", "lr_exponent": "lr"}  # alternative fields: the later one wins


def merged(fields: Mapping[str, object], more: Mapping[str, object]) -> Fields:
    """Return a spec's fields merged with others; mappings are merged recursively.

    >>> merged({"budget": {"steps": 10, "batch_size": 8}, "trials": 4}, {"budget": {"steps": 500}, "trials": 8})
    {'budget': {'steps': 500, 'batch_size': 8}, 'trials': 8}
    """
    out = dict(fields)
    for name, value in more.items():
        below = out.get(name)
        if isinstance(value, Mapping) and name != "task_options" and isinstance(below, Mapping | str):
            below = {"kind": below} if isinstance(below, str) else below
            twins = {_TWINS[key] for key in value if name == "space" and key in _TWINS}
            out[name] = {key: inner for key, inner in below.items() if key not in twins} | dict(value)
        else:
            out[name] = value
    return out


def override(fields: Fields, assignments: Sequence[str]) -> Fields:
    """Apply `a.b=value` assignments (values are YAML) to a spec's fields.

    >>> override({"budget": {"steps": 10}}, ["budget.steps=500", "trials=8"])
    {'budget': {'steps': 500}, 'trials': 8}
    """
    paths = [assignment.partition("=")[0].strip() for assignment in assignments]
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path.strip():
            raise BadInput(f"--set {brief(assignment)}: write FIELD=VALUE, for example --set budget.steps=500")
        *parents, last = path.strip().split(".")
        here = fields
        for parent in parents:
            below = here.get(parent)
            if isinstance(below, str) and parent in ("optimizer", "schedule"):
                below = {"kind": below}
            inner: Fields = dict(below) if isinstance(below, Mapping) else {}
            here[parent] = inner
            here = inner
        here[last] = parse_yaml(text, f"--set {brief(path)}")
        space = fields.get("space")
        if parents[:1] == ["space"] and isinstance(space, dict) and (twin := _TWINS.get([*parents, last][1])):
            space.pop(twin, None)
        if (parents, last) == (["objective"], "metric") and "objective.mode" not in paths:
            here.pop("mode", None)  # it belonged to the former metric
    return fields


def without_search(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a spec without what its search needs, to train a trial by."""
    budget = fields.get("budget")
    whole = dict(budget) if isinstance(budget, Mapping) else {}
    for name in ("trainings", "hours", "gpu_hours", "until"):
        whole.pop(name, None)
    needless = ("first", "from", "learn_from", "acts_later")
    fields = {name: value for name, value in fields.items() if name not in needless}
    return {**fields, "search": {"sampler": "random"}, **({"budget": whole} if "budget" in fields else {})}
