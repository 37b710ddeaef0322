"""The number of lanes to train at once: the knee of lane-steps per second, measured on the machine that trains.

A batched step costs about the same for one lane as for several, until the machine is saturated. From there on, more
lanes only take memory. The same measurement detects models whose batched step is slower than single steps
(convolutions on a CPU).
"""

import hashlib
import json
import math
import platform
import resource
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from espalier.core import cache, deadline
from espalier.core.programs.program import Program
from espalier.core.task import Data, Task, code_fingerprint
from espalier.core.training.cohort import Cohort
from espalier.core.training.setup import CohortSetup
from espalier.core.training.trial import Hyperparameters, Structure, Trial

GAIN = 0.05  # of lane-steps per second: twice the lanes must gain more than this
ALONE = 0.8  # one lane at a time is chosen below this share of the batched step's best time
STEPS, REPEATS = 8, 3
NATIVE = 8  # lanes of machine code, which is as fast for few as for many; with few, the first trials end soon


def knee(us: Mapping[int, float], gain: float = GAIN) -> int:
    """Return the number of lanes from which on doubling them gains at most the share `gain` of speed.

    >>> knee({2: 100.0, 4: 60.0, 8: 40.0, 16: 39.0, 32: 39.5})
    8
    """
    best = min(us)
    for width in sorted(us):
        if us[width] < us[best] * (1 - gain):
            best = width
    return best


@dataclass(frozen=True)
class Limits:
    """How long widths are measured, and which share of the free memory they may take."""

    patience_s: float = 2.0
    memory_share: float = 0.7


LIMITS = Limits()


@dataclass(frozen=True)
class Width:
    """The measurement: microseconds per lane and step, by number of lanes, and for a lane alone."""

    us: Mapping[int, float]
    alone_us: float
    bounded: bool = False  # whether memory or time ended it: more lanes than were measured are not possible

    @property
    def alone(self) -> bool:
        """Whether it is faster to train one lane at a time."""
        return self.alone_us < ALONE * min(self.us.values())

    def lanes(self, most: int) -> int | None:
        """Return how many lanes to train at once, at most `most`; None if too few were measured."""
        best, widest = knee(self.us), max(self.us)
        if best < widest or self.bounded:
            return min(best, most)
        return most if most < 2 * widest else None


def us_per_lane_step(cohort: Cohort, steps: int = STEPS, repeats: int = REPEATS) -> float:
    """Return the least time of a lane's step in a new cohort, in microseconds; infinite if no lane survives."""
    cohort.turn(max(2, steps // 2))
    deadline.check()
    times = [math.inf]
    for _ in range(repeats):
        deadline.check()
        before, begin = cohort.lane_steps, time.perf_counter()
        cohort.turn(steps)
        if cohort.data.train[0].is_cuda:
            torch.cuda.synchronize()
        if trained := cohort.lane_steps - before:
            times.append((time.perf_counter() - begin) / trained * 1e6)
    return min(times)


def measure(
    task: Task,
    data: Data,
    structure: Structure,
    batched: Program,
    alone: Program,
    most: int,
    device: str,
    limits: Limits = LIMITS,
) -> Width:
    """Measure 1 lane of the program `alone`, and 2, 4, 8 ... lanes of the program `batched` up to `most`.

    It ends where twice the lanes gain nothing, do not fit into memory, or would take longer than the limits say. If all
    lanes diverge at once, nothing can be measured: then the result is two lanes.
    """

    def begun(program: Program, lanes: int) -> Cohort:
        deadline.check()
        # rates so small that nothing diverges, and all different, so that no lane is shared
        trials = [Trial(str(k), 0, 10**9, Hyperparameters(lr=1e-12 * (k + 1)), reports=1) for k in range(lanes)]
        return Cohort(CohortSetup(task, data, structure, trials, lanes, program, device, ratio_samples=0))

    begun(batched, 2).turn(1)  # one-time work, such as tracing and compiling, is not part of a step's time
    begin, alone_us = time.perf_counter(), us_per_lane_step(begun(alone, 1))
    us: dict[int, float] = {}
    lanes, bounded = 2, False
    while not us or (lanes <= most and knee(us) == max(us) and not bounded):
        free, before = _free_bytes(device), _peak_bytes(device)
        us[lanes] = us_per_lane_step(begun(batched, lanes))
        took_bytes = _peak_bytes(device) - before
        next_s = 2 * us[lanes] * lanes * STEPS * (REPEATS + 1) / 1e6
        late = time.perf_counter() - begin + next_s > limits.patience_s
        bounded = late or 2 * took_bytes > limits.memory_share * free
        lanes *= 2
    return Width(us, alone_us, bounded)


def _free_bytes(device: str) -> int:
    if device != "cpu":
        return torch.cuda.mem_get_info()[0]
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) * 1024
    return 2**62


def _peak_bytes(device: str) -> int:
    if device != "cpu":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def cached_width(
    task: Task, data: Data, structure: Structure, batched: Program, alone: Program, most: int, device: str, key: str
) -> Width:
    """Return the result of `measure`, cached on this machine. key: identifies the task and its options."""
    where = torch.cuda.get_device_name() if device != "cpu" else f"{platform.machine()} {platform.node()}"
    facts = [key, code_fingerprint(task), structure, device, where, torch.__version__, len(data.train[0])]
    name = hashlib.sha256(repr(facts).encode()).hexdigest()[:24]
    file = cache.folder("widths") / f"{name}.json"
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        known = json.loads(file.read_text())
        width = Width({int(k): us for k, us in known["us"].items()}, known["alone_us"], known["bounded"])
        if width.lanes(most):
            return width
    width = measure(task, data, structure, batched, alone, most, device)
    if math.isfinite(width.alone_us):
        cache.keep(file, json.dumps(asdict(width)).encode())
    return width
