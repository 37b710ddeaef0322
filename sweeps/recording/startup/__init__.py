"""A folder for PYTHONPATH: Python runs its sitecustomize.py when a process starts that logs to MLflow for a trial."""

from pathlib import Path

FOLDER = str(Path(__file__).absolute().parent)
