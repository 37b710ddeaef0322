"""SIGKILL to the driver, and to a worker: what is left goes on to the same end."""

import os
import random
import re
import signal
from collections import Counter
from collections.abc import Callable

import pytest

from espalier.sweeps.search.attributes import RUNG, STOPPED
from tests.hostile.endings import check_chosen, check_the_end
from tests.hostile.harness import Sweep
from tests.hostile.processes import wait_until

pytestmark = pytest.mark.hostile


@pytest.mark.slow
def test_a_sweep_whose_driver_was_killed_is_resumed_to_the_numbers_of_a_calm_one(sweep: Sweep) -> None:
    driver = sweep.run()
    driver.wait_until(sweep.in_the_middle, "it was in the middle")
    assert driver.workers()
    driver.kill()
    told = {t.number for t in sweep.trials() if t.state == "complete"}
    assert len(told) < sweep.spec.trials

    # Nothing tells Ray's processes to leave; they see for themselves that the driver is gone.
    wait_until(lambda: not any(process.alive for process in driver.born), "the processes of the dead driver left")
    assert sweep.shown()["state"] == "interrupted"

    summary = sweep.resume().document()
    assert summary["trials"] == sweep.spec.trials
    assert not summary["interrupted"]
    ends = Counter(line["trial"] for line in sweep.lines("end"))
    assert {ends[trial] for trial in told} <= {1}, "a trial that had been told to Optuna ended again"
    check_chosen(sweep)
    check_the_end(sweep)


@pytest.mark.slow
def test_what_began_by_machine_code_and_was_killed_before_its_first_checkpoint_begins_again_by_it(
    make_sweep: Callable[..., Sweep],
) -> None:
    """A worker dies, then the driver; what is left of a cohort would be too little for machine code."""
    sweep = make_sweep(checkpoint_s=1e6)
    driver = sweep.run()
    driver.wait_until(lambda: len(sweep.lines("end")) >= 2, "two trials ended")
    for worker in driver.workers():
        worker.kill()
    ended = len(sweep.lines("end"))
    driver.wait_until(lambda: len(sweep.lines("end")) > ended, "another one ended")
    driver.kill()
    assert not sweep.checkpoints()
    begun = sweep.programs()
    sweep.resume().document()
    check_chosen(sweep)
    assert begun.items() <= sweep.programs().items()
    check_the_end(sweep)


@pytest.mark.slow
def test_a_sweep_that_stops_trials_early_survives_the_kill_of_a_worker_and_of_its_driver(
    make_sweep: Callable[..., Sweep],
) -> None:
    """The scores of the dead are known to those who go on: to the worker in its checkpoint, to the driver in Optuna."""
    sweep = make_sweep(stopping={"rungs": [0.2, 0.6], "least": 2})
    driver = sweep.run()
    driver.wait_until(lambda: len(sweep.lines("end")) >= 1, "a trial ended")
    driver.workers()[0].kill()
    driver.wait_until(lambda: sweep.in_the_middle(ends=4), "it was in the middle")
    driver.kill()
    attributes = sweep.attributes()
    rungs = [(name, at) for known in attributes.values() for name, at in known.items() if name.startswith(RUNG)]
    histories = Counter(name for name, _ in {(name, leader) for name, (_, leader) in rungs})
    decided = {number for number, known in attributes.items() if STOPPED in known}
    summary = sweep.resume().document()
    assert summary["trials"] == sweep.spec.trials
    check_the_end(sweep)
    reason = r"ranked (\d+) of (\d+) by average at step (800|2400) \(.*\), the best \d+ go on|collapsed at step .*"
    for trial in (t for t in sweep.trials() if t.state == "stopped"):
        found = re.fullmatch(reason, trial.evidence)
        assert found, trial.evidence
        if trial.number not in decided and found[2]:
            assert int(found[2]) >= histories[f"{RUNG}{found[3]}"], "those before the kills are counted with"


@pytest.mark.slow
def test_a_sweep_whose_worker_was_killed_ends_by_itself(sweep: Sweep) -> None:
    driver = sweep.run()
    driver.wait_until(sweep.in_the_middle, "it was in the middle")
    victim = driver.workers()[0]
    victim.kill()
    summary = driver.document()
    assert not victim.alive
    assert summary["states"] == {"complete": sweep.spec.trials}
    assert len(sweep.witnesses()) > 2, "no worker took the place of the dead one"
    check_chosen(sweep)
    check_the_end(sweep)


