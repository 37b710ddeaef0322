"""A worker that breaks, as a process of its own: what it leaves behind says who did it, where, and at which step."""

import ctypes
import faulthandler
import json
import math
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from espalier.sweeps.running import watchdog
from espalier.sweeps.running.messages import Assignment
from espalier.sweeps.running.trainable import CohortTrainable
from espalier.sweeps.spec.spec import SweepSpec
from tests.sweeps.made import spec_with
from tests.sweeps.running.assigned import assigned

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="a worker is forked")

TASK = '''
import ctypes, os, sys, time
import torch
from espalier.core.tasks.thermometer import Thermometer


class Opaque:
    """It can be copied, but hangs when it is asked what it consists of, as for a checkpoint."""

    def __copy__(self):
        return Opaque()

    def __deepcopy__(self, memo):
        return Opaque()

    def __reduce_ex__(self, protocol):
        time.sleep(1000)


class Breaks(Thermometer):
    """It breaks where the step is 37: plain alone runs it, since it looks at its numbers."""

    def __init__(self, how: str, where: str = "loss"):
        super().__init__()
        self.how, self.where = how, where
        self.state = [0]

    def model(self):
        model = super().model()
        model.register_buffer("step", torch.zeros(()))
        return model

    def loss(self, model, batch):
        if model.training and int(model.step) == 37 and self.where == "loss":
            self.breaks()
        if self.where == "checkpoint":
            self.state = [self.state[0] + 1, Opaque()]
        model.step += model.training
        return super().loss(model, batch)

    def metrics(self, model, batch):
        if int(model.step) and self.where == "metrics":
            self.breaks()
        return super().metrics(model, batch)

    def breaks(self):
        if self.how == "segfault":
            ctypes.string_at(0)
        elif self.how == "abort":
            os.abort()
        elif self.how == "os._exit":
            os._exit(3)
        elif self.how == "kill":
            os.kill(os.getpid(), 9)
        elif self.how == "sleep":
            time.sleep(1000)
        elif self.how == "hold":
            sum(range(10**13))  # and never lets go of the interpreter's lock
        elif self.how == "sys.exit":
            sys.exit("enough")
'''


@pytest.fixture
def breaking(tmp_path: Path) -> Callable[..., SweepSpec]:
    """Return a function that makes the spec of a task that breaks."""
    (tmp_path / "breaking.py").write_text(TASK)

    def make(how: str, where: str = "loss", steps: int = 100) -> SweepSpec:
        return spec_with(
            task=f"{tmp_path / 'breaking.py'}:Breaks",
            task_options={"how": how, "where": where},
            budget={"steps": steps, "batch_size": 5, "reports": 2},
        )

    return make


def run_worker(
    assignment: Assignment,
    monkeypatch: pytest.MonkeyPatch,
    between: Callable[[CohortTrainable], Any] = lambda trainable: None,
) -> tuple[int, list[dict[str, Any]]]:
    """Train a cohort in a child until it is over; return how the child ended, and its results if it lived.

    between: what is done between its turns.
    """
    node = SimpleNamespace(get_node_id=lambda: "node")
    monkeypatch.setattr("ray.get_runtime_context", lambda: node)
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            trainable, results = CohortTrainable(assignment.to_config()), []
            while not results or not results[-1]["done"]:
                results.append(trainable.step())
                between(trainable)
            os.write(writing, json.dumps(results).encode())
            os.kill(os.getpid(), signal.SIGTERM)
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
            os.kill(os.getpid(), signal.SIGHUP)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), json.loads(text or "[]")


