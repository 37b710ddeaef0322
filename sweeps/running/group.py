"""The process of a trial whose function trains in several workers of Ray Train, on one node or on more.

It is started as the process of any function is, joins the sweep's Ray ahead of its trial, and has Ray Train start the
workers. They speak by the trial's folder as one process does, and rank 0 reports. Where no sweep runs, as in a rerun,
it starts Ray for itself. Only this file imports ray.train.
"""

import io
import json
import logging
import math
import os
import re
import resource
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import TextIO

from espalier.core.errors import brief
from espalier.core.foreign.child import Trainer, awaited_folder, failed, name_process, set_input_aside, tell
from espalier.core.foreign.folder import Line
from espalier.core.foreign.keeper import Peak
from espalier.sweeps.running.machine import QUIET, join
from espalier.sweeps.worker_group import WorkerGroup

FAILURES = "failures"  # in the trial's folder: why workers failed, by rank
TAKEN = "memory"  # there too: the most bytes of memory that workers have taken, by rank
STORAGE = "ray"  # there too, of Ray Train itself, until the trial has ended
SETTINGS = {
    "RAY_ENABLE_AUTO_CONNECT": "0",  # once its own Ray has ended, a late call would join any other on this machine
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # seconds between looks at whether workers have ended
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",  # it prints each line twice
    "RAY_COLOR_PREFIX": "0",
    "RAY_DEDUP_LOGS": "0",  # ranks may print the same lines
}
OF_WORKER = re.compile(r"^\(RayTrainWorker pid=\d+(, ip=[^)]*)?\) ?")
OF_RAY = re.compile(r"^\(\w+ pid=\d+(, ip=[^)]*)?\)")


class WorkersOutput(io.TextIOBase):
    """Replaces an output while Ray prints what the workers print: their lines without Ray's prefix, and no other's."""

    def __init__(self, out: TextIO):
        self.out, self.begun = out, ""

    def write(self, text: str) -> int:
        *lines, self.begun = (self.begun + text).split("\n")
        for line in lines:
            own = OF_WORKER.sub("", line)
            if own != line or not OF_RAY.match(line):
                self.out.write(own + "\n")
        return len(text)

    def flush(self) -> None:
        self.out.flush()


def train_in_worker(settings: Mapping[str, str]) -> Line:
    """Train a trial as one of its workers: what Ray Train calls. Raises RuntimeError if the function failed."""
    os.chdir(settings["folder"])
    place = Path(settings["place"])
    with _measured(place):
        line = Trainer(settings["reference"]).run(place)
    if line.get("end") in ("complete", "stopped"):
        return line
    failures = place / FAILURES
    failures.mkdir(exist_ok=True)
    failures.joinpath(f"{os.environ['RANK']}.json").write_text(json.dumps([time.time(), line]))
    raise RuntimeError(line.get("error", ""))


@contextmanager
def _measured(place: Path) -> Iterator[None]:
    """Keep in the trial's folder, meanwhile and at the end, the most memory that this worker has taken."""
    over, peak = Event(), Peak()

    def note(taken: int) -> None:
        with suppress(OSError):  # a full disk ends no training
            place.joinpath(TAKEN).mkdir(exist_ok=True)
            place.joinpath(TAKEN, os.environ["RANK"]).write_text(str(taken))

    def look() -> None:
        while not over.wait(max(0.0, peak.next_at - time.monotonic())):
            peak.look(os.getpid())
            note(peak.together)  # a worker that is killed for it says no more

    looks = Thread(target=look, daemon=True)
    looks.start()
    try:
        yield
    finally:
        over.set()
        looks.join()
        note(peak.bytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10))


def memory_taken(place: Path) -> int:
    """Return the most bytes of memory that the workers of a trial have taken, each at its own most."""
    total = 0
    for file in place.joinpath(TAKEN).glob("*"):
        with suppress(OSError, ValueError):
            total += int(file.read_text())
    return total


def first_failure(place: Path) -> Line | None:
    """Return why a worker failed, before those that waited for it in vain; None if none has said so."""
    failures: list[tuple[float, str, Line]] = []
    for file in place.joinpath(FAILURES).glob("*.json"):
        with suppress(OSError, ValueError):
            when, line = json.loads(file.read_text())
            failures.append((when, file.stem, line))
    if not failures:
        return None
    _, rank, line = min(failures, key=lambda failure: failure[:2])
    line["error"] = f"worker {rank}: {line.get('error', '')}"
    return line


def train(reference: str, place: Path, group: WorkerGroup) -> Line:
    """Train the trial of a folder by a group of workers; return how it ended."""
    from ray.train import RunConfig, ScalingConfig, WorkerGroupError
    from ray.train.torch import TorchConfig, TorchTrainer

    for stale in (FAILURES, TAKEN):
        shutil.rmtree(place / stale, ignore_errors=True)
    each = group.of_each()
    trainer = TorchTrainer(
        train_in_worker,
        train_loop_config={"reference": reference, "place": str(place), "folder": os.getcwd()},
        scaling_config=ScalingConfig(num_workers=group.workers, use_gpu="GPU" in each, resources_per_worker=each),
        torch_config=TorchConfig(backend="gloo" if each.get("GPU", 0) < 1 else "nccl"),  # nccl wants whole GPUs
        run_config=RunConfig(name=STORAGE, storage_path=str(place)),
    )
    try:
        return trainer.fit().return_value or Line(end="complete")
    except WorkerGroupError as error:
        told = {int(file.stem) for file in place.joinpath(FAILURES).glob("*.json")}
        if dead := sorted(error.worker_failures.keys() - told):
            line = failed(error.worker_failures[dead[0]])
            return Line(**{**line, "error": f"worker {dead[0]} died: {_first_line(line)}"})
        return first_failure(place) or failed(error)
    except Exception as error:
        return first_failure(place) or failed(error)
    finally:
        shutil.rmtree(place / STORAGE, ignore_errors=True)


def _first_line(line: Line) -> str:
    return brief(line.get("error", "").strip().partition("\n")[0], 200)


def main(reference: str, options: str) -> int:
    """Join Ray, wait for the trial, and train it. options: a WorkerGroup as JSON."""
    group = WorkerGroup(**json.loads(options))
    sys.stdout, sys.stderr = WorkersOutput(sys.stdout), WorkersOutput(sys.stderr)
    worker = set_input_aside()
    fault = _fault(group) if group.address else None
    place = awaited_folder(worker)
    if place is None:
        return 0
    name_process(place)
    if not group.address:  # a Ray of its own would cost too much before it is known that a trial comes
        fault = _fault(group)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))  # which ends workers in good order
    line = fault or train(reference, place, group)
    if group.address:  # else the workers are below this process, whose keeper sees them
        line["memory"] = memory_taken(place)
    return tell(place, line)


def _fault(group: WorkerGroup) -> Line | None:
    """Join the sweep's Ray, or start one; return why that failed, None if it did not."""
    os.environ.update(QUIET | SETTINGS)
    sized = {} if group.address else {"num_cpus": max(os.cpu_count() or 1, math.ceil(group.cpus))}
    try:
        join(group.address or None, log_to_driver=True, logging_level=logging.ERROR, **sized)
    except Exception as error:
        return failed(error)
    return None


if __name__ == "__main__":
    from espalier.sweeps.running import group  # under its own name, by which workers find it

    sys.exit(group.main(*sys.argv[1:]))
