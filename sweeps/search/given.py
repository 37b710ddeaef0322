"""Points that are given to a search: the first ones of its spec, and those added to it later.

Each has a key: its place among the spec's points, or a time with which it was added. The trial that has it keeps the
key, so that no process gives it twice.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from espalier.sweeps.search.study import SweepRecord
from espalier.sweeps.search.trial_record import TrialRecord, storable
from espalier.sweeps.spec.space import Point


class Given:
    """The given points of a sweep that no trial has yet."""

    def __init__(self, record: SweepRecord, trials: Iterable[TrialRecord]):
        """trials: those that exist."""
        self.record = record
        self.first = {str(place): as_stored(point) for place, point in enumerate(record.spec.first_points)}
        self.used = {key for trial in trials if (key := trial.given_as)}

    def added(self) -> Iterator[tuple[str, Point]]:
        """Yield the points that were added and have no trial yet, in the order in which they were, with their keys."""
        for key, entry in sorted(self.record.enqueued().items(), key=lambda named: int(named[0])):
            if key not in self.used:
                yield key, entry["point"]

    def waiting(self) -> Iterator[tuple[str, Point]]:
        """Yield all points that have no trial yet, those of the spec first."""
        yield from ((key, point) for key, point in self.first.items() if key not in self.used)
        yield from self.added()

    def point(self, key: str) -> Point:
        """Return a point by its key."""
        return self.first[key] if key in self.first else self.record.enqueued()[key]["point"]

    def use(self, key: str) -> None:
        """Note that a point has a trial, or that it needs none."""
        self.used.add(key)


def as_stored(point: Mapping[str, Any]) -> Point:
    """Return a point's values as Optuna has them."""
    return {name: storable(value) for name, value in point.items()}
