"""Python runs this file at the start of each process of a trial whose results are read from MLflow.

It has Lightning's MLFlowLogger log into the run that MLFLOW_RUN_ID names, as MLflow's own `start_run` does: without a
`run_id` the logger makes a run of its own. And it has what is logged asynchronously, as by Hugging Face's callback,
arrive before the process ends: MLflow's own attempt comes too late, when no thread can be started any more.
It imports nothing of ours: any Python may run it.
"""

import concurrent.futures.thread  # noqa: F401 - what it does at the end is to come after `flush`
import functools
import importlib.machinery
import importlib.util
import inspect
import os
import sys
import threading

LOGGERS = ("lightning.pytorch.loggers.mlflow", "pytorch_lightning.loggers.mlflow")
RUN, ADDRESS = "MLFLOW_RUN_ID", "MLFLOW_TRACKING_URI"
AT_START = os.environ.get(RUN)  # MLflow's start_run takes the variable away


class Finder:
    """Finds the modules of the logger, and has them give it the run once they are imported."""

    def find_spec(self, name, path=None, target=None):
        """Return how a module is imported, as Python's own finder does; None for all but the logger's."""
        spec = importlib.machinery.PathFinder.find_spec(name, path, target) if name in LOGGERS else None
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def import_logger(module):
            execute(module)
            with_run(module.MLFlowLogger)

        spec.loader.exec_module = import_logger
        return spec


def with_run(logger):
    """Have a class of loggers take the run of the trial, and the address of its store, where no run is given."""
    begin = logger.__init__

    @functools.wraps(begin)
    def with_run_of_trial(self, *args, **kwargs):
        bound = inspect.signature(begin).bind(self, *args, **kwargs)
        run = os.environ.get(RUN) or AT_START
        if run and bound.arguments.get("run_id") is None:
            bound.arguments.update(run_id=run, tracking_uri=os.environ[ADDRESS])
        begin(*bound.args, **bound.kwargs)

    logger.__init__ = with_run_of_trial


def flush():
    """Wait for what is logged asynchronously."""
    mlflow = sys.modules.get("mlflow")
    if mlflow is not None and hasattr(mlflow, "flush_async_logging"):
        mlflow.flush_async_logging()


def run_hidden():
    """Run the sitecustomize.py that this one hides: that of the environment or of the system."""
    here = os.path.dirname(os.path.abspath(__file__))
    others = [folder for folder in sys.path if os.path.abspath(folder) != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec and spec.loader:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


if __name__ == "sitecustomize":  # to import it otherwise changes nothing of a process
    sys.meta_path.insert(0, Finder())
    if register := getattr(threading, "_register_atexit", None):  # as concurrent.futures does, for the same reason
        register(flush)
    run_hidden()
