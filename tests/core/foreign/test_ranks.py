"""Trials that several processes train together: all of them end after the same report."""

import json
import sys
from pathlib import Path

import pytest

from espalier.core.foreign.folder import TrialFolder
from espalier.core.foreign.report import Report, StopTrial
from espalier.core.training.events import Ended
from tests.core.foreign.made import STEPS, assignment, command_cohort

TWO_RANKS = """
    import json, os, subprocess, sys, time
    from espalier import report

    if "RANK" not in os.environ:  # as torchrun does
        ranks = [os.environ | {"RANK": str(rank), "WORLD_SIZE": "3"} for rank in range(3)]
        started = [subprocess.Popen([sys.executable, *sys.argv], env=env) for env in ranks]
        sys.exit(max(process.wait() for process in started))
    rank, last = int(os.environ["RANK"]), 0
    try:
        for step in range(1, 41):
            time.sleep(0.02 * (1 + rank))
            if report.due(step):
                last = step
                report(step, valid_loss=1 / step)
    finally:
        with open(f"rank-{rank}", "w") as file:
            json.dump([last, report.stop], file)
"""


def test_processes_of_a_trial_that_is_stopped_leave_after_the_same_step(tmp_path: Path) -> None:
    """The request comes while rank 0 is ahead of the others."""
    cohort = command_cohort(tmp_path, TWO_RANKS, [assignment("0")], command=[sys.executable, "script.py"], grace_s=30.0)
    cohort.turn()
    folder = cohort.folder_of("0")
    ends: list[Ended] = []
    while not cohort.done:
        if len(folder.lines()) == 1 and not folder.stop_reason():
            folder.request_stop("worse than others")
        ends += [event for event in cohort.turn() if isinstance(event, Ended)]
    cohort.close()
    told = [json.loads((tmp_path / f"rank-{rank}").read_text()) for rank in range(3)]
    assert len({step for step, _ in told}) == 1
    assert {reason for _, reason in told} == {"worse than others"}
    assert told[0][0] == folder.lines()[-1]["step"] < STEPS


def a_report(folder: TrialFolder, rank: int, monkeypatch: pytest.MonkeyPatch) -> Report:
    """Return the reports of one of two processes."""
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", "2")
    return Report(folder.path)


def test_a_parked_trial_leaves_in_all_processes_and_goes_on_in_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = TrialFolder(tmp_path / "0")
    for until, steps in ((20, (10, 20)), (30, (30,))):
        folder.assign(assignment("0", until=until, resume=(steps[0] - 10, "") if steps[0] > 10 else None))
        first, second = (a_report(folder, rank, monkeypatch) for rank in (0, 1))
        for step in steps:
            for report in (first, second):
                try:
                    report(step, valid_loss=1.0)
                except StopTrial as stop:
                    assert (stop.reason, step) == ("parked", until)
                else:
                    assert step < until
    assert [line["step"] for line in folder.lines()] == [10, 20, 30]


def test_a_process_whose_rank_0_reports_other_steps_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = TrialFolder(tmp_path / "0")
    folder.assign(assignment("0"))
    monkeypatch.setattr("espalier.core.foreign.report.WAIT_S", 0.05)
    a_report(folder, 0, monkeypatch)(10, valid_loss=1.0)
    with pytest.raises(RuntimeError, match="rank 0 has not reported step 20; all processes"):
        a_report(folder, 1, monkeypatch)(20, valid_loss=1.0)


def test_a_function_is_no_rank_of_what_started_the_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep may run below a torchrun, or in a shell that has been left with its variables."""
    from espalier.core.foreign.launch import environment

    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.setenv(name, "1")
    assert not {"RANK", "WORLD_SIZE", "LOCAL_RANK"} & environment().keys()
