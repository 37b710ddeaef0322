"""How long an ask takes once a search has asked for many pieces, in milliseconds of one core.

usage: OMP_NUM_THREADS=1 python -m tests.bench.search.asking [PIECES]  (prints one JSON document)
"""

import json
import math
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from espalier.sweeps.thaw.pieces import BranchPiece, Piece, TrunkPiece
from espalier.sweeps.thaw.space import DECADES, Number, Space
from espalier.sweeps.thaw.thaw import RUNGS, Thaw

SPACES = {
    "an exponent": Space([Number(-3, 1, DECADES)]),
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


def ask_times(space: Space, pieces: int) -> tuple[list[float], int]:
    """Return the CPU times of the asks of a search of so many pieces, in milliseconds, and how many were not asked for.

    Where a search has nothing left that is worth a training, it gets pieces that somebody else chose.
    """
    search, rng, times = Thaw(space, float(pieces), 0), np.random.default_rng(0), list[float]()
    others, given = chosen_by_others(search, space, rng), 0
    for _ in range(pieces):
        begin = time.process_time()
        piece = search.ask()
        times.append(1e3 * (time.process_time() - begin))
        if piece is None:
            piece, given = next(others), given + 1
            search.adopt(piece)
        search.tell(piece, loss(piece, rng))
    return times, given


def chosen_by_others(search: Thaw, space: Space, rng: np.random.Generator) -> Iterator[Piece]:
    """Yield the pieces of trunks at random points: from rung to rung, and a branch to the end.

    Between two of them the search may have asked for the next piece of a trunk itself.
    """
    while True:
        point, number = space.point(rng.random(space.dimensions)), len(search.trunks)
        yield TrunkPiece(number, point, 0.0, RUNGS[0])
        while (rung := search.trunks[number].rung) < len(RUNGS):
            yield TrunkPiece(number, point, RUNGS[rung - 1], RUNGS[rung])
        decay = tuple(sorted(rng.uniform(max(space.decay[0], RUNGS[-1]), space.decay[1], space.decays).tolist()))
        yield BranchPiece(number, point, RUNGS[-1], decay)


def measure(pieces: int = 1000) -> dict[str, Any]:
    """Return by space how many pieces were asked for, and how long each of the last asks took."""
    found: dict[str, Any] = {}
    for name, space in SPACES.items():
        times, given = ask_times(space, pieces)
        median, p95, most = np.quantile(times[-LAST:], (0.5, 0.95, 1)).tolist()
        found[name] = {"pieces": len(times), "given": given, "median": median, "p95": p95, "most": most}
    return found


def section(found: Mapping[str, Any]) -> str:
    """Return it as a section of the report."""
    rows = ""
    for name, each in found.items():
        times = " | ".join(f"{each[key]:.1f}" for key in ("median", "p95", "most"))
        rows += f"| {name} | {each['pieces']:,} | {each['given']:,} | {times} |\n"
    return f"""## How long a proposal takes

The last {LAST} asks of a search by pieces (`espalier.sweeps.thaw`), in milliseconds of one core. Where it found nothing
left that is worth a training, it was given pieces that it had not asked for; the time to find that out counts as well.

| searched | pieces | of which given | median | 95th percentile | most |
|---|---|---|---|---|---|
{rows}"""


if __name__ == "__main__":
    print(json.dumps(measure(*map(int, sys.argv[1:]))))
