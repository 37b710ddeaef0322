"""Measure how long a validation takes."""

import time

from espalier.core.programs.program import Program
from espalier.core.task import Data


def evaluation_seconds(program: Program, data: Data, seed: int = 0) -> float:
    """Return the time of one validation in seconds: the lesser of two."""
    row, times = program.fresh_row(seed), list[float]()
    for _ in range(2):
        begin = time.perf_counter()
        program.evaluate(row, data.valid)
        times.append(time.perf_counter() - begin)
    return min(times)
