"""Hyperparameter sweeps: searched with Optuna, trained on Ray, recorded in MLflow."""

import os
import sys
from types import ModuleType
from typing import Any

# A user's folder may have a random.py, or a package called core. Ray puts the driver's folder first on its workers'
# # import path, and so does `python -m`; it is removed again. core.loading.scopes resolves a task's imports.
_OWN = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
if os.path.basename(sys.argv[0]) == "default_worker.py":
    _ray = os.path.dirname(os.path.dirname(os.path.dirname(sys.argv[0])))
    del sys.path[: next((i for i, path in enumerate(sys.path) if path.startswith(_ray)), 0)]
elif sys.argv[0] == "-m" and sys.path[0] == os.getcwd() and os.path.realpath(sys.path[0]) != _OWN:
    del sys.path[0]


class _Callable(ModuleType):
    """The type of this package, which makes it callable: `espalier.sweeps()` lists sweeps."""

    def __call__(self, **where: Any) -> Any:
        from espalier.api import sweeps

        return sweeps(**where)


sys.modules[__name__].__class__ = _Callable