@pytest.mark.slow
def test_three_kills_at_random_points_change_nothing(sweep: Sweep) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed of the kills: {seed}")
    draw = random.Random(seed)
    command = sweep.run()
    for kill in range(3):
        begun, wanted = len(sweep.lines("report")), draw.randint(1, 25)
        delay_s = draw.uniform(0, 1.5)
        print(f"kill {kill}: {delay_s:.2f} s after {wanted} more reports")
        command.wait_until(
            lambda begun=begun, wanted=wanted: len(sweep.lines("report")) >= begun + wanted or sweep.lines("close"),
            f"{wanted} more reports",
        )
        try:
            command.process.wait(delay_s)
        except Exception:  # still running, as it should
            command.kill()
        assert not sweep.lines("close"), "the sweep was over before the last kill"
        if kill < 2 or draw.random() < 0.5:  # the last time, whatever is left of it may still be dying
            wait_until(lambda born=command.born: not any(p.alive for p in born), "its processes left")
        command = sweep.resume()
    command.document()
    check_the_end(sweep)


@pytest.mark.slow
def test_a_driver_killed_before_its_first_checkpoint_begins_again(sweep: Sweep) -> None:
    driver = sweep.run()
    driver.wait_until(lambda: sweep.lines("start"), "a trial began")
    driver.kill()
    assert not sweep.lines("end")
    sweep.resume().document()
    check_the_end(sweep)


@pytest.mark.slow
def test_a_driver_killed_while_ray_starts_is_resumed(sweep: Sweep) -> None:
    driver = sweep.run()
    driver.wait_until(lambda: "starting Ray" in driver.said(), "Ray was being started")
    driver.kill()
    sweep.resume().document()
    check_the_end(sweep)


@pytest.mark.slow
@pytest.mark.parametrize("begun", [False, True])
def test_a_sweep_whose_ray_was_killed_says_so_and_is_resumed(sweep: Sweep, begun: bool) -> None:
    driver = sweep.run()
    if begun:
        driver.wait_until(sweep.in_the_middle, "it was in the middle")
    else:
        driver.wait_until(lambda: "starting workers" in driver.said(), "workers were being started")
    workers = driver.workers()  # they would go on, but no other can be started
    for process in [*(process for process in driver.look() if "/raylet/raylet " in process.title), *workers]:
        process.kill()
    assert driver.wait() == 2, driver.said()
    assert "halted: Ray's own process (raylet) has ended" in driver.said()
    assert "Traceback" not in driver.said()
    sweep.resume().document()
    check_the_end(sweep)


@pytest.mark.slow
def test_a_killed_sweep_asks_for_the_trials_that_a_calm_one_asks_for(make_sweep: Callable[..., Sweep]) -> None:
    calm, killed = make_sweep(), make_sweep()
    calm.run().document()
    check_the_end(calm)
    driver = killed.run()
    driver.wait_until(killed.in_the_middle, "it was in the middle")
    driver.kill()
    killed.resume().document()
    assert [(t.params, t.value, t.reports) for t in killed.trials()] == [
        (t.params, t.value, t.reports) for t in calm.trials()
    ]


@pytest.mark.slow
def test_replicates_survive_a_killed_driver(make_sweep: Callable[..., Sweep]) -> None:
    sweep = make_sweep(trials=6, replicates=2)
    driver = sweep.run()
    driver.wait_until(lambda: sweep.in_the_middle(ends=1), "it was in the middle")
    driver.kill()
    sweep.resume().document()
    check_the_end(sweep)


@pytest.mark.slow
def test_structural_cohorts_survive_a_killed_driver(make_sweep: Callable[..., Sweep]) -> None:
    space = {"lr_exponent": {"low": -2.5, "high": -0.5}, "batch_size": [8, 16]}
    sweep = make_sweep(space=space, schedule="constant")
    driver = sweep.run()
    driver.wait_until(sweep.in_the_middle, "it was in the middle")
    driver.kill()
    sweep.resume().document()
    check_the_end(sweep)


@pytest.mark.slow
def test_a_worker_that_dies_again_and_again_fails_its_trials_and_the_sweep_still_ends(sweep: Sweep) -> None:
    driver = sweep.run()
    driver.wait_until(lambda: sweep.lines("report"), "it reported")
    killed = 0

    def kill_all() -> bool:
        nonlocal killed
        for worker in driver.workers():
            worker.kill()
            killed += 1
        return driver.process.poll() is not None

    wait_until(kill_all, "the driver gave up")
    assert driver.wait() in (0, 1), driver.said()
    assert killed >= 4
    states = {t.state for t in sweep.trials()}
    assert states <= {"complete", "failed"}, states
    assert "failed" in states
    assert not [run.info.run_id for run in sweep.runs() if run.info.status == "RUNNING"]


@pytest.mark.slow
def test_a_stopped_worker_process_only_delays_the_sweep(sweep: Sweep) -> None:
    driver = sweep.run()
    driver.wait_until(sweep.in_the_middle, "it was in the middle")

    victim = driver.workers()[0]
    os.kill(victim.pid, signal.SIGSTOP)
    before = len(sweep.lines("report"))
    driver.wait_until(lambda: len(sweep.lines("report")) > before or not victim.alive, "the other cohort went on")
    os.kill(victim.pid, signal.SIGCONT)
    driver.document()
    check_the_end(sweep)
