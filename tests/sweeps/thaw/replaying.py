"""Searches replayed against a made-up truth, on a clock: each piece takes as long as it costs."""

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass

from espalier.sweeps.thaw.pieces import Piece, TrunkPiece
from espalier.sweeps.thaw.space import Point
from espalier.sweeps.thaw.thaw import Thaw

Truth = Callable[[Point, float, tuple[float, ...]], float | None]
"""The score of a point at a share of a training, with its decay points at the end; None where it diverges."""


def valley(point: Point, share: float, decay: tuple[float, ...]) -> float | None:
    """A loss whose best exponent is -1 at the end, and higher the earlier one looks; it diverges from 0 on."""
    exponent = point[0]
    if exponent > 0:
        return None
    early = 0.3 * -math.log(share)
    late = sum((d - 0.7) ** 2 for d in decay)
    return 2.0 + early / 2 + 0.2 * (exponent + 1 - early / 3) ** 2 + late


@dataclass
class Replay:
    """What came of a search: the pieces in the order in which they were asked for, and the values of the ends."""

    pieces: list[Piece]
    ends: list[float]
    most_at_once: int

    @property
    def best(self) -> float:
        return min(self.ends, default=math.inf)


def replay(search: Thaw, truth: Truth = valley, workers: int = 1) -> Replay:
    """Train a search to its end."""
    clock, running, result = 0.0, list[tuple[float, int, Piece]](), Replay([], [], 0)
    while True:
        while len(running) < workers and (piece := search.ask()):
            result.pieces.append(piece)
            heapq.heappush(running, (clock + piece.cost, len(result.pieces), piece))
        result.most_at_once = max(result.most_at_once, len(running))
        if not running:
            return result
        clock, _, piece = heapq.heappop(running)
        value = tell(search, piece, truth)
        if not isinstance(piece, TrunkPiece) and value is not None:
            result.ends.append(value)


def tell(search: Thaw, piece: Piece, truth: Truth = valley) -> float | None:
    """Tell a search what a piece comes to."""
    decay = () if isinstance(piece, TrunkPiece) else piece.decay
    value = truth(piece.point, piece.end if isinstance(piece, TrunkPiece) else 1.0, decay)
    search.tell(piece, value)
    return value
