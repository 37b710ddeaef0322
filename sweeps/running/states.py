"""States of trials as files of their sweep, from which a piece of training goes on: on any worker, after any crash.

A file has one state of one replicate. `3-0-500.pt` is that of trial 3, replicate 0, after step 500. A trial that trains
has a state of some seconds ago, which the next one replaces; a trunk keeps those at which branches may begin.
"""

import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import torch
from torch.utils._pytree import tree_map_only

from espalier.core import checkpoint
from espalier.core.python_state.encoding import Unwritable
from espalier.core.training.cohort import Cohort
from espalier.core.training.events import TrialId
from espalier.core.training.freezing import Frozen
from espalier.core.training.resume import LaneWithRow
from espalier.sweeps.search.cohort_plan import Piece, PlannedTrial

DISK_SHARE = 0.2  # of the free disk, for the states of a sweep
NAME = re.compile(r"(\d+)-(\d+)-(\d+)\.pt")


class States:
    """The states of a sweep's trials, as one worker writes and reads them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._recent: dict[str, Path] = {}  # by replicate: a state that only a crash needs

    def keep(self, frozen: Iterable[Frozen], trials: Iterable[PlannedTrial]) -> None:
        """Write the states that trials have at the steps of their pieces. What no file can hold is not kept."""
        pieces = {trial.number: trial.piece for trial in trials}
        for state in frozen:
            replicate = TrialId.parse(state.trial)
            piece = pieces.get(replicate.number)
            if piece is None:
                continue
            owner = replicate.number if state.step == piece.until else piece.source
            path = self._write(TrialId(owner, replicate.replicate), state)
            if self._recent.get(state.trial) == path:
                self._recent.pop(state.trial, None)  # it is kept for longer now
            if state.step == piece.until:
                self._forget_recent(state.trial)

    def keep_recent(self, cohort: Cohort) -> None:
        """Write the present states of all trials of a cohort."""
        with suppress(Unwritable):  # else they begin again where their pieces begin, with the same numbers
            for state in cohort.states():
                owner = TrialId.parse(state.trial)
                if state.step == 0 or self._path(owner, state.step).exists():  # which is kept for branches
                    continue
                path = self._write(owner, state)
                if self._recent.get(state.trial) != path:
                    self._forget_recent(state.trial)
                    if path:
                        self._recent[state.trial] = path

    def _forget_recent(self, trial: str) -> None:
        if path := self._recent.pop(trial, None):
            path.unlink(missing_ok=True)

    def _path(self, owner: TrialId, step: int) -> Path:
        return self.folder / f"{owner.number}-{owner.replicate}-{step}.pt"

    def _write(self, owner: TrialId, state: Frozen) -> Path | None:
        """Write a state; None if there is no room for it. Raises OSError if the disk is full."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lane = tree_map_only(torch.Tensor, lambda tensor: tensor.cpu(), state.lane)
        bytes_ = sum(tensor.numel() * tensor.element_size() for tensor in state.lane["row"].values())
        if bytes_ > DISK_SHARE * shutil.disk_usage(self.folder).free:
            return None
        path = self._path(owner, state.step)
        checkpoint.save(path, {"lane": lane}, durable=False)  # a torn one costs training, and no numbers
        return path

    def discard(self, trials: Iterable[PlannedTrial]) -> None:
        """Remove what pieces have written so far: their program's steps have turned out to differ from PyTorch's."""
        self._recent.clear()
        for trial in trials:
            for owner in {trial.number, trial.piece.source} if trial.piece else ():
                for path in self.folder.glob(f"{owner}-*.pt"):
                    name = NAME.fullmatch(path.name)
                    if name and trial.piece and int(name[3]) > trial.piece.begin:
                        path.unlink(missing_ok=True)

    def find(self, number: int, replicate: int, piece: Piece, steps: int) -> LaneWithRow | None:
        """Return the latest state from which a piece of a trial can go on; None to train from the beginning.

        steps: of a whole training.
        """
        last = steps if piece.until is None else piece.until
        own = self._steps_of(number, replicate, piece.begin, last - 1)
        trunk = self._steps_of(piece.source, replicate, 1, piece.begin)
        places = [*((number, step) for step in own), *((piece.source, step) for step in trunk)]
        for owner, step in sorted(places, key=lambda place: -place[1]):
            with suppress(Exception):  # incomplete after a crash, or of another version: the one before it may do
                state: LaneWithRow = checkpoint.load(self.folder / f"{owner}-{replicate}-{step}.pt")["lane"]
                return state
        return None

    def _steps_of(self, number: int, replicate: int, first: int, last: int) -> list[int]:
        """Return the steps from first to last at which there is a state of a trial's replicate."""
        names = (NAME.fullmatch(path.name) for path in self.folder.glob(f"{number}-{replicate}-*.pt"))
        return [step for name in names if name and first <= (step := int(name[3])) <= last]
