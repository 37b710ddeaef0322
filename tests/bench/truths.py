"""The tables that the report of the search is replayed over, and how they are made: in processes side by side.

Other seeds, optimizers, schedules and models; images beside names. Every optimum lies inside the axes. Together they
take seven minutes of a core.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.bench.search.table import Table

STEP = "--decay 0.4 0.9 11 --steps 3000"
TRUTHS: Mapping[str, str] = {
    "names-sgd-step-0": f"--exponents -2.5 0.5 31 {STEP}",
    "names-sgd-step-1": f"--exponents -2.5 0.5 31 {STEP} --seed 1",
    "names-sgd-momentum-step": f"--exponents -3.5 -0.5 31 {STEP} space.momentum=0.9",
    "names-adamw-wsd": f"--optimizer adamw --schedule wsd --exponents -4 -1 31 {STEP}",
    "names-adamw-linear": "--optimizer adamw --schedule linear --exponents -4 -1 32 --steps 10000",
    "names-bn-sgd-step-1": "--exponents -2 1 31 --decay 0.4 0.9 11 --steps 2000 --seed 1 task_options.batchnorm=true",
    "digits-momentum-cosine": "--task digits --schedule cosine --exponents -3 0 31 --steps 1500 space.momentum=0.9",
    "fashion-sgd-step": "--task fashion --exponents -3.5 0 29 --decay 0.4 0.9 6 --steps 1500",
    "transformer-adamw-wsd": "--task tests.bench.transformer:TransformerNames --optimizer adamw --schedule wsd "
    "--exponents -3.5 -1 26 --decay 0.2 0.9 8 --steps 1500",
}
"""The words of tests.bench.tables that make each, by name."""


def shorter(words: str, times: int) -> str:
    """Return the words that make a table of trainings so many times shorter.

    >>> shorter("--exponents -2 1 31 --steps 2000 --seed 1", 3)
    '--exponents -2 1 31 --steps 666 --seed 1'
    """
    return re.sub(r"--steps (\d+)", lambda found: f"--steps {int(found[1]) // times}", words)


def make_all(folder: Path, jobs: int, truths: Mapping[str, str] = TRUTHS) -> None:
    """Make the tables that a folder lacks, or has otherwise. Raises CalledProcessError where one cannot be made."""
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(jobs) as processes:
        list(processes.map(lambda name: make(folder / f"{name}.npz", truths[name]), truths))


def make(file: Path, words: str) -> None:
    """Make a table in a process of one thread, unless the file has it."""
    if file.exists() and Table.read(file).words == words:
        return
    command = [sys.executable, "-m", "tests.bench.tables", *words.split(), "--out", str(file)]
    subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True)
