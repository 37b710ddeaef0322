"""Trials of a function that several workers of Ray Train train together."""

import io
import json
import os
import re
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from espalier.core.errors import BadInput
from espalier.core.foreign.cohort import ProcessCohort
from espalier.core.foreign.launch import FunctionLauncher, environment
from espalier.core.training.events import Ended
from espalier.sweeps.running.group import FAILURES, WorkersOutput, first_failure
from espalier.sweeps.running.machine import allocate
from espalier.sweeps.running.tune import reserved
from espalier.sweeps.spec.spec import SweepSpec
from espalier.sweeps.worker_group import WorkerGroup
from tests.core.foreign.made import assignment, cohort
from tests.hostile.processes import descendants, wait_until

SPEC = {
    "name": "group",
    "function": "train.py:train",
    "budget": {"steps": 40},
    "space": {"lr": {"low": 0.01, "high": 0.1, "log": True}},
    "trials": 8,
}


def spec(**resources: object) -> SweepSpec:
    """Return a spec of a function with some resources."""
    return SweepSpec.model_validate(SPEC | {"resources": resources})


@pytest.mark.parametrize(
    ("resources", "cpus", "gpus", "of_trial", "at_once"),
    [
        ({"workers": 2}, 4, 0, (2, 0), 2),
        ({"workers": 4}, 64, 8, (4, 4), 2),
        ({"workers": 4, "gpus": 4, "cpus": 16}, 64, 8, (16, 4), 2),
        ({"workers": 4, "gpus": 4, "cpus": 32}, 48, 8, (32, 4), 1),  # for whose workers cores are lacking
        ({"workers": 2, "gpus": 0.5}, 8, 1, (2, 0.5), 2),
        ({"workers": 2, "gpus": 0}, 8, 1, (2, 0), 4),
    ],
)
def test_cores_and_gpus_are_those_of_a_trials_workers(
    resources: dict[str, object], cpus: int, gpus: int, of_trial: tuple[float, float], at_once: int
) -> None:
    found = allocate(spec(**resources), cpus, gpus)
    assert ((found.cpus, found.gpus), found.cohorts) == (of_trial, at_once)
    assert not reserved(found)["cpu"] and not reserved(found)["gpu"]  # else the workers would lack them
    workers = WorkerGroup(found.workers, found.cpus, found.gpus).of_each()
    assert sum(workers.values()) * found.workers == pytest.approx(sum(of_trial))


@pytest.mark.parametrize(
    ("resources", "cpus", "gpus", "words"),
    [
        ({"workers": 4}, 2, 0, "a trial of 4 workers with 4 cpus and 0 gpus does not fit; there are 2 cpus"),
        ({"workers": 4}, 16, 2, r"resources.workers: 4 workers take a GPU each, and there are 2; write resources.gpus"),
    ],
)
def test_workers_for_which_there_is_no_room_are_refused(
    resources: dict[str, object], cpus: int, gpus: int, words: str
) -> None:
    with pytest.raises(BadInput, match=words):
        allocate(spec(**resources), cpus, gpus)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"resources": {"workers": 3, "gpus": 4}}, "gpus: 4 for 3 workers is 1.33333 each, and beyond one they come"),
        ({"resources": {"workers": 0}}, "workers"),
        ({"function": "", "command": "python train.py", "resources": {"workers": 2}}, "as torchrun --nproc-per-node"),
        ({"function": "", "task": "train.py:Task", "resources": {"workers": 2}}, "workers: they are for a function"),
    ],
)
def test_workers_that_cannot_be_are_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises((BadInput, ValueError), match=words):
        SweepSpec.model_validate(SPEC | changes)


def test_what_workers_print_is_kept_as_they_print_it_and_nothing_of_rays_own() -> None:
    out = io.StringIO()
    shown = WorkersOutput(out)
    shown.write("(RayTrainWorker pid=12) loss 0.5\n(RayTrainWorker pid=9, ip=10.0.0.7)   two  spaces\n(TrainCon")
    shown.write("troller pid=3) Started\n(PlacementGroupCleaner pid=4) Traceback\n(not a worker) 1\n")
    assert out.getvalue() == "loss 0.5\n  two  spaces\n(not a worker) 1\n"


