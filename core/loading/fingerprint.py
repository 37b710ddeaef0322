"""The fingerprint of a class: a hash of the source files that it is made of."""

import hashlib
import inspect
import os
import sys
from pathlib import Path

from espalier.core.loading.dependencies import sources_of
from espalier.core.loading.references import modules_asked


def fingerprint(task: type) -> str:
    """Return a hash of the source files that a class is made of: its own, and those of its author that it imports.

    Libraries, and this program outside its ready tasks, are known by their versions. What is imported under a name
    that is made up while the program runs, and what is read as data, is not seen.
    """
    try:
        first = os.path.realpath(inspect.getfile(task))
        text = Path(first).read_bytes()
    except (OSError, TypeError):
        return "unknown"
    modules = [sys.modules.get(task.__module__), *(modules_asked[c] for c in task.__mro__ if c in modules_asked)]
    imported = sources_of([module for module in modules if module is not None])
    imported.pop(first, None)
    digest = hashlib.sha256(text).hexdigest()
    if imported:
        digest = hashlib.sha256("\n".join([digest, *sorted(imported.values())]).encode()).hexdigest()
    return digest[:16]
