"""The values allowed in specs and best files: those that YAML, JSON, Optuna's storage and Ray all preserve.

These are texts, 64-bit integers, floats, true, false, null, lists, and mappings whose keys are texts.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from pydantic import BaseModel

from espalier.core.arguments import a_noun, plain
from espalier.core.errors import BadInput, brief, shown

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
"""A value that JSON has."""
Fields = dict[str, Any]
"""The fields of a spec or a best file as they were written, right or wrong."""
Location = tuple[str | int, ...]
"""The fields and places in lists that lead to a value."""
VALUES = 20_000  # values in a spec, with aliases expanded
DEPTH = 40  # levels of lists and mappings
WHOLE = "whole"  # the context in which a spec is written with its secrets
_HALVES = re.compile("[\ud800-\udfff]")
_LEAST, _MOST = -(2**63), 2**64 - 1


def check_values(fields: object, source: str, most: int | None = VALUES, depth: int = DEPTH) -> None:
    """Raise BadInput for the first value that JSON or a database cannot store, or that exceeds a limit.

    most: the most values; None for no limit. depth: the most levels of lists and mappings.
    """
    waiting: list[tuple[object, Location]] = [(fields, ())]
    seen = 0
    while waiting:
        value, path = waiting.pop()
        value = plain(value)
        seen += 1
        if most is not None and seen > most:
            raise BadInput(f"{source}: more than {most:,} values; a spec is shorter")
        if len(path) > depth:
            raise BadInput(f"{source}: {place(path[:3])}: more than {depth} levels of lists and mappings")
        if why := _unfit(value):
            raise BadInput(f"{source}: {place(path)}: {why}")
        if isinstance(value, Mapping):
            for key in value:
                if why := _unfit(key) if isinstance(key, str) else f"the key {shown(key)} is no text; put it in quotes":
                    raise BadInput(f"{source}: {place(path)}: {why}")
            waiting += [(inner, (*path, key)) for key, inner in list(value.items())[::-1]]
        elif isinstance(value, list | tuple):
            waiting += [(inner, (*path, i)) for i, inner in list(enumerate(value))[::-1]]


def as_stored(value: object, depth: int = DEPTH) -> object:
    """Return a value as it is after storage: lists for tuples, only plain types.

    Raises ValueError for one that is too deep, such as a recursive one.

    >>> as_stored({"a": [1, (2, ())], "b": range(3)})
    {'a': [1, [2, []]], 'b': [0, 1, 2]}
    """
    value = plain(value)
    if depth < 0:
        raise ValueError(f"more than {DEPTH} levels of lists and mappings")
    if isinstance(value, Mapping):
        return {str(key): as_stored(inner, depth - 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [as_stored(inner, depth - 1) for inner in value]
    kind = next((kind for kind in (bool, int, float, str) if isinstance(value, kind)), None)
    return kind(value) if kind and type(value) is not kind else value  # pyright: ignore[reportArgumentType]


def unique_fields(pairs: list[tuple[str, Any]]) -> Fields:
    """Return the fields of a JSON object; an object_pairs_hook. Raises ValueError for a duplicate key.

    >>> unique_fields([("a", 1), ("b", 2)])
    {'a': 1, 'b': 2}
    """
    fields = dict(pairs)
    if len(fields) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise ValueError(f"the key '{brief(twice)}' stands twice")
    return fields


def place(path: Location) -> str:
    """Return the path to a value as a text, such as `space.lr`.

    >>> place(("space", "hidden", 0))
    'space.hidden.0'
    """
    return ".".join(brief(part, 40) for part in path[:12]) or "spec"


def _unfit(value: object) -> str:
    """Return why a value cannot be stored; "" if it can."""
    if isinstance(value, str):
        if "\0" in value:
            return f"{shown(value)} holds the character U+0000, which no database keeps; leave it out"
        if _HALVES.search(value):
            return f"{shown(value)} holds half a character (U+D800 ... U+DFFF), which is no text; leave it out"
        return ""
    if isinstance(value, bool | float | Mapping | list | tuple | BaseModel | None):
        return ""
    if isinstance(value, int):
        return "" if _LEAST <= value <= _MOST else f"{shown(value)} has more than 64 bits; write it as a text"
    if isinstance(value, set | frozenset):
        return "a set, which has no order; write a list"
    if isinstance(value, type):
        return f"the class {value.__name__}; write where it is, as file.py:{value.__name__}"
    return f"{a_noun(type(value).__name__)}; write a text, a number, true, false, null, a list or a mapping"
