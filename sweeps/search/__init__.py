"""The search for the next point. With samplers, only this package imports Optuna."""

import sys
import warnings

if "ipykernel" in sys.modules:  # Optuna imports what warns in a notebook that has no ipywidgets; no bar of its is shown
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")
        import tqdm.auto  # noqa: F401
