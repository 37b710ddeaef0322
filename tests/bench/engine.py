"""The engine alone: lane-steps a second by program and width, the trunk's saving, what the ratios cost; one core.

usage: python -m tests.bench.engine  (prints one JSON document)
"""

import json
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from espalier.core.optimizers import SGD
from espalier.core.programs import PROGRAMS
from espalier.core.programs.program import Program
from espalier.core.rows import ParameterShapes
from espalier.core.task import Data
from espalier.core.tasks.names import Names
from espalier.core.training.cohort import Cohort
from espalier.core.training.comparison import COMPARE_EVERY
from espalier.core.training.setup import CohortSetup
from espalier.core.training.trial import Hyperparameters, Structure, Trial

BATCH, WARM, TIMED, REPEATS = 32, 2, 4, 5  # TIMED: turns of 64 steps in each of REPEATS measurements
SIZES = {"small (hidden 64)": 64, "names (hidden 200)": 200, "large (hidden 800)": 800}
PLAIN_SGD = SGD(momentum=False, decay=False)


def gigaflops(size: int = 1024, runs: int = 12) -> float:
    """Return the rate of a large float32 product, in 1e9 operations a second."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    return 2 * size**3 / _best(lambda: torch.mm(a, b), runs) / 1e9


def gigabytes(megabytes: int = 256, runs: int = 8) -> float:
    """Return the rate of a large copy, in 1e9 bytes read and written a second."""
    a = torch.zeros(megabytes * 250_000)
    b = torch.empty_like(a)
    return 2 * a.numel() * 4 / _best(lambda: b.copy_(a), runs) / 1e9


def _best(call: Any, runs: int) -> float:
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return min(times)


def floor_us(task: Names, gflops: float, gbytes: float) -> float:
    """Return the least time of a lane-step in us: its products and its parameters at the machine's best rates.

    A product of the forward pass has two of the same size in the backward pass; each parameter is read for the forward
    pass, for the backward pass and for the update, its gradient written and read, and the parameter written.
    """
    parameters = ParameterShapes(task.model())
    inner = [shape for name, shape in parameters.shapes.items() if len(shape) == 2 and "C" not in name.split(".")]
    operations = 3 * 2 * BATCH * sum(math.prod(shape) for shape in inner)
    moved = 6 * 4 * parameters.count
    return max(operations / gflops / 1e3, moved / gbytes / 1e3)


def trials(number: int, steps: int = 1_000_000) -> list[Trial]:
    """Return trials that share nothing and never end within a measurement."""
    return [Trial(str(k), 0, steps, Hyperparameters(10 ** (-2 + k / number)), reports=1) for k in range(number)]


def us_per_lane_step(task: Names, data: Data, program: str | Program, lanes: int, ratio_samples: int = 5000) -> float:
    """Return the median time of a lane's step, in us. By default ratios are taken every 200 steps, as in a sweep."""
    structure = Structure(PLAIN_SGD, "constant", BATCH)
    cohort = Cohort(CohortSetup(task, data, structure, trials(lanes), lanes, program, ratio_samples=ratio_samples))
    for _ in range(WARM):
        cohort.turn()
    times = []
    for _ in range(REPEATS):
        before, begin = cohort.lane_steps, time.perf_counter()
        for _ in range(TIMED):
            cohort.turn()
        times.append((time.perf_counter() - begin) / (cohort.lane_steps - before) * 1e6)
    return statistics.median(times)


def by_width(widths: Sequence[int] = (1, 2, 4, 8, 16, 32, 64)) -> dict[str, Any]:
    """Return the time of a lane-step for three model sizes, four programs and some widths, beside the floor."""
    gflops, gbytes = gigaflops(), gigabytes()
    found: dict[str, Any] = {"gflops": gflops, "gbytes": gbytes, "models": {}}
    for name, hidden in SIZES.items():
        task = Names(hidden=hidden)
        data = task.data()
        rows: dict[str, dict[int, float]] = {"plain": {1: us_per_lane_step(task, data, "plain", 1)}}
        for kind in ("native", "vmap", "compiled"):
            program = PROGRAMS[kind](task, PLAIN_SGD)
            rows[kind] = {lanes: us_per_lane_step(task, data, program, lanes) for lanes in widths}
        found["models"][name] = {"floor": floor_us(task, gflops, gbytes), "us": rows}
    return found


def trunk(points: int = 8, steps: int = 4000) -> dict[str, float]:
    """Return the time of some decay points on one trunk, and of as many runs that share nothing."""
    task = Names()
    data = task.data()
    shares = [0.4 + 0.5 * k / (points - 1) for k in range(points)]
    each = [Trial(str(k), 0, steps, Hyperparameters(0.1, (share,)), 10) for k, share in enumerate(shares)]
    structure = Structure(PLAIN_SGD, "step", BATCH)
    programs = {kind: PROGRAMS[kind](task, PLAIN_SGD) for kind in ("native", "plain")}

    def seconds(groups: Sequence[Sequence[Trial]], kind: str = "native") -> float:
        begin = time.perf_counter()
        for group in groups:
            for _ in Cohort(CohortSetup(task, data, structure, group, points, programs[kind])).train():
                pass
        return time.perf_counter() - begin

    seconds([each[:1]])
    seeds = [replace(trial, seed=k) for k, trial in enumerate(each)]
    return {
        "on_one_trunk_s": seconds([each]),
        "side_by_side_s": seconds([seeds]),
        "one_by_one_s": seconds([[trial] for trial in each]),
        "by_pytorch_s": seconds([[trial] for trial in each], "plain"),
    }


def ratios(lanes: int = 32) -> dict[str, float]:
    """Return the time of a lane-step with the ratios taken every 200 steps, and never, measured in turns."""
    task = Names()
    data = task.data()
    program = PROGRAMS["native"](task, PLAIN_SGD)
    pairs = [[us_per_lane_step(task, data, program, lanes, samples) for samples in (5000, 0)] for _ in range(15)]
    return {
        "on_us": statistics.median(on for on, _ in pairs),
        "off_us": statistics.median(off for _, off in pairs),
        "share": statistics.median(on / off - 1 for on, off in pairs),
    }


def comparing(lanes: int = 8) -> dict[str, float]:
    """Return the time in which a lane's step is held against PyTorch's own, and its share of a sweep's time."""
    task = Names()
    cohort = Cohort(
        CohortSetup(task, task.data(), Structure(PLAIN_SGD, "constant", BATCH), trials(lanes), lanes, "native")
    )
    cohort.turn()
    times = []
    for _ in range(20):
        cohort.comparison.due, begin = [0], time.perf_counter()
        cohort.comparison.check(cohort.lane_steps)
        times.append((time.perf_counter() - begin) * 1e6)
    us, step_us = statistics.median(times), us_per_lane_step(task, task.data(), cohort.program, lanes)
    return {"us": us, "step_us": step_us, "share": us / (COMPARE_EVERY * step_us)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    found = {"by_width": by_width(), "trunk": trunk(), "ratios": ratios(), "comparing": comparing()}
    print(json.dumps(found, indent=2))
