"""The training function stands on torch, numpy and the standard library alone."""

import pkgutil
import subprocess
import sys
from pathlib import Path

import core

IMPORT_EACH = """
import importlib, sys
for name in sys.argv[1:]:
    for known in [known for known in sys.modules if known.split(".")[0] == "core"]:
        del sys.modules[known]
    importlib.import_module(name)  # each by itself, so that no import works only after another
print(*sorted({name.split(".")[0] for name in sys.modules}))
"""


def test_core_imports_no_ray_optuna_or_mlflow() -> None:
    names = ["core", *(module.name for module in pkgutil.walk_packages(core.__path__, "core."))]
    assert {"core.train", "core.tasks.names"} <= set(names)
    folder = Path(core.__file__).parents[1]
    command = [sys.executable, "-c", IMPORT_EACH, *names]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    imported = set(run.stdout.split())
    assert "torch" in imported
    assert not imported & {"ray", "optuna", "mlflow", "sweeps", "services", "pandas", "pydantic", "click"}


def test_importing_core_asks_mkl_for_reproducible_products_unless_told_otherwise() -> None:
    """It must be said before MKL's first product, and so before anything else is imported."""
    code = "import core, os, sys; print(os.environ['MKL_CBWR'], 'torch' in sys.modules)"
    folder = Path(core.__file__).parents[1]
    for given, expected in (({}, "AUTO,STRICT False"), ({"MKL_CBWR": "COMPATIBLE"}, "COMPATIBLE False")):
        run = subprocess.run([sys.executable, "-c", code], cwd=folder, env=given, capture_output=True, text=True)
        assert run.stdout.strip() == expected, run.stderr
