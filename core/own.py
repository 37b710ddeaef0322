"""Where this program's own files are.

In a checkout `espalier/core` is a link to `core`, and `src/espalier` to `espalier`.
"""

import os
import sysconfig
from functools import lru_cache
from pathlib import Path

NAME = __name__.partition(".")[0]  # of the package
FOLDER = Path(__file__).resolve().parents[1]  # holds core, sweeps and services, behind all links
SEARCH_PATH = Path(__file__).parents[2]  # what has to be on Python's search path for `import espalier`
FORMER_NAMES = ("core", "sweeps", "services")  # formerly top-level packages: older files say `core.task`
MOVED = {  # former modules that users' files may name, and where they are now
    "core.activations": "core.measures.activations",
    "core.health": "core.measures.verdicts",
    "core.lanes": "core.rows",
    "core.lr_range": "core.checks.lr_range",
    "core.optim": "core.optimizers",
    "core.program": "core.programs.program",
    "core.ratios": "core.measures.ratios",
    "core.schedule": "core.schedules.for_torch",
    "core.train": "core.training.cohort",
    "core.trial": "core.training.trial",
    "core.watch": "core.training.watch",
    "sweeps.search.samplers": "sweeps.samplers",
}

_FRONT = os.path.realpath(Path(__file__).parents[1] / "__init__.py").removesuffix("__init__.py")  # `espalier` itself
_PARTS = (_FRONT, *(f"{FOLDER / part}{os.sep}" for part in FORMER_NAMES))
_TASKS = f"{FOLDER / 'core' / 'tasks'}{os.sep}"


def present_path(module: str) -> str:
    """Return a module's present path: `espalier.core.training.watch` for the former `core.watch`.

    >>> present_path("core.watch"), present_path("core.tasks.names")
    ('espalier.core.training.watch', 'espalier.core.tasks.names')
    """
    return f"{NAME}.{MOVED.get(module, module)}"


_LIBRARIES = tuple(
    {f"{os.path.realpath(sysconfig.get_path(kind))}{os.sep}" for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
)


@lru_cache(maxsize=4096)
def is_own(file: str) -> bool:
    """Whether a source file belongs to this program, ready tasks excepted."""
    path = os.path.realpath(file)
    return path.startswith(_PARTS) and not path.startswith(_TASKS)


@lru_cache(maxsize=4096)
def is_library(file: str) -> bool:
    """Whether a source file belongs to Python or to an installed package. Links are not followed."""
    return file.startswith(_LIBRARIES) or any(part in ("site-packages", "dist-packages") for part in Path(file).parts)


def is_own_or_library(file: str) -> bool:
    """Whether a source file is not the user's: this program's, Python's, or of an installed package."""
    return file.startswith("<frozen") or is_own(file) or is_library(file)


def python_path(searched: str | None) -> str:
    """Return $PYTHONPATH with this program's folder added at its end, after the user's own entries."""
    installed = any(part in ("site-packages", "dist-packages") for part in SEARCH_PATH.parts)
    return os.pathsep.join(filter(None, [searched, "" if installed else str(SEARCH_PATH)]))
