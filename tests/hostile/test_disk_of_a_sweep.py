"""A home whose disk is full: the command ends with what to do, and the sweep goes on when there is room again."""

from collections.abc import Callable, Iterator

import pytest

from tests.hostile.endings import check_the_end
from tests.hostile.harness import Command, Sweep
from tests.sweeps.full_disk import fill, small_disk

pytestmark = [pytest.mark.hostile, pytest.mark.slow]


@pytest.fixture
def sweep(make_sweep: Callable[..., Sweep]) -> Iterator[Sweep]:
    """A sweep whose home is a disk of its own."""
    sweep = make_sweep()
    with small_disk(sweep.home, "24m"):
        yield sweep
        sweep.clean_up()


def check_says_so(command: Command, sweep: Sweep) -> None:
    """The command has ended with code 2 and a sentence that names a file of the home and what to do, no traceback."""
    assert command.wait() == 2, command.said()
    said = command.said()
    assert "Traceback" not in said, said
    (line,) = [line for line in said.splitlines() if line.startswith(("sweep: ", "halted: "))]
    assert str(sweep.home) in line and "No space left on device" in line and "make room" in line, said
    assert "sweep resume" in said or "again" in line, said


def test_a_disk_that_fills_up_in_the_middle_ends_the_sweep_which_goes_on_when_there_is_room(sweep: Sweep) -> None:
    driver = sweep.run()
    driver.wait_until(sweep.in_the_middle, "it was in the middle")
    filler = fill(sweep.home)
    check_says_so(driver, sweep)
    kept = {t.number: t.value for t in sweep.trials() if t.state == "complete"}
    check_says_so(sweep.resume(), sweep)
    filler.unlink()
    assert sweep.resume().document()["states"] == {"complete": sweep.spec.trials}
    assert kept.items() <= {t.number: t.value for t in sweep.trials()}.items()
    check_the_end(sweep)


def test_a_disk_that_is_full_from_the_start_is_said_before_anything_is_trained(sweep: Sweep) -> None:
    filler = fill(sweep.home)
    check_says_so(sweep.run(), sweep)
    assert not list(sweep.witness.iterdir()), "workers were started"
    filler.unlink()
    sweep.run().document()
    check_the_end(sweep)
