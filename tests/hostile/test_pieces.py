"""SIGKILL to a worker, and to the driver, of a search by pieces: states of trials are files, from which all goes on."""

from collections.abc import Callable

import pytest

from espalier.sweeps.recording.stories import read_trial
from tests.hostile.endings import check_chosen, check_numbers
from tests.hostile.harness import Command, Sweep

pytestmark = pytest.mark.hostile


@pytest.mark.slow
def test_a_search_by_pieces_survives_the_kill_of_a_worker_and_of_its_driver(
    make_sweep: Callable[..., Sweep],
) -> None:
    space = {"lr_exponent": {"low": -2.5, "high": -0.5}, "decay_points": {"low": 0.4, "high": 0.9}}
    budget = {"steps": 4000, "batch_size": 16, "reports": 10, "trainings": 4}
    sweep = make_sweep(space=space, budget=budget, search={"sampler": "thaw", "seed": 3}, trials=100)
    driver = sweep.run()
    driver.wait_until(lambda: states(sweep) >= 3, "there were states of trunks")
    driver.workers()[0].kill()
    driver.wait_until(lambda: sweep.lines("end"), "a trial ended")
    driver.kill()
    before = {n: known["pieces"] for n, known in sweep.attributes().items()}

    summary = sweep.resume().document()
    check_chosen(sweep)
    trials = {t.number: t for t in sweep.trials()}
    assert {t.state for t in trials.values()} == {"complete", "stopped"}
    known = sweep.attributes()
    assert all(known[n]["pieces"][: len(pieces)] == pieces for n, pieces in before.items())
    pieces = sorted((piece for n in known for piece in known[n]["pieces"]), key=lambda piece: piece["order"])
    assert [piece["order"] for piece in pieces] == list(range(len(pieces))), "each was asked for once"
    given_out = sum(piece.get("end", 1.0) - piece["begin"] for piece in pieces)
    assert 3 < given_out <= 4 + 1e-9
    assert summary["lane_steps"] >= 0.95 * given_out * 4000
    assert not list(sweep.home.glob("sweeps/*/states")), "the states are gone at the end"

    runs = {int(run.data.tags["espalier.trial"]): run for run in sweep.runs() if "espalier.trial" in run.data.tags}
    assert sorted(runs) == sorted(trials)
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    reported = {n: run for n, run in runs.items() if "valid_loss" in run.data.metrics}
    assert {max(trials[n].reports) for n in runs.keys() - reported} <= {200}, (
        "the first rung is before the first report"
    )
    check_numbers(sweep, reported)
    for number, run in runs.items():
        assert run.data.tags["espalier.status"] == trials[number].state
    parked_before = [n for n in before if trials[n].state == "stopped"]
    assert parked_before, "some were parked by the driver that died"
    for number in parked_before:
        (member,) = read_trial(sweep.tracking, sweep.id, number)["members"]
        assert member["curve"]
        assert member["ratios"]
    assert_reruns(sweep)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["thaw", "tpe"])
def test_what_trains_when_the_time_is_up_is_stopped_also_after_a_kill(
    sampler: str, make_sweep: Callable[..., Sweep]
) -> None:
    space = {"lr_exponent": {"low": -2.5, "high": -0.5}, "decay_points": {"low": 0.4, "high": 0.9}}
    budget = {"steps": 10**7, "batch_size": 16, "reports": 10_000, "hours": 60 / 3600}
    sweep = make_sweep(space=space, budget=budget, search={"sampler": sampler, "seed": 3})
    driver = sweep.run()
    driver.wait_until(lambda: sweep.lines("report"), "a trial had reported")
    driver.wait_until(lambda: sweep.record.time[0] > 0, "the time was stored")
    driver.kill()
    used_s, _ = sweep.record.time
    assert 0 < used_s < 60

    resumed = sweep.resume()
    assert resumed.wait() == 1, "no trial is complete"
    assert "the budget of 0.0166667 hours is spent" in resumed.said()
    trials = sweep.trials()
    assert {trial.state for trial in trials} == {"stopped"}
    assert all("the time was up" in trial.evidence for trial in trials)
    assert 60 <= sweep.record.time[0] < 90
    assert sweep.record.search_over
    for trial in trials:
        (member,) = read_trial(sweep.tracking, sweep.id, trial.number)["members"]
        assert member["curve"]


def assert_reruns(sweep: Sweep) -> None:
    """The best trains again to the same bits, in one go."""
    said = []
    for arguments in (["best", sweep.id, "--home", str(sweep.home)], ["rerun", str(sweep.folder / "best.yaml")]):
        place = sweep.folder / arguments[0]
        place.mkdir()
        command = Command(arguments, place)
        assert command.wait() == 0, command.said()
        said.append(command.said())
        (sweep.folder / "best.yaml").write_text(command.out.read_text())
    assert "bit for bit" in said[-1]


def states(sweep: Sweep) -> int:
    """Return how many states of trials there are."""
    return len(list(sweep.home.glob("sweeps/*/states/*.pt")))
