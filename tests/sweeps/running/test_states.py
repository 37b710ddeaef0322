"""States of trials as files: from which one a piece goes on, and what a torn file or a full disk costs."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from espalier.core.tasks.thermometer import Thermometer
from espalier.core.training.cohort import Cohort
from espalier.core.training.events import Repeated
from espalier.core.training.setup import CohortSetup
from espalier.core.training.trial import Hyperparameters, Structure, Trial
from espalier.sweeps.running import states as module
from espalier.sweeps.running.states import States
from espalier.sweeps.running.trainable import LaneEngine
from espalier.sweeps.search.cohort_plan import Piece, PlannedTrial
from tests.sweeps.made import spec_with

STEPS = 30
TRUNK = PlannedTrial(0, {}, piece=Piece(0, 0, until=20, keep_at=(8, 12)))
BRANCH = PlannedTrial(3, {}, piece=Piece(0, 12))


def trained(trials: Sequence[Trial], states: Any = ()) -> Cohort:
    task = Thermometer()
    cohort = Cohort(CohortSetup(task, task.data(), Structure(batch_size=11), trials))
    for trial, state in states:
        cohort.thaw(trial, state)
    return cohort


def trial(number: int, lr: float = 1e-3, **more: Any) -> Trial:
    return Trial(f"{number}/0", 0, STEPS, Hyperparameters(lr, (0.6,)), **more)


@pytest.fixture
def states(tmp_path: Path) -> States:
    """The states of a trunk that was parked at step 20, and kept at 8 and 12."""
    states = States(tmp_path / "states")
    cohort = trained([trial(0, until=20, keep_at=(8, 12))])
    while not cohort.done:
        cohort.turn()
        states.keep(cohort.take_frozen(), [TRUNK])
    return states


def step_of(state: Any) -> int | None:
    return state and state["lane"]["step"]


def test_a_branch_begins_at_the_last_state_that_its_trunk_has_before_it(states: States) -> None:
    assert step_of(states.find(3, 0, Piece(0, 12), STEPS)) == 12
    assert step_of(states.find(3, 0, Piece(0, 13), STEPS)) == 12
    assert step_of(states.find(3, 0, Piece(0, 8), STEPS)) == 8
    assert states.find(3, 0, Piece(0, 7), STEPS) is None
    assert states.find(3, 1, Piece(0, 12), STEPS) is None, "another seed"
    assert states.find(3, 0, Piece(1, 12), STEPS) is None, "another trunk"


@pytest.mark.parametrize(("begin", "found"), [(12, None), (13, 12), (7, 0)])
def test_what_trains_again_for_want_of_a_state_is_told_to_the_search(
    begin: int, found: int | None, states: States
) -> None:
    engine = LaneEngine(spec_with(), states)
    engine._state_of(replace(BRANCH, piece=Piece(0, begin)), trial(3))  # pyright: ignore[reportPrivateUsage]
    told = [event for event in engine.replayed if isinstance(event, Repeated)]
    assert told == ([] if found is None else [Repeated("3/0", found, begin)])


def test_a_trunk_goes_on_from_where_it_was_parked(states: States) -> None:
    assert step_of(states.find(0, 0, Piece(0, 20, until=25), STEPS)) == 20


def test_a_piece_goes_on_from_its_own_latest_state_after_a_crash(states: States) -> None:
    state = states.find(3, 0, BRANCH.piece or Piece(0), STEPS)
    cohort = trained([], [(trial(3), state)])
    steps: list[int] = []
    for _ in range(2):
        cohort.turn(3)
        states.keep_recent(cohort)
        steps += [cohort.pool.active[0].step]
    assert 12 < steps[0] < steps[1]
    assert [path.name for path in states.folder.glob("3-*")] == [f"3-0-{steps[1]}.pt"], "the earlier one is gone"
    again = States(states.folder)
    assert step_of(again.find(3, 0, Piece(0, 12), STEPS)) == steps[1]
    again.discard([BRANCH])
    assert step_of(again.find(3, 0, Piece(0, 12), STEPS)) == 12


def test_the_numbers_are_those_of_a_training_in_one_go(states: States) -> None:
    state = states.find(3, 0, Piece(0, 12), STEPS)
    branch = trained([], [(trial(3), state)])
    alone = trained([trial(3)])
    ends = [[event for event in cohort.train() if event.kind == "finish"][-1] for cohort in (branch, alone)]
    assert ends[0].to_json()["values"] == ends[1].to_json()["values"]


@pytest.mark.parametrize("how", ["cut", "zeros", "empty", "gone"])
def test_a_torn_state_is_passed_over_for_the_one_before_it(how: str, states: States) -> None:
    file = states.folder / "0-0-12.pt"
    content = file.read_bytes()
    if how == "gone":
        file.unlink()
    else:
        torn = {"cut": content[: len(content) // 2], "zeros": bytes(len(content)), "empty": b""}
        file.write_bytes(torn[how])
    assert step_of(states.find(3, 0, Piece(0, 12), STEPS)) == 8


def test_what_would_fill_the_disk_is_not_kept(states: States, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = module.shutil.disk_usage(states.folder)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage._replace(free=10))
    state = states.find(3, 0, Piece(0, 12), STEPS)
    cohort = trained([], [(trial(3), state)])
    cohort.turn(4)
    states.keep_recent(cohort)
    assert not list(states.folder.glob("3-*"))


def test_rows_that_a_branch_keeps_for_others_are_its_trunks(tmp_path: Path) -> None:
    states = States(tmp_path)
    piece = Piece(5, 0, keep_at=(4,))
    cohort = trained([trial(7, keep_at=(4,))])
    while not cohort.done:
        cohort.turn()
        states.keep(cohort.take_frozen(), [PlannedTrial(7, {}, piece=piece)])
    assert [path.name for path in tmp_path.iterdir()] == ["5-0-4.pt"]
    found = states.find(9, 0, replace(piece, begin=4), STEPS)
    assert found is not None
    assert all(isinstance(tensor, torch.Tensor) and not tensor.is_cuda for tensor in found["row"].values())


def test_a_state_that_is_kept_for_branches_is_not_removed_with_those_that_only_a_crash_needs(tmp_path: Path) -> None:
    states = States(tmp_path)
    cohort = trained([trial(0, keep_at=(8,))])
    while cohort.pool.active[0].step != 8 if cohort.pool.active else True:
        cohort.turn(4)
    for _ in range(3):
        states.keep_recent(cohort)
        cohort.turn(1)
        states.keep(cohort.take_frozen(), [PlannedTrial(0, {}, piece=Piece(0, 0, keep_at=(8,)))])
    assert len(list(tmp_path.iterdir())) == 2, "the kept one, and the last"
    assert (tmp_path / "0-0-8.pt").exists()
