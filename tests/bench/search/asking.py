"""How long an ask takes once a search has asked for many pieces, in milliseconds of one core.

usage: OMP_NUM_THREADS=1 python -m tests.bench.search.asking [PIECES]  (prints one JSON document)
"""

import json
import math
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from espalier.sweeps.thaw.pieces import BranchPiece, Piece
from espalier.sweeps.thaw.space import DECADES, Number, Space
from espalier.sweeps.thaw.thaw import Thaw

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


def ask_times(space: Space, pieces: int) -> list[float]:
    """Return the CPU times of the asks of a search of so many pieces, in milliseconds. Its budget pays for all."""
    search, rng, times = Thaw(space, float(pieces), 0), np.random.default_rng(0), list[float]()
    for _ in range(pieces):
        begin = time.process_time()
        piece = search.ask()
        times.append(1e3 * (time.process_time() - begin))
        assert piece is not None, "a search goes on as far as its budget pays"
        search.tell(piece, loss(piece, rng))
    return times


def measure(pieces: int = 1000) -> dict[str, Any]:
    """Return by space how many pieces were asked for, and how long each of the last asks took."""
    measured: dict[str, Any] = {}
    for name, space in SPACES.items():
        times = ask_times(space, pieces)
        median, p95, most = np.quantile(times[-LAST:], (0.5, 0.95, 1)).tolist()
        measured[name] = {"pieces": len(times), "median": median, "p95": p95, "most": most}
    return measured


def section(measured: Mapping[str, Any]) -> str:
    """Return it as a section of the report."""
    rows = ""
    for name, each in measured.items():
        times = " | ".join(f"{each[key]:.1f}" for key in ("median", "p95", "most"))
        rows += f"| {name} | {each['pieces']:,} | {times} |\n"
    return f"""## How long a proposal takes

The last {LAST} asks of a search by pieces (`espalier.sweeps.thaw`), in milliseconds of one core.

| searched | pieces | median | 95th percentile | most |
|---|---|---|---|---|
{rows}"""


if __name__ == "__main__":
    print(json.dumps(measure(*map(int, sys.argv[1:]))))
