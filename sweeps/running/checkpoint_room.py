"""The room for checkpoints: what the trials of a sweep may keep on the disk, and what goes first where that is full.

The driver alone removes: it knows which trials have ended, and gives out what is to go on from where.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from espalier.core.errors import gib
from espalier.core.foreign import disk
from espalier.core.foreign.disk import Saved
from espalier.core.training.events import Ended, Event, Parked, Reported, TrialId
from espalier.sweeps.results.checkpoint_disk import limit_bytes
from espalier.sweeps.running.progress import Progress
from espalier.sweeps.search.search import Search
from espalier.sweeps.search.trial_record import TrialRecord

_FOLDER = re.compile(r"\d+-\d+")  # of a trial


@dataclass(frozen=True)
class Needs:
    """What a search may still need of trials' checkpoints.

    training: the trials in training. begins: by trial, the steps at which pieces in training begin. waiting: trials of
    which branches may wait that are planned already. parked: trials that may go on. standing: of these, and of others
    from which further branches may be asked for: the step of their last score, and the score, the larger the better.
    best: the best complete trial.
    """

    training: Collection[int] = ()
    begins: Mapping[int, Collection[int]] = field(default_factory=dict[int, Collection[int]])
    waiting: Collection[int] = ()
    parked: Collection[int] = ()
    standing: Mapping[int, tuple[int, float]] = field(default_factory=dict[int, tuple[int, float]])
    best: int | None = None


def least_needed_first(saved: Iterable[Saved], needs: Needs) -> list[Saved]:
    """Return what may be removed, the least needed first. What a process is about to go on from may not.

    First go those of trials that have ended, the oldest first. Then what is kept for further branches, where that costs
    least: those that come soon after another one. Then the last of trials that may go on, or have branches, the worst
    trial first. The last of the best trial goes last.
    """
    by_trial: dict[str, list[Saved]] = {}
    for each in saved:
        by_trial.setdefault(each.trial, []).append(each)
    ranked = [pair for own in by_trial.values() for pair in _ranked(own, needs)]
    return [each for _, each in sorted(ranked, key=lambda pair: pair[0])]


def _ranked(own: Sequence[Saved], needs: Needs) -> Iterator[tuple[tuple[float, ...], Saved]]:
    """Yield what may be removed of one trial, with its rank. own: what it has saved, steps rising."""
    trial, steps = TrialId.parse(own[0].trial), [each.step or 0 for each in own]
    number = trial.number
    for place, each in enumerate(own):
        step, last = steps[place], each.step is None or each.step == max(steps)
        if _is_needed(each, number, steps, last, needs):
            continue
        name = (float(number), float(trial.replicate), float(step))
        for_branches = each.protected and number in needs.standing
        if number == needs.best and last:
            yield (3.0, *name), each
        elif number in needs.training or (for_branches and not last) or (number in needs.parked and not last):
            yield (1.0, float(step - steps[place - 1] if place else step), *name), each
        elif for_branches or number in needs.parked:
            yield (2.0, *needs.standing.get(number, (0, 0.0)), *name), each
        else:
            yield (0.0, each.at, *name), each


def _is_needed(saved: Saved, number: int, steps: Sequence[int], last: bool, needs: Needs) -> bool:
    """Whether a process goes on from it, now or if it is killed. steps: that its trial has saved."""
    if (number in needs.training and last) or (number in needs.waiting and saved.protected):
        return True
    begins = needs.begins.get(number, ())
    return any(saved.step == max((step for step in steps if step <= begin), default=-1) for begin in begins)


class CheckpointRoom:
    """Keeps the checkpoints of a sweep within their room."""

    def __init__(self, trials: Path, search: Search, progress: Progress):
        """trials: the folder of trials' folders."""
        self.trials, self.search, self.progress = trials, search, progress
        self.resources, self.objective = search.spec.resources, search.spec.objective
        self.saved: dict[str, list[Saved]] = {}  # by trial's key
        self.standing = {trial.number: _standing(trial, self.objective.sign) for trial in search.record.trials()}
        self.told: set[str] = set()
        self._measure(place.name for place in (trials.iterdir() if trials.is_dir() else ()))

    def take(self, events: Iterable[Event]) -> None:
        """Take what workers have reported; remove what has no room any more."""
        reported = [event for event in events if isinstance(event, Reported | Parked | Ended)]
        if not reported:
            return
        for event in reported:
            values = event.values if not isinstance(event, Parked) else event.so_far.values if event.so_far else {}
            value = values.get(self.objective.metric)
            good = float("-inf") if value is None else -self.objective.sign * value
            self.standing[event.trial_id.number] = (event.step, good)
        self._measure({event.trial.replace("/", "-") for event in reported})
        self._make_room()

    def _measure(self, names: Iterable[str]) -> None:
        for name in names:
            if _FOLDER.fullmatch(name):
                self.saved[name.replace("-", "/")] = disk.saved_by(self.trials / name)

    def _make_room(self) -> None:
        saved = [each for of_one in self.saved.values() for each in of_one]
        taken = sum(each.size for each in saved)
        limit = limit_bytes(self.resources, self.trials, taken)
        if taken <= limit:
            return
        largest = max(saved, key=lambda each: each.size)
        if largest.size > limit:
            number = TrialId.parse(largest.trial).number
            self._note(
                f"resources.checkpoints_gib: what trial {number} saves takes {gib(largest.size)} alone, and all trials "
                f"may take {gib(limit)}: what is parked begins anew when it goes on; give more room"
            )
        needs = self._needs()
        while taken > limit and (first := next(iter(least_needed_first(saved, needs)), None)):
            saved.remove(first)
            taken -= first.size
            self._remove(first, limit)

    def _remove(self, saved: Saved, limit: int) -> None:
        saved.remove()
        self.progress.checkpoints_removed += 1
        left = self.saved[saved.trial] = [each for each in self.saved[saved.trial] if each is not saved]
        number, parking = TrialId.parse(saved.trial).number, self.search.parking
        if parking is None or self.search.planner.all_asked or number not in parking.pieces.trunks:
            return
        if any(each.protected or number in parking.ends for each in left):
            return
        parking.pieces.lose(number, unended=number in self.search.merging)
        if number in parking.ends:
            self._note(
                f"resources.checkpoints_gib: checkpoints take all of {gib(limit)}, so those of parked trials are "
                "removed, the worst first; one that goes on begins anew, which the budget pays"
            )

    def _note(self, text: str) -> None:
        """Tell the user once, whatever the numbers."""
        kind = re.sub(r"\d", "", text)
        if kind not in self.told:
            self.told.add(kind)
            self.progress.note(text)

    def _needs(self) -> Needs:
        search, best = self.search, self.progress.best
        best_number = best[0] if best else None
        if (parking := search.parking) is None:
            plans = [*search.live.values(), *search.waiting]
            waiting = {n for plan in plans if search.merging.keys() & set(plan.numbers) for n in plan.numbers}
            return Needs(search.merging.keys(), waiting=waiting, best=best_number)
        pieces = parking.pieces
        begins: dict[int, set[int]] = {}
        for number in pieces.training:
            if (piece := pieces.planned(number).piece) and piece.begin:
                begins.setdefault(piece.source, set()).add(piece.begin)
        may_go_on = () if search.planner.all_asked else {*parking.ends, *pieces.trunks}
        standing = {number: self.standing.get(number, (0, float("-inf"))) for number in may_go_on}
        training = search.merging.keys() - parking.ends.keys()
        return Needs(training, begins, parked=parking.ends.keys(), standing=standing, best=best_number)


def _standing(trial: TrialRecord, sign: float) -> tuple[int, float]:
    """Return the last step at which the value of a trial is known, and how good it was."""
    values = {**trial.reports, **{step: score.value for step, score in trial.scores.items() if score.value is not None}}
    return max(((step, -sign * value) for step, value in values.items()), default=(0, float("-inf")))
