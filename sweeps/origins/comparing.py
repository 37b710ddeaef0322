"""Compare two sweeps of any origins."""

from espalier.sweeps.browse.compare import Comparison, Side
from espalier.sweeps.origins.origin import StoredSweep


def compared(first: StoredSweep, second: StoredSweep) -> Comparison:
    """Return how the second of two sweeps did beside the first."""
    return Comparison(side_of(first), side_of(second))


def side_of(kept: StoredSweep) -> Side:
    """Return a sweep as one side of a comparison."""
    return Side(kept.id, kept.spec, kept.state, kept.trials, kept.lane_steps, kept.digests)
