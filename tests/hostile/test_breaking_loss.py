"""A loss that breaks for one trial of several: it hangs, or takes its worker's process with it."""

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tests.hostile.endings import check_numbers
from tests.hostile.harness import Sweep
from tests.hostile.processes import wait_until

pytestmark = [pytest.mark.hostile, pytest.mark.slow]

BROKEN, STEP = 3, 137  # the seed of the trial that breaks, and where
TASK = '''
import ctypes, os, time

import torch

from witnessed import Witnessed


class Breaks(Witnessed):
    """Its loss breaks at one step of the trial of one seed; to look at it takes plain PyTorch."""

    def __init__(self, path: str, witness: str, checkpoint_s: float, how: str, seed: int, step: int):
        super().__init__(path, witness, checkpoint_s)
        self.how, self.seed, self.step = how, seed, step

    def model(self):
        model = super().model()
        model.register_buffer("seed", torch.tensor(torch.initial_seed()))
        model.register_buffer("steps", torch.zeros((), dtype=torch.long))
        return model

    def loss(self, model, batch):
        if model.training:
            if int(model.seed) == self.seed and int(model.steps) == self.step:
                self.breaks()
            model.steps += 1
        return super().loss(model, batch)

    def breaks(self):
        while self.how == "sleep":
            time.sleep(1)
        if self.how == "segfault":
            ctypes.string_at(0)
        os._exit(3)
'''


def line_of(code: str) -> str:
    """Return the line of the task's file that is some code."""
    return f"line {TASK.splitlines().index(f'{code:>{len(code) + 12}}') + 1}"


WHY = {
    "sleep": f"loss() (breaks.py, {line_of('time.sleep(1)')}) has not returned for 3 s",
    "segfault": f"Segmentation fault in loss() (breaks.py, {line_of('ctypes.string_at(0)')})",
    "os._exit": "os._exit(3)",
}


@pytest.fixture
def make_breaking(make_sweep: Callable[..., Sweep]) -> Callable[..., Sweep]:
    """Return a function that makes a sweep of six trials in two lanes, of which one breaks."""

    def make(how: str, patience: float = 3) -> Sweep:
        sweep = make_sweep(
            space={"lr_exponent": -1.5, "seed": list(range(6))},
            schedule="constant",
            trials=6,
            budget={"steps": 400, "batch_size": 16, "reports": 10},
            search={"sampler": "grid"},
            resources={"cpus": 1, "gpus": 0, "cohorts": 2, "lanes": 2, "patience": patience},
        )
        (sweep.folder / "breaks.py").write_text(TASK)
        sweep.fields["task"] = f"{sweep.folder / 'breaks.py'}:Breaks"
        sweep.fields["task_options"] |= {"how": how, "seed": BROKEN, "step": STEP}
        sweep.spec_file.write_text(yaml.safe_dump(sweep.fields))
        return sweep

    return make


def the_broken(sweep: Sweep) -> int:
    (number,) = [t.number for t in sweep.trials() if t.params["seed"] == BROKEN]
    return number


def check_one_failed(sweep: Sweep, how: str, document: dict[str, Any]) -> None:
    """One trial has failed, which is said in a line, and the others are complete with the numbers of a calm run."""
    broken = the_broken(sweep)
    assert document["states"] == {"complete": 5, "failed": 1}
    named = [note for note in document["notes"] if f"trial {broken} failed" in note]
    assert len(named) == 1 and WHY[how] in named[0] and "\n" not in named[0], document["notes"]
    states = {t.number: (t.state, t.evidence) for t in sweep.trials()}
    assert states[broken] == ("failed", f"{WHY[how]}, at step {STEP}")
    runs = {int(run.data.tags.get("espalier.trial", -1)): run for run in sweep.runs()}
    assert len(runs) == 7
    assert {n: run.info.status for n, run in runs.items() if run.info.status != "FINISHED"} == {broken: "FAILED"}
    assert runs[broken].data.tags["espalier.evidence"] == f"{WHY[how]}, at step {STEP}"
    check_numbers(sweep, {n: run for n, run in runs.items() if n not in (-1, broken)})


@pytest.mark.parametrize("how", WHY)
def test_one_trial_that_breaks_fails_by_itself_and_is_named(how: str, make_breaking: Callable[..., Sweep]) -> None:
    sweep = make_breaking(how)
    driver = sweep.run()
    document = driver.document()
    assert "Traceback" not in driver.said()
    assert driver.err.read_text().count(WHY[how]) == 3, "a line for each of two deaths, and one at the end"
    check_one_failed(sweep, how, document)

    workers, lines = set(sweep.witness.iterdir()), {op: len(sweep.lines(op)) for op in ("start", "report", "end")}
    resumed = sweep.resume()
    again = resumed.document()
    assert again["states"] == document["states"]
    assert set(sweep.witness.iterdir()) == workers, "nothing is left to train"
    assert {op: len(sweep.lines(op)) for op in lines} == lines
    check_one_failed(sweep, how, document)


def test_a_driver_that_is_killed_while_a_trial_hangs_is_resumed_and_trains_nothing_twice(
    make_breaking: Callable[..., Sweep],
) -> None:
    sweep = make_breaking("sleep")
    driver = sweep.run()
    driver.wait_until(lambda: WHY["sleep"] in driver.said(), "a worker that hung was ended")
    driver.kill()
    wait_until(lambda: not any(process.alive for process in driver.born), "its processes left")
    told = {t.number for t in sweep.trials() if t.state == "complete"}
    document = sweep.resume().document()
    check_one_failed(sweep, "sleep", document)
    ends = [line["trial"] for line in sweep.lines("end")]
    assert {number for number in told if ends.count(number) > 1} == set()


def test_control_c_ends_a_sweep_of_which_a_trial_hangs(make_breaking: Callable[..., Sweep]) -> None:
    sweep = make_breaking("sleep", patience=1e6)
    driver = sweep.run()
    driver.wait_until(lambda: len(sweep.lines("end")) >= 3, "the other cohort had ended")
    assert driver.workers()
    os.killpg(driver.process.pid, signal.SIGINT)
    assert driver.wait() == 130, driver.said()
    assert f"sweep resume {sweep.id}" in driver.said()
    assert "Traceback" not in driver.said()
    wait_until(lambda: not any(process.alive for process in driver.born), "its processes left")
    assert sweep.shown()["state"] == "interrupted"
    assert {run.info.status for run in sweep.runs()} <= {"FINISHED", "KILLED"}
