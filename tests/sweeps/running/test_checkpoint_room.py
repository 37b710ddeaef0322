"""The room for checkpoints: it is kept, what is needed least goes first, and the search knows what is lost."""

import shutil
from pathlib import Path

import pytest

from espalier.core.foreign import disk
from espalier.core.foreign.disk import Saved, saved_by
from espalier.core.foreign.folder import Assignment, TrialFolder
from espalier.core.training.events import Event, Parked, Repeated, Reported, Scored, Started
from espalier.sweeps.results.checkpoint_disk import GIB, CheckpointDisk, limit_bytes
from espalier.sweeps.running.checkpoint_room import CheckpointRoom, Needs, least_needed_first
from espalier.sweeps.running.progress import Progress
from espalier.sweeps.search.cohort_plan import PlannedTrial
from espalier.sweeps.spec.parts import Resources
from espalier.sweeps.spec.spec import SweepSpec, make_spec
from tests.sweeps.made import end
from tests.sweeps.search.desk import Desk

KIB = 1024
SIZE = 10 * KIB  # of each checkpoint
STEPS = 400


def saved(trial: str, step: int | None, at: float = 0.0, kept: bool = False) -> Saved:
    return Saved(trial, step, TrialFolder(Path("none")), SIZE, at, kept)


def order(of: list[Saved], needs: Needs) -> list[tuple[str, int | None]]:
    return [(each.trial, each.step) for each in least_needed_first(of, needs)]


def test_trials_that_have_ended_go_first_the_oldest_first_and_the_best_last() -> None:
    ended = [saved("0/0", 40, at=3), saved("1/0", 40, at=1), saved("2/0", None, at=2)]
    parked = [saved("3/0", 20)]
    needs = Needs(parked=[3], standing={3: (20, -1.0)}, best=1)
    assert order(ended + parked, needs) == [("2/0", None), ("0/0", 40), ("3/0", 20), ("1/0", 40)]


def test_of_parked_trials_go_what_others_can_stand_for_then_those_that_came_less_far_then_the_worse() -> None:
    parked = [saved("0/0", 20), saved("1/0", 20), *(saved("2/0", step, kept=True) for step in (20, 50, 60, 80))]
    standing = {0: (20, -1.0), 1: (20, -2.0), 2: (80, -9.0)}
    wanted = [("2/0", 60), ("2/0", 20), ("2/0", 50), ("1/0", 20), ("0/0", 20), ("2/0", 80)]
    assert order(parked, Needs(parked=[0, 1, 2], standing=standing)) == wanted


def test_what_a_process_goes_on_from_is_never_removed() -> None:
    trunk = [saved("0/0", step, kept=True) for step in (20, 60, 100)]
    training = [saved("1/0", 10), saved("1/0", 30), saved("2/0", None)]
    needs = Needs(training=[1, 2], begins={0: [70]}, standing={0: (100, 0.0)})
    assert order(trunk + training, needs) == [("1/0", 10), ("0/0", 20), ("0/0", 100)]


def test_branches_that_are_planned_find_what_was_kept_for_them() -> None:
    trunk = [saved("0/0", 20, kept=True), saved("0/0", 40)]
    assert order(trunk, Needs(waiting=[0, 1])) == [("0/0", 40)]


def test_of_a_trunk_that_is_complete_its_end_is_of_no_use_to_branches() -> None:
    trunk = [saved("0/0", 20, kept=True), saved("0/0", 40)]
    assert order(trunk, Needs(standing={0: (40, -1.0)})) == [("0/0", 40), ("0/0", 20)]


# --- on a disk, by a search ------------------------------------------------------------------------------------------


def spec_of(checkpoints: int) -> SweepSpec:
    """Return a sweep by pieces with room for so many checkpoints."""
    return make_spec(
        {
            "name": "warm",
            "function": "t.py:train",
            "share": "checkpoints",
            "schedule": "step",
            "budget": {"steps": STEPS, "trainings": 5},
            "space": {"lr": {"low": 1e-4, "high": 1.0, "log": True}, "decay_points": {"low": 0.4, "high": 0.9}},
            "resources": {"checkpoints_gib": checkpoints * SIZE / GIB},
        }
    )


class Sweep:
    """A search whose pieces write checkpoints of one size."""

    def __init__(self, folder: Path, room_for: int):
        self.desk = Desk(folder, spec_of(room_for), cohorts=1)
        self.trials, self.search = folder / "trials", self.desk.search
        self.progress = Progress.of("warm", self.desk.spec, 0.0)
        self.room = CheckpointRoom(self.trials, self.search, self.progress)
        self.most = self.steps = 0
        self.again: list[Repeated] = []

    @property
    def taken(self) -> int:
        return disk.taken(self.trials)

    def save(self, number: int, step: int, size: int = SIZE) -> None:
        """Write a checkpoint, as a process does."""
        folder = TrialFolder(self.trials / f"{number}-0")
        (folder.next_checkpoint() / "state").write_bytes(bytes(size))
        folder.commit_checkpoint(step)

    def train(self, planned: PlannedTrial, size: int = SIZE) -> list[Event]:
        """Train a piece; return what its worker reports."""
        piece, name, again = planned.piece, f"{planned.number}/0", list[Repeated]()
        assert piece
        source = TrialFolder(self.trials / f"{piece.source}-0")
        begin = max((step for step in source.checkpoint_steps() if step <= piece.begin), default=0)
        if begin < piece.begin:
            again = [Repeated(name, begin, piece.begin)]
        until = piece.until or STEPS
        self.again += again
        self.steps += until - begin
        TrialFolder(self.trials / f"{planned.number}-0").assign(
            Assignment(name, {}, {}, 0, STEPS, kept=piece.keep_at, until=piece.until)
        )
        for step in {*piece.keep_at, until}:
            self.save(planned.number, step, size)
        loss = 2 + (planned.point["lr_exponent"] + 1.5) ** 2
        reported = Reported(name, until, {"valid_loss": loss})
        over = end(name, until, loss, "stopped" if piece.until else "complete")
        if not piece.until:
            return [Started(name, 0), *again, reported, over]
        scored = Scored(name, until, {"valid_loss": loss}, "reported")
        return [Started(name, 0), *again, reported, scored, Parked(name, until, over)]

    def finish(self, most: int = 1000) -> None:
        """Train everything, one piece after another."""
        cohort = self.search.next_cohort()
        assert cohort
        pieces = list(cohort.trials)
        while pieces and most:
            most -= 1
            events = self.train(pieces.pop(0))
            for event in events:
                self.search.take_events([event])
            self.room.take(events)
            self.most = max(self.most, self.taken)
            pieces += self.search.more_trials(cohort.id, lanes=1)
            self.search.parked_events()


