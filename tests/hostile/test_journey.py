"""One sweep to which everything happens: a worker is killed, somebody presses Ctrl-C, the driver is killed.

What each of these does by itself, and at which other moments, is held by the slow tests beside this one.
"""

import os
import signal

import pytest

from tests.hostile.endings import check_chosen, check_the_end
from tests.hostile.harness import Sweep

pytestmark = [pytest.mark.hostile, pytest.mark.early]


def test_a_sweep_survives_the_kill_of_a_worker_an_interrupt_and_the_kill_of_its_driver(sweep: Sweep) -> None:
    """In the end each trial has the numbers of a calm run, once."""
    first = sweep.run()
    first.wait_until(lambda: sweep.in_the_middle(ends=1), "it was in the middle")
    victim = first.workers()[0]
    victim.kill()
    first.wait_until(lambda: len(sweep.witnesses()) > 2, "another worker took the place of the dead one")

    os.killpg(first.process.pid, signal.SIGINT)  # as a terminal does: to every process of the foreground group
    assert first.wait() == 130, first.said()
    assert f"sweep resume {sweep.id}" in first.said() and "Traceback" not in first.said()
    assert {run.info.status for run in sweep.runs()} <= {"FINISHED", "KILLED"}
    reached = {line["trial"]: line["step"] for line in sweep.lines("report")}
    reports = len(sweep.lines("report"))

    second = sweep.resume()
    second.wait_until(lambda: len(sweep.lines("report")) > reports, "it reported")
    again = [line for line in sweep.lines("report")[reports:] if line["step"] <= reached.get(line["trial"], 0)]
    assert not again, "work was done again although an interrupt leaves a checkpoint"
    second.kill()
    told = {t.number for t in sweep.trials() if t.state == "complete"}
    assert len(told) < sweep.spec.trials

    summary = sweep.resume().document()
    assert summary["states"] == {"complete": sweep.spec.trials} and not summary["interrupted"]
    ends = [line["trial"] for line in sweep.lines("end")]
    assert all(ends.count(trial) == 1 for trial in told), "a trial that had been told to Optuna ended again"
    check_chosen(sweep)
    check_the_end(sweep)
