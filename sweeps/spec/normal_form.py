"""A spec's fields in one spelling each, so that two specs can be compared by what they mean."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import BaseModel

from espalier.core.loading.references import split_reference
from espalier.core.loading.registry import is_reference
from espalier.core.loading.scopes import present_name
from espalier.core.numbers import Number
from espalier.core.optimizers import OPTIMIZERS
from espalier.core.schedules.registry import SCHEDULES
from espalier.sweeps.spec.first import RESOLVED
from espalier.sweeps.spec.first import is_reference as names_a_sweep
from espalier.sweeps.spec.references import map_references
from espalier.sweeps.spec.spec import SweepSpec
from espalier.sweeps.spec.values import Fields

if TYPE_CHECKING:
    from espalier.sweeps.spec.kinds import NumberedRegistry


def normal_fields(spec: SweepSpec, in_rates: bool = False) -> Fields:
    """Return a spec's fields in normal form: references, paths, rates and choices in one spelling, defaults included.

    in_rates: keep `space.lr`; else convert it to `space.lr_exponent`.
    """
    fields = map_references(spec.model_dump(mode="json"), present_reference)
    space = fields["space"]
    if "lr" in space and not in_rates:
        del space["lr"]
        exponents = spec.space.lr_exponent
        space["lr_exponent"] = exponents.model_dump(mode="json") if isinstance(exponents, BaseModel) else exponents
    own = spec.space.own()
    fields["first"] = [_unresolved(entry, spec) for entry in fields["first"]]
    fields["space"] = {n: _real_paths(_listed(domain)) if n in own else _listed(domain) for n, domain in space.items()}
    fields["task_options"] = _real_paths(fields["task_options"])
    for part, registry in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
        fields[part] = _with_defaults(fields[part], registry, fields["space"])
    return fields


def _unresolved(entry: Fields, spec: SweepSpec) -> Fields:
    """Return a first point without what a sweep found for it when it was made."""
    return {n: v for n, v in entry.items() if n != RESOLVED} if names_a_sweep(entry, spec.space) else entry


def present_reference(reference: str) -> str:
    """Return a reference to a class in full and by its present name, for short and former names.

    >>> present_reference("names"), present_reference("core.tasks.names:Names")
    ('espalier.core.tasks.names:Names', 'espalier.core.tasks.names:Names')
    """
    source, name = split_reference(reference)
    source = os.path.realpath(source) if source.endswith(".py") else present_name(source)
    return f"{source}:{name}" if name else reference


def _listed(domain: object) -> object:
    """Return a choice as the equivalent plain list, any other domain unchanged."""
    return domain["choices"] if isinstance(domain, Mapping) and set(domain) == {"choices"} else domain


def _real_paths(value: object) -> object:
    """Return an option with symbolic links resolved in absolute paths that exist."""
    if isinstance(value, Mapping):
        return {name: _real_paths(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_real_paths(inner) for inner in value]
    return os.path.realpath(value) if isinstance(value, str) and os.path.isabs(value) and _exists(value) else value


def _exists(path: str) -> bool:
    try:
        return os.path.exists(path)
    except ValueError:  # a text that cannot be a path
        return False


def _with_defaults(part: Fields, registry: "NumberedRegistry", space: Fields) -> Fields:
    """Return an optimizer or a schedule with the defaults of its kind's numbers, except searched ones."""
    if is_reference(part["kind"]) or (registry is SCHEDULES and space["schedule"] is not None):
        return dict(part)
    numbers = [number for number in registry[part["kind"]].numbers if isinstance(number, Number)]
    missing = [n for n in numbers if n.name in part and part[n.name] is None and space.get(n.name) is None]
    return dict(part) | {number.name: number.default for number in missing}
