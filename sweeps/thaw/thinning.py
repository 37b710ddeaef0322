"""The scores that a surrogate is fitted to, where there are too many: its time grows with the cube of their number."""

import math
from collections.abc import Sequence

import numpy as np

from espalier.sweeps.thaw.pieces import Score
from espalier.sweeps.thaw.space import Array

MOST = 150
BEST = 0.75
"""The share of the places that goes to the best scores; the rest to an even part of the others."""


def thinned(scores: Sequence[Score], y: Array, most: int = MOST) -> "np.ndarray[tuple[int], np.dtype[np.intp]]":
    """Return the numbers of at most so many scores, in order.

    The best stay, and of each trunk rather its latest score than one before: it tells nearly all that the others do.
    """
    if len(scores) <= most:
        return np.arange(len(scores))
    latest: dict[int, float] = {}
    for score in scores:
        latest[score.trunk] = max(score.share, latest.get(score.trunk, 0.0))
    earlier = np.array([score.share < latest[score.trunk] for score in scores])
    ranked = np.lexsort((y, earlier))  # earlier ones last, each part from best to worst
    best = int(BEST * most)
    rest = ranked[best:]
    even = rest[np.linspace(0, len(rest) - 1, most - best).astype(int)]
    return np.sort(np.concatenate([ranked[:best], even]))


def worst_trunks(scores: Sequence[Score], count: int) -> set[int]:
    """Return the numbers of so many trunks: those that left off first, and of these the worst at their last score."""
    if count <= 0:
        return set()
    trunk = np.array([score.trunk for score in scores])
    value = np.array([math.inf if score.value is None else score.value for score in scores])
    share = np.array([score.share for score in scores])
    order = np.lexsort((value, -share, trunk))  # of each trunk its last score comes first
    last = order[np.unique(trunk[order], return_index=True)[1]]
    worst = last[np.lexsort((value[last], -share[last]))[::-1]]
    return set(trunk[worst[:count]].tolist())
