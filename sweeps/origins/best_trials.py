"""The best trials of the sweeps of an origin."""

from espalier.sweeps.browse.top import Searched, Top, top_across, top_of
from espalier.sweeps.origins.origin import Origin, StoredSweep


def best_of(origin: Origin, sweep: str, count: int) -> Top:
    """Return the best trials of a sweep. Raises BadInput for an unknown one."""
    return top_of(_searched(origin.read(sweep)), count)


def best_across(origin: Origin, pattern: str, count: int) -> Top:
    """Return the best trials of all sweeps whose id or name a pattern stands for. Raises BadInput if none is so."""
    return top_across([_searched(stored) for stored in origin.read_all()], pattern, count)


def _searched(stored: StoredSweep) -> Searched:
    return Searched(stored.id, stored.spec, stored.trials, stored.digests.get("data", ""))
