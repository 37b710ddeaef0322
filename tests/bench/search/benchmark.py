"""The replay of every search over every table of a folder, in processes side by side."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.bench.processes import one_thread
from tests.bench.search.report import report

FEW = ("espalier, thaw", "espalier, tpe", "espalier, random", "Optuna TPE", "Optuna random")
WORKERS: Mapping[int, Sequence[str]] = {1: (), 2: FEW, 8: ()}
"""How many work at once, and by which methods; all for none."""
REDUCTIONS_SHARE = 10  # of the repetitions in the section of reductions: it has 24 searches a table


def benchmark(tables: Path, repetitions: int, jobs: int, surroundings: str) -> str:
    """Return the report. surroundings: the machine and the command. jobs: how many processes at once."""
    files = sorted(map(str, tables.glob("*.npz")))
    asked = one_thread("search.asking")  # alone: it takes times
    with ThreadPoolExecutor(jobs) as processes:
        few = str(max(1, repetitions // REDUCTIONS_SHARE))
        halved = processes.submit(one_thread, "search.reductions", *files, "--repetitions", few)
        parts = {
            (file, workers): processes.submit(one_thread, "search", *words(file, workers, repetitions))
            for file in files
            for workers in WORKERS
        }
        measured = [joined([parts[file, workers].result() for workers in WORKERS]) for file in files]
        return report(measured, halved.result(), asked, surroundings)


def words(file: str, workers: int, repetitions: int) -> list[str]:
    """Return the arguments of a process that measures on one table with so many workers."""
    methods = [word for name in WORKERS[workers] for word in ("--method", name)]
    return [file, "--repetitions", str(repetitions), "--workers", str(workers), *methods]


def joined(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what was measured on one table with each number of workers as one."""
    results = {workers: result for part in parts for workers, result in part["results"].items()}
    return {**parts[0], "results": results}
