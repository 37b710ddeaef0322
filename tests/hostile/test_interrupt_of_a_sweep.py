"""SIGINT and SIGTERM: a checkpoint, an orderly record, and the command that goes on."""

import os
import signal
from collections.abc import Callable

import pytest

from tests.hostile.endings import check_the_end
from tests.hostile.harness import Command, Sweep
from tests.hostile.processes import wait_until

pytestmark = pytest.mark.hostile


def _control_c(driver: Command) -> None:
    """A terminal sends SIGINT to every process of the foreground group."""
    os.killpg(driver.process.pid, signal.SIGINT)


def _terminate(driver: Command) -> None:
    driver.process.send_signal(signal.SIGTERM)


def _check_an_interrupt(sweep: Sweep, how: Callable[[Command], None]) -> None:
    driver = sweep.run()
    driver.wait_until(sweep.in_the_middle, "it was in the middle")
    assert driver.look()
    how(driver)
    assert driver.wait() == 130, driver.said()
    assert f"sweep resume {sweep.id}" in driver.said()
    assert "Traceback" not in driver.said()
    wait_until(lambda: not any(process.alive for process in driver.born), "its processes left")
    assert {run.info.status for run in sweep.runs()} <= {"FINISHED", "KILLED"}
    shown = sweep.shown()
    assert shown["state"] == "interrupted"
    assert 0 < shown["states"]["complete"] < sweep.spec.trials

    before = {line["trial"]: line["step"] for line in sweep.lines("report")}
    began = {line["trial"]: line["time"] for line in sweep.lines("report")}
    resumed = sweep.resume()
    assert resumed.document()["trials"] == sweep.spec.trials
    again = [
        line
        for line in sweep.lines("report")
        if line["trial"] in before and line["step"] <= before[line["trial"]] and line["time"] > began[line["trial"]]
    ]
    assert not again, "work was done again although an interrupt leaves a checkpoint"
    check_the_end(sweep)


@pytest.mark.slow
def test_control_c_leaves_a_sweep_that_resumes_where_it_was(sweep: Sweep) -> None:
    _check_an_interrupt(sweep, _control_c)


@pytest.mark.slow
def test_sigterm_leaves_a_sweep_that_resumes_where_it_was(sweep: Sweep) -> None:
    _check_an_interrupt(sweep, _terminate)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["starting Ray", "starting workers"])
@pytest.mark.parametrize("how", [_control_c, _terminate])
def test_an_interrupt_while_the_sweep_starts_leaves_it_to_be_resumed(
    sweep: Sweep, moment: str, how: Callable[[Command], None]
) -> None:
    driver = sweep.run()
    driver.wait_until(lambda: moment in driver.said(), f"it was {moment}")
    how(driver)
    assert driver.wait() == 130, driver.said()
    assert f"sweep resume {sweep.id}" in driver.said()
    assert "Traceback" not in driver.said()
    assert not [run.info.run_id for run in sweep.runs() if run.info.status == "RUNNING"]
    sweep.resume().document()
    check_the_end(sweep)


@pytest.mark.slow
def test_control_c_before_the_sweep_exists_ends_at_once_and_leaves_nothing(sweep: Sweep) -> None:
    driver = sweep.run()
    driver.wait_until(lambda: "trials of" in driver.said(), "it had read the spec")
    driver.look()
    _control_c(driver)
    assert driver.wait() == 130, driver.said()
    assert "Traceback" not in driver.said()
    wait_until(lambda: not any(process.alive for process in driver.born), "its processes left")
    assert not sweep.lines("open")


@pytest.mark.slow
def test_a_second_control_c_ends_at_once_and_the_sweep_still_resumes(sweep: Sweep) -> None:
    driver = sweep.run()
    driver.wait_until(sweep.in_the_middle, "it was in the middle")
    _control_c(driver)
    driver.wait_until(lambda: "once more to stop at once" in driver.said(), "it had heard the first")
    _control_c(driver)
    assert driver.wait() == 130, driver.said()
    sweep.resume().document()
    check_the_end(sweep)


@pytest.mark.slow
def test_a_sweep_that_is_driven_cannot_be_resumed_beside_it(sweep: Sweep) -> None:
    driver = sweep.run()
    driver.wait_until(lambda: sweep.lines("start"), "a trial began")
    second = sweep.resume()
    assert second.wait() == 2, second.said()
    assert f"is being driven by process {driver.process.pid}" in second.said()
    assert "Traceback" not in second.said()
    driver.document()
    check_the_end(sweep)
