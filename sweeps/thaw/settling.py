"""When a search has nothing left to find: what is expected, and what the last branches showed."""

from collections.abc import Sequence

from espalier.sweeps.thaw.pieces import Score

TRUNKS, ENDS = 3, 6
"""So many branches, of so many trunks, have ended at least."""
IN_VAIN, IN_VAIN_TRUNKS = 4, 2
"""The last so many branches, of so many trunks, did not better the best by more than the noise."""


def settled(scores: Sequence[Score], promise: float, noise: float) -> bool:
    """Return whether no training that is left is expected to better the loss by more than its noise.

    promise: the expected improvement of the most promising, in the unit of the loss. It is the model's, which may be
    wrong where early scores mislead. So the last branches have to agree: they bettered nothing either.
    """
    ends = [(score.trunk, score.value) for score in scores if score.share >= 1 and score.value is not None]
    before, last = ends[:-IN_VAIN], ends[-IN_VAIN:]
    if promise >= noise or len(ends) < ENDS or len({trunk for trunk, _ in ends}) < TRUNKS:
        return False
    bettered = min(value for _, value in before) - min(value for _, value in last)
    return bettered <= noise and len({trunk for trunk, _ in last}) >= IN_VAIN_TRUNKS