@pytest.mark.parametrize(
    ("how", "code", "why"),
    [
        ("segfault", -signal.SIGSEGV, r"Segmentation fault in loss\(\) \(breaking.py, line \d+\)"),
        ("abort", -signal.SIGABRT, r"Aborted in loss\(\) \(breaking.py, line \d+\)"),
        ("os._exit", 3, r"os._exit\(3\)"),
        ("kill", -signal.SIGKILL, r"killed \(SIGKILL\), or lost with its node"),
        ("sleep", 1, r"loss\(\) \(breaking.py, line \d+\) has not returned for 1 s"),
        ("hold", 1, r"loss\(\) \(breaking.py, line \d+\) has not returned for 1 s"),
    ],
)
def test_a_dead_worker_has_left_why_it_died_and_whom_it_trained(
    how: str, code: int, why: str, breaking: Callable[..., SweepSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_worker(assigned(breaking(how), tmp_path), monkeypatch) == (code, [])
    death = watchdog.read_death(tmp_path, "cohort-0")
    assert pytest.approx(37) == death.replicates["0/0"]
    assert len(death.lanes) == 1, "one lane at a time"
    assert death.hung == (how in ("sleep", "hold"))
    assert death.certain == (how != "kill")
    assert re.fullmatch(why, death.why), death.why


def test_a_fatal_signal_leaves_its_trace_though_another_has_taken_its_handler(
    breaking: Callable[..., SweepSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Ray's core does, in a process in which faulthandler was enabled before it."""
    was_enabled = faulthandler.is_enabled()
    faulthandler.enable(sys.__stderr__)
    ctypes.CDLL(None).signal(signal.SIGSEGV, 0)  # the system's own
    try:
        assert run_worker(assigned(breaking("segfault"), tmp_path), monkeypatch) == (-signal.SIGSEGV, [])
    finally:
        faulthandler.disable()
        if was_enabled:
            faulthandler.enable(sys.__stderr__)
    assert watchdog.read_death(tmp_path, "cohort-0").why.startswith("Segmentation fault in loss()")


@pytest.mark.parametrize("how", ["sleep", "hold"])
def test_a_validation_that_hangs_is_ended_too(
    how: str, breaking: Callable[..., SweepSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_worker(assigned(breaking(how, "metrics"), tmp_path), monkeypatch)[0] == 1
    death = watchdog.read_death(tmp_path, "cohort-0")
    assert death.hung and death.why.startswith("metrics() (breaking.py, line ")
    assert death.replicates == {"0/0": 50}


def expect_checkpoint_at_once(trainable: CohortTrainable) -> None:
    """At the end of its next turn a checkpoint is due, and it is seen whether it can be written."""
    trainable.saved_at = -math.inf


@pytest.mark.parametrize("moment", [pytest.param("seen whether it can be written", marks=pytest.mark.slow), "written"])
def test_state_that_hangs_while_a_checkpoint_is_written_is_ended_too(
    moment: str, breaking: Callable[..., SweepSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    between = expect_checkpoint_at_once if moment != "written" else lambda t: t.save_checkpoint(str(tmp_path))
    assignment = assigned(breaking("", "checkpoint", 10**6), tmp_path, patience_s=4.0)
    assert run_worker(assignment, monkeypatch, between)[0] == 1
    death = watchdog.read_death(tmp_path, "cohort-0")
    assert death.hung and death.why.startswith("__reduce_ex__() (breaking.py, line "), death.why


def test_sys_exit_is_an_error_of_the_task(
    breaking: Callable[..., SweepSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, results = run_worker(assigned(breaking("sys.exit"), tmp_path), monkeypatch)
    assert code == -signal.SIGTERM, "the worker itself lives on"
    assert "sys.exit" in json.dumps(results) or "SystemExit: enough" in json.dumps(results)


def test_slow_calls_are_given_time_by_what_calls_have_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of ten seconds is no hang, and one of ten milliseconds is one after a minute."""
    limits: list[float] = []
    monkeypatch.setattr("faulthandler.dump_traceback_later", lambda limit, **_: limits.append(limit))
    monkeypatch.setattr("faulthandler.enable", lambda *_, **__: None)
    monkeypatch.setattr(os, "_exit", os._exit)
    now = 1000.0
    monkeypatch.setattr("espalier.sweeps.running.watchdog.time.monotonic", lambda: now)
    for seconds, expected in ((0.01, 60.0), (10.0, 1000.0)):
        dog = watchdog.Watchdog(tmp_path, "c")
        assert limits[-1] == 600
        dog.training([{"0/0": 0}], "plain")
        for _ in range(300):
            dog.beat(1)
            now += seconds
        assert limits[-1] == pytest.approx(expected)


def test_a_note_that_is_torn_or_missing_tells_nothing(tmp_path: Path) -> None:
    assert watchdog.read_death(tmp_path, "cohort-0").why == "ended before it could begin"
    (tmp_path / "cohort-0.note").write_bytes(b"\x01" * 200)
    (tmp_path / "cohort-0.trace").write_bytes(b"\xff\x00")
    assert not watchdog.read_death(tmp_path, "cohort-0").certain
    watchdog.kill_worker(tmp_path, "cohort-0")


def test_a_worker_that_is_there_no_more_is_not_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number may have become somebody else's."""
    monkeypatch.setattr("faulthandler.enable", lambda *_, **__: None)
    monkeypatch.setattr(os, "_exit", os._exit)
    dog = watchdog.Watchdog(tmp_path, "c")
    dog.rest()
    dog._facts["born"] = "1"
    dog.training([], "plain")
    watchdog.kill_worker(tmp_path, "c")  # it would be this process