@pytest.mark.parametrize("room_for", [2, 6, 12])
def test_the_room_is_kept_and_what_is_trained_again_is_paid(room_for: int, tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, room_for)
    sweep.finish()
    assert 0 < sweep.most <= room_for * SIZE
    assert sweep.progress.checkpoints_removed > 0
    assert sweep.again, "something went on from less than it was to"
    parking = sweep.search.parking
    assert parking
    model = parking.pieces.model
    assert model.spent * STEPS == pytest.approx(sweep.steps, abs=3), "but for the rounding of shares to steps"
    assert model.spent <= 5 + 1, "at most one piece cost more than was known when it was asked for"
    assert any(trunk.lost for trunk in model.trunks)
    (note,) = [note for note in sweep.progress.notes if "parked trials are removed" in note]
    assert "\n" not in note


def test_where_there_is_room_nothing_is_removed(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, 10_000)
    sweep.finish()
    assert sweep.progress.checkpoints_removed == 0
    assert not sweep.progress.notes


def test_a_next_driver_counts_what_it_finds(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, 10_000)
    sweep.finish(most=4)
    taken = sweep.taken
    sweep.search = sweep.desk.take_up()
    sweep.room = CheckpointRoom(sweep.trials, sweep.search, sweep.progress)
    found = [each for of_one in sweep.room.saved.values() for each in of_one]
    assert sum(each.size for each in found) == taken > 0


def test_a_checkpoint_larger_than_the_room_is_one_line_and_the_sweep_goes_on(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, 2)
    cohort = sweep.search.next_cohort()
    assert cohort
    for _ in range(3):
        events = sweep.train(cohort.trials[0], size=3 * SIZE)
        sweep.search.take_events(events)
        sweep.room.take(events)
    (note, *_) = sweep.progress.notes
    assert note == (
        "resources.checkpoints_gib: what trial 0 saves takes 30 KiB alone, and all trials may take 20 KiB: "
        "what is parked begins anew when it goes on; give more room"
    )
    assert len(sweep.progress.notes) <= 2


def test_when_a_sweep_has_ended_the_last_of_complete_trials_stay(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, 10_000)
    for number, step in ((0, 20), (0, 40), (1, 20), (1, 30)):
        sweep.save(number, step)
    disk.keep_models(sweep.trials, {0})
    assert [TrialFolder(sweep.trials / f"{n}-0").checkpoint_steps() for n in (0, 1)] == [[40], []]


# --- measuring -------------------------------------------------------------------------------------------------------


def test_what_a_process_writes_at_the_moment_counts_and_is_no_checkpoint(tmp_path: Path) -> None:
    folder = TrialFolder(tmp_path / "trials" / "3-1")
    (folder.next_checkpoint() / "state").write_bytes(bytes(SIZE))
    assert (saved_by(folder.path), disk.taken(tmp_path / "trials")) == ([], SIZE)
    folder.commit_checkpoint(20)
    (each,) = saved_by(folder.path)
    assert (each.trial, each.step, each.size) == ("3/1", 20, SIZE)
    each.remove()
    assert disk.taken(tmp_path / "trials") == 0
    assert not list(folder.checkpoints.iterdir())


def test_a_removal_that_was_killed_leaves_no_torn_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = TrialFolder(tmp_path / "3-1")
    (folder.next_checkpoint() / "state").write_bytes(bytes(SIZE))
    folder.commit_checkpoint(20)
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # as if the process were gone by then
    folder.drop_checkpoint(20)
    assert folder.checkpoint_steps() == []


def test_auto_is_half_of_what_is_free_and_taken(tmp_path: Path) -> None:
    free = disk.free(tmp_path)
    assert limit_bytes(Resources(), tmp_path / "none", SIZE) == pytest.approx(free / 2, rel=0.05)
    assert limit_bytes(Resources(checkpoints_gib=2), tmp_path, SIZE) == 2 * GIB


def test_what_is_taken_is_said(tmp_path: Path) -> None:
    assert CheckpointDisk.of(tmp_path, Resources()) is None
    (tmp_path / "0-0" / "saved").mkdir(parents=True)
    (tmp_path / "0-0" / "saved" / "state").write_bytes(bytes(SIZE))
    shown = CheckpointDisk.of(tmp_path, Resources(checkpoints_gib=1))
    assert shown and shown.sentence == f"checkpoints take 10 KiB of at most 1.0 GiB, in {tmp_path}"
    assert shown.document() == {"taken": SIZE, "limit": GIB, "folder": str(tmp_path), "removed": 0}
