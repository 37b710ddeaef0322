"""Which programs a command finds: `python`, `torchrun` and the like of the environment in which the sweep runs."""

import os
import shutil
import sys
from collections.abc import Mapping

PYTHONS = ("python", "python3")
ENVIRONMENT, CONDA, CONDA_NAME = "VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV"
BASE = "base"  # conda's own environment, which many shells activate unasked


def with_own_programs(variables: Mapping[str, str]) -> dict[str, str]:
    """Return environment variables with the virtual environment of this Python activated, if it has one.

    An environment that is activated stays so, be it this one or another: somebody has chosen it.
    """
    chosen = variables.get(ENVIRONMENT) or (variables.get(CONDA) and variables.get(CONDA_NAME) != BASE)
    if sys.prefix == sys.base_prefix or chosen:
        return dict(variables)
    own = os.path.join(sys.prefix, "bin")
    return {**variables, "PATH": os.pathsep.join(filter(None, [own, variables.get("PATH")])), ENVIRONMENT: sys.prefix}


def found_program(word: str, variables: Mapping[str, str]) -> str | None:
    """Return the path of a program by its name, in an environment of `with_own_programs`; None if there is none.

    Where there is no `python` at all, as on Debian, it is this one.
    """
    path = shutil.which(word, path=variables.get("PATH", os.defpath))
    return path or (sys.executable if word in PYTHONS else None)
