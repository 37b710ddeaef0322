"""Words in specs and messages of this room."""

import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any, cast

from espalier.core.foreign.programs import found_program, with_own_programs

SHOWN_MOST = 6  # names in a message


def fitting_name(text: str, otherwise: str = "sweep") -> str:
    """Return a text as a name that a sweep can have.

    >>> fitting_name("My run 3"), fitting_name("3d-net"), fitting_name("...")
    ('My-run-3', 'd-net', 'sweep')
    """
    name = re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-").lstrip("0123456789-_")
    return name[:40].rstrip("-") or otherwise


def listed(names: Sequence[str]) -> str:
    """Return names as a part of a sentence, the later ones counted.

    >>> listed(["a", "b"]), listed([*"abcdefgh"])
    ('a, b', 'a, b, c, d, e, f and 2 more')
    """
    more = len(names) - SHOWN_MOST
    return ", ".join(names[:SHOWN_MOST]) + (f" and {more} more" if more > 0 else "")


def as_mapping(value: object) -> Mapping[str, Any] | None:
    """Return a mapping unchanged, None for any other value."""
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else None


def as_list(value: object) -> list[Any]:
    """Return a list unchanged, any other value as the only item of one."""
    return cast("list[Any]", value) if isinstance(value, list) else [value]


def this_python() -> str:
    """Return the word that starts this Python in a command: python, or its path where that is another."""
    program = found_program("python", with_own_programs(os.environ))
    folder = os.path.realpath(os.path.dirname(sys.executable))
    return "python" if program and os.path.realpath(os.path.dirname(program)) == folder else sys.executable


def origin(reference: str) -> str:
    """Return the command that writes a spec from some code, as a comment has it."""
    return " ".join(f"sweep init --from {shlex.quote(reference)}".split())
