"""The trunks of a search: how far each has come, and which may go on."""

from collections.abc import Iterator, Sequence

from espalier.sweeps.thaw.candidates import MOST_TRUNKS, Candidate
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
        return 1.0 - max([position, *(trunk.position for trunk in self)])

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
