"""The fingerprint of a class: a hash of its source files."""

import hashlib
import inspect
import os
import sys
from pathlib import Path

from espalier.core.loading.dependencies import sources_of
from espalier.core.loading.references import modules_asked


def fingerprint(task: type) -> str:
    """Return a hash of a class's source files: its own, and those of the same author that it imports.

    Libraries, and this program outside its ready tasks, count by version.
    Imports by a name computed at run time and files read as data do not count.
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