def test_the_worker_that_failed_first_is_the_cause(tmp_path: Path) -> None:
    assert first_failure(tmp_path) is None
    failures = tmp_path / FAILURES
    failures.mkdir()
    for rank, when, error in (
        (0, 2.0, "connection closed"),
        (1, 1.0, "ValueError: bad"),
        (2, 3.0, "connection closed"),
    ):
        failures.joinpath(f"{rank}.json").write_text(json.dumps([when, {"end": "failed", "error": error}]))
    found = first_failure(tmp_path)
    assert found and found.get("error") == "worker 1: ValueError: bad"


# --- real workers ----------------------------------------------------------------------------------------------------

FAULTS = {
    "raises": 'raise ValueError("bad")',
    "dies": "os.kill(os.getpid(), signal.SIGKILL)",
    "lacks memory": 'raise MemoryError("1 TiB")',
    "waits": "time.sleep(600)",
}
"""What one of two workers does after the first report."""


def a_group(folder: Path, fault: str) -> ProcessCohort:
    """Return the cohort of a trial of which one of two workers has a fault."""
    source = f"""
        import os, signal, time
        import torch
        import torch.distributed as dist

        def train(config, report):
            for step in range(1, config.steps + 1):
                total = torch.ones(1)
                dist.all_reduce(total)
                print("rank", dist.get_rank(), "of", int(total))
                if report.due(step):
                    report(step, valid_loss=1 / step)
                    if dist.get_rank() == 1:
                        {fault}
    """
    folder.joinpath("train.py").write_text(textwrap.dedent(source))
    program = WorkerGroup(2, 2.0, 0.0).program
    reference = f"{folder / 'train.py'}:train"
    launcher = FunctionLauncher(reference, str(folder), environment(), 10.0, False, program)
    return cohort(folder, launcher, [assignment("0")], lambda: None)


def watch(trials: ProcessCohort, look: Callable[[], object] = lambda: None) -> tuple[Ended, int]:
    """Train to the end; return it, and how many processes there were at most. None of them is left."""
    born = {}
    ends: list[Ended] = []
    while not trials.done:
        ends += [event for event in trials.turn() if isinstance(event, Ended)]
        born |= {process.pid: process for process in descendants(os.getpid())}
        look()
    trials.close()
    trials.setup.launcher.close()
    wait_until(lambda: not any(process.alive for process in born.values()), "they have ended")
    return ends[0], len(born)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "evidence"),
    [
        ("raises", r"worker 1: ValueError: bad \(train.py, line \d+\)"),
        ("dies", "worker 1 died: "),
        ("lacks memory", "1 TiB"),
    ],
)
def test_a_worker_that_fails_ends_its_trial_with_the_cause_and_nothing_is_left(
    tmp_path: Path, fault: str, evidence: str
) -> None:
    end, most = watch(a_group(tmp_path, FAULTS[fault]))
    assert most > 4
    assert end.status == "failed"
    assert re.search(evidence, end.evidence), end.evidence
    assert (end.verdict == "out of memory") == (fault == "lacks memory")
    assert 2 * 150 < end.memory["main"] >> 20 < 4000, "Ray's own processes are among them here"
    output = tmp_path.joinpath("trials", "0", "output.log").read_text()
    assert {"rank 0 of 2", "rank 1 of 2"} <= set(output.splitlines())


@pytest.mark.slow
def test_workers_that_wait_for_ever_end_with_their_trial(tmp_path: Path) -> None:
    """Its process gets SIGTERM, once its time is up."""
    trials = a_group(tmp_path, FAULTS["waits"])
    trials.setup = replace(trials.setup, timeout_s=25.0)
    end, _ = watch(trials)
    assert end.status == "failed" and "timeout" in end.evidence
