"""Espalier's freeze and thaw, asked for its pieces as a sweep asks."""

from espalier.sweeps.thaw.pieces import Piece as ThawPiece
from espalier.sweeps.thaw.pieces import TrunkPiece
from espalier.sweeps.thaw.space import DECADES, Number, Space
from espalier.sweeps.thaw.thaw import Thaw
from tests.bench.search.pieces import Piece, Problem


class Thawing:
    """A search over one exponent and one decay point."""

    def __init__(self, problem: Problem):
        low, high = problem.decays
        space = Space([Number(*problem.exponents, DECADES)], decay=problem.decays, decays=int(low < high))
        self.search = Thaw(space, problem.budget, problem.seed)
        self.training: dict[Piece, ThawPiece] = {}

    def ask(self) -> Piece | None:
        """Return the next piece."""
        piece = self.search.ask()
        if piece is None:
            return None
        if isinstance(piece, TrunkPiece):
            asked = Piece("trunk", piece.point[0], piece.end, trunk=piece.trunk)
        else:
            decay = piece.decay[0] if piece.decay else 1.0
            asked = Piece("branch", piece.point[0], decay, piece.begin, piece.trunk)
        self.training[asked] = piece
        return asked

    def tell(self, piece: Piece, value: float) -> None:
        """Take what a piece came to."""
        self.search.tell(self.training.pop(piece), value)
