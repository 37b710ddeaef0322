"""The training function stands on torch, numpy and the standard library alone."""

import pkgutil
import subprocess
import sys
from pathlib import Path

from espalier import core

IMPORT_EACH = """
import importlib, sys
for name in sys.argv[1:]:
    for known in [known for known in sys.modules if known.split(".")[0] == "espalier"]:
        del sys.modules[known]
    importlib.import_module(name)  # each by itself, so that no import works only after another
print(*sorted({".".join(name.split(".")[: 1 + name.startswith("espalier.")]) for name in sys.modules}))
"""


def test_core_imports_no_ray_optuna_or_mlflow() -> None:
    names = ["espalier.core", *(module.name for module in pkgutil.walk_packages(core.__path__, "espalier.core."))]
    assert {"espalier.core.training.cohort", "espalier.core.tasks.names"} <= set(names)
    folder = Path(core.__file__).parents[2]
    command = [sys.executable, "-c", IMPORT_EACH, *names]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    imported = set(run.stdout.split())
    assert "torch" in imported
    assert not imported & {
        "ray",
        "optuna",
        "mlflow",
        "espalier.sweeps",
        "espalier.services",
        "pandas",
        "pydantic",
        "click",
    }


def test_importing_core_asks_mkl_for_reproducible_products_unless_told_otherwise() -> None:
    """It must be said before MKL's first product, and so before anything else is imported."""
    code = "import espalier.core, os, sys; print(os.environ['MKL_CBWR'], 'torch' in sys.modules)"
    folder = Path(core.__file__).parents[2]
    for given, expected in (({}, "AUTO,STRICT False"), ({"MKL_CBWR": "COMPATIBLE"}, "COMPATIBLE False")):
        run = subprocess.run([sys.executable, "-c", code], cwd=folder, env=given, capture_output=True, text=True)
        assert run.stdout.strip() == expected, run.stderr
