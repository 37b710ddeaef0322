"""A replay for searches that ask for pieces of work: a trunk up to a rung, or a branch of it to the end.

A trunk is trained once, is parked at its rung, and goes on from there. A branch costs what its trunk lacks up to the
decay point, and then the rest of the budget; a trunk keeps the rows that it passes, and a branch passes some for it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from tests.bench.search import clock
from tests.bench.search.clock import Account, Finish, Work
from tests.bench.search.table import Table

MOST = 10_000  # pieces, more than any budget pays for: a search that asks for finished ones would ask for ever


class Piece(NamedTuple):
    """A piece of work. until: the rung of a trunk, or the decay point of a branch, as a share of the budget.

    begin: of a branch, at which kept row of its trunk it begins, where that is not the decay point itself. trunk: its
    number, where a search may train several of one exponent, which then share nothing.
    """

    kind: Literal["trunk", "branch"]
    exponent: float
    until: float
    begin: float = 1.0
    trunk: int = 0


@dataclass(frozen=True)
class Problem:
    """What a search over pieces is told. The ranges of both axes, the budget in full trainings, a seed, the workers."""

    exponents: tuple[float, float]
    decays: tuple[float, float]
    budget: float
    workers: int
    seed: int


class Pieces(Protocol):
    """A search that asks for pieces."""

    def ask(self) -> Piece | None:
        """Return the next piece; None while nothing is to be begun. A piece has to fit the budget that is left."""
        ...

    def tell(self, piece: Piece, value: float) -> None:
        """Take the score of a trunk at its rung, or the final loss of a branch; infinite where it diverged."""
        ...


@dataclass(frozen=True)
class ByPieces:
    """A method that makes such a search for each replay. score: the kind that trunks are scored by."""

    make: Callable[[Problem], Pieces]
    score: str = "average"
    needs_budget: bool = True
    dear: int = 1

    def replay(self, table: Table, budget: float, workers: int, seed: int) -> list[Finish]:
        """Search over a table."""
        exponents, decays = ((float(axis[0]), float(axis[-1])) for axis in (table.exponents, table.decays))
        search = self.make(Problem(exponents, decays, budget, workers, seed))
        trained: dict[tuple[float, int], float] = {}  # trunk -> how far it is
        account = Account()

        def next_piece() -> Work | None:
            piece = search.ask() if len(account.costs) < MOST else None
            return None if piece is None else train(piece)

        def train(piece: Piece) -> Work:
            unit, trunk = account.begin(), (piece.exponent, piece.trunk)
            before = trained.get(trunk, 0.0)
            trained[trunk] = max(before, piece.until)
            if piece.kind == "trunk":
                cost = max(0.0, piece.until - before)
            else:  # no row is kept beyond where the trunk is
                cost = 1.0 - min(piece.begin, piece.until, before)
            yield account.spend(unit, cost)
            value = _value(table, piece, self.score)
            if piece.kind == "branch" and math.isfinite(value):
                account.finish(unit, value)
            search.tell(piece, value)

        clock.run(workers, next_piece)
        return account.finishes()


def _value(table: Table, piece: Piece, score: str) -> float:
    if piece.kind == "trunk":
        return table.score(score, piece.until, piece.exponent)
    return table.final(piece.exponent, piece.until)
