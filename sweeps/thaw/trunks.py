"""The trunks of a search: how far each has come, and which may go on."""

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from espalier.sweeps.thaw.candidates import MOST_TRUNKS, Candidate
from espalier.sweeps.thaw.comparison import Comparison, Mask
from espalier.sweeps.thaw.pieces import Piece, Score, Trunk, TrunkPiece
from espalier.sweeps.thaw.space import Point
from espalier.sweeps.thaw.thinning import worst_trunks


class Trunks:
    """All trunks in the order in which they began. rungs: the shares of a training at which they are parked."""

    def __init__(self, rungs: Sequence[float]):
        self.rungs = rungs
        self._trunks: list[Trunk] = []

    def __len__(self) -> int:
        return len(self._trunks)

    def __getitem__(self, number: int) -> Trunk:
        return self._trunks[number]

    def __iter__(self) -> Iterator[Trunk]:
        return iter(self._trunks)

    def new(self, point: Point) -> Trunk:
        """Return another trunk, of a point."""
        self._trunks.append(Trunk(len(self), point))
        return self._trunks[-1]

    def end(self, trunks: Iterable[int]) -> None:
        """Take that the trials of these trunks have ended, though the search goes on.

        Nothing was kept of them, so that what goes on from one begins anew, as another trial.
        """
        for trunk in trunks:
            self[trunk].over = self[trunk].lost = True

    def void(self, piece: Piece) -> None:
        """Take that a piece was cut off, so that it says nothing, and may be trained another time."""
        if isinstance(piece, TrunkPiece):
            self[piece.trunk].training = False
        else:
            self[piece.trunk].branches.remove(piece.decay)

    def begin_again(self, trunk: int) -> None:
        """Take that a trunk whose trial had ended goes on as another trial."""
        self[trunk].over = False
        self[trunk].again += 1

    @property
    def trials(self) -> int:
        """How many trials there are, of trunks and branches."""
        return sum(trunk.trials for trunk in self)

    @property
    def none_branched(self) -> bool:
        """Whether there is no branch yet, and so no answer."""
        return not any(trunk.branches for trunk in self)

    def to_end(self, position: float) -> float:
        """Return what an answer costs once another trunk is at a position: of a branch of the one farthest on."""
        return 1.0 if self.all_lost else 1.0 - max([position, *(trunk.position for trunk in self if not trunk.lost)])

    @property
    def all_lost(self) -> bool:
        """Whether nothing was kept of any trunk that rests: nor will it be of others."""
        resting = [trunk for trunk in self if not trunk.training]
        return bool(resting) and all(trunk.lost for trunk in resting)

    def next_cost(self, comparison: Comparison, i: int, j: int) -> float:
        """Return what the next piece of a pair costs: its trunk's next rung, or its branch."""
        trunk = comparison.candidates[i].trunk
        if trunk is None:
            return self.rungs[0]
        if self.may_branch(trunk):
            return float(comparison.cost[i, j])
        return self.rungs[trunk.rung] - (0.0 if trunk.lost else self.rested(trunk))

    def goes_on(self, comparison: Comparison) -> Mask:
        """Return which branches would go on from where their trunk rests, for the first time: they begin no trial."""
        trunks = [candidate.trunk for candidate in comparison.candidates]
        begins = [
            math.inf if trunk is None or trunk.continued or trunk.over else self.rested(trunk) for trunk in trunks
        ]
        return comparison.begin >= np.array(begins)[:, None] - 1e-9

    def rested(self, trunk: Trunk) -> float:
        """Return where a trunk rests, or will: at its last rung so far."""
        return self.rungs[trunk.rung - 1] if trunk.rung else 0.0

    def may_branch(self, trunk: Trunk | None) -> bool:
        """Whether a trunk has passed its last rung."""
        return trunk is not None and trunk.rung >= len(self.rungs)

    def place(self, scores: Sequence[Score]) -> None:
        """Say how far each trunk has come: to where it rests, or to where a branch of it that has ended left it.

        The rows of a branch in training are not there yet.
        """
        for trunk in self:
            trunk.position = self.rested(trunk)
        for score in scores:
            if score.share >= 1 and score.decay and score.value is not None:
                trunk = self[score.trunk]
                trunk.position = max(trunk.position, score.decay[0])

    def open(self, scores: Sequence[Score], pending: Sequence[Piece]) -> list[Candidate]:
        """Return the trunks that rest at a rung, as far as the scores tell."""
        closed = {piece.trunk for piece in pending if isinstance(piece, TrunkPiece)}
        closed |= {score.trunk for score in scores if score.value is None and score.share < 1}
        worst = worst_trunks(scores, len(self) - MOST_TRUNKS)
        return [Candidate(t.point, t) for t in self if t.number not in closed and t.number not in worst]
