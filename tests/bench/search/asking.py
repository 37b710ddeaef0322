"""How long an ask takes once a search has asked for many pieces, in milliseconds.

usage: OMP_NUM_THREADS=1 python -m tests.bench.search.asking [PIECES]
"""

import math
import sys
import time
from collections.abc import Sequence

import numpy as np

from espalier.sweeps.thaw.pieces import BranchPiece, Piece
from espalier.sweeps.thaw.space import DECADES, Number, Space
from espalier.sweeps.thaw.thaw import Thaw

SPACES = {
    "an exponent and a decay point": Space([Number(-3, 1, DECADES)], decay=(0.4, 0.9), decays=1),
    "four numbers, a choice and a decay point": Space(
        [Number(-3, 1, DECADES), Number(0, 1), Number(0, 1), Number(0, 1)], [3], (0.4, 0.9), 1
    ),
}
LAST = 100  # asks that are measured


def loss(piece: Piece, rng: np.random.Generator) -> float:
    """Return a noisy bowl's loss: noise keeps a search from being done before it has asked for enough."""
    share, decay = (1.0, sum(piece.decay)) if isinstance(piece, BranchPiece) else (piece.end, 0.7)
    apart = sum((value - 0.3) ** 2 for value in piece.point[1:]) + 0.2 * (piece.point[0] + 1) ** 2
    return 2 + apart + (decay - 0.7) ** 2 - 0.3 * math.log(share) + float(rng.normal(0, 0.05))


def ask_times(space: Space, pieces: int) -> list[float]:
    """Return the CPU time of the last asks of a search of so many pieces, in milliseconds."""
    search, rng, times = Thaw(space, float(pieces), 0), np.random.default_rng(0), list[float]()
    for _ in range(pieces):
        begin = time.process_time()
        piece = search.ask()
        times.append(1e3 * (time.process_time() - begin))
        if piece is None:
            break
        search.tell(piece, loss(piece, rng))
    return times[-LAST:]


def main(words: Sequence[str]) -> None:
    """Measure, and print."""
    pieces = int(words[0]) if words else 1000
    for name, space in SPACES.items():
        times = ask_times(space, pieces)
        print(
            f"{name}, {pieces} pieces: median {np.median(times):.1f} ms, 90th percentile {np.quantile(times, 0.9):.1f}"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
