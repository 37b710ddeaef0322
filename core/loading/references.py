"""References to classes, as a spec writes them: `pkg.mod:Name`, `path/file.py:Name`, or a ready task's short name."""

import inspect
import os
from types import FunctionType, ModuleType

from espalier.core import own
from espalier.core.errors import BadInput, as_bad_input, nearest
from espalier.core.loading.ready import READY
from espalier.core.loading.scopes import import_source
from espalier.core.loading.script import ScriptEnded

modules_asked: dict[type, ModuleType] = {}
"""By class, the module that a reference to it named, which may not be the one in which it is defined."""


def split_reference(reference: str) -> tuple[str, str]:
    """Return the file or module of a reference, and the class after its last colon; "" for a part that is missing.

    >>> split_reference("pkg.mod:Name"), split_reference("a:b/file.py:Name"), split_reference("a:b/file.py")
    (('pkg.mod', 'Name'), ('a:b/file.py', 'Name'), ('a:b/file.py', ''))
    >>> split_reference("names")
    ('espalier.core.tasks.names', 'Names')
    """
    if reference in READY:
        source, _, name = READY[reference].partition(":")
        return f"{own.NAME}.{source}", name
    source, _, name = reference.rpartition(":")
    if (not source and not reference.startswith(":")) or os.sep in name or name.endswith(".py"):
        return reference, ""
    return source, name


def reference_of(kind: type | FunctionType) -> str:
    """Return a reference to a class or a function: by its file, or by its module if that is installed.

    >>> from espalier.core.tasks.names import Names
    >>> reference_of(Names)
    'espalier.core.tasks.names:Names'
    """
    file = os.path.realpath(inspect.getfile(kind))
    if kind.__module__.partition(".")[0] == own.NAME or own.is_library(file):
        return f"{kind.__module__}:{kind.__qualname__}"
    return f"{file}:{kind.__qualname__}"


def load_class(reference: str, field: str = "task") -> type:
    """Import the class that `pkg.mod:Name` or `path/file.py:Name` names.

    Raises BadInput that begins with `field`, the field of the spec, if it cannot be imported or is no class.
    """
    source, name = split_reference(reference)
    odd = not name.isidentifier() or (not source.endswith(".py") and (":" in source or os.sep in source))
    if odd or not source:
        wrong = "is no reference to a class" if source and name else "has no class"
        ready = f", or a ready task: {', '.join(READY)}" if field == "task" else ""
        raise BadInput(f"{field}: '{reference}' {wrong}; write 'package.module:Class' or 'path/file.py:Class'{ready}")
    try:
        with as_bad_input(f"{field}: cannot import '{source}'", passing=(FileNotFoundError, ScriptEnded)):
            module = import_source(source)
    except FileNotFoundError as error:
        if error.filename is not None:  # the file exists, but opens another one that does not
            raise BadInput(f"{field}: cannot import '{source}': {type(error).__name__}: {error}") from error
        raise BadInput(f"{field}: no file {source}") from error
    except ScriptEnded as error:
        raise BadInput(
            f"{field}: cannot import '{source}': {error}; put what it runs under `if __name__ == \"__main__\":`"
        ) from error
    with as_bad_input(f"{field}: cannot read the classes of '{source}'"):
        kind = getattr(module, name, None)
        if not inspect.isclass(kind):
            own = [key for key, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
            classes = [key for key in own if inspect.isclass(getattr(module, key))]
            raise BadInput(f"{field}: '{source}' has no class '{name}'; {nearest(name, classes)}")
    modules_asked[kind] = module
    return kind
