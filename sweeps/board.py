"""The board on which all cohorts of a sweep see each other's scores: a Ray actor without a core of its own.

While it is away a cohort judges by what it knows. Every cohort says all its scores again with each new one, so a board
that comes back is whole.
"""

from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.exceptions import RayError

from sweeps.stopping import Entry


class Board:
    """The scores of all cohorts of one sweep."""

    def __init__(self, entries: Sequence[Entry]):
        self.entries = {(rung, trial): score for rung, trial, score in entries}

    def exchange(self, entries: Sequence[Entry]) -> list[Entry]:
        """Take the scores that a cohort knows and return those of all."""
        self.entries |= {(rung, trial): score for rung, trial, score in entries}
        return [(rung, trial, score) for (rung, trial), score in self.entries.items()]


def open_board(sweep: str, entries: Sequence[Entry]) -> Any:
    """Start the board of a sweep with the scores of earlier drivers; it lives as long as what is returned is kept."""
    return ray.remote(Board).options(name=_name(sweep), num_cpus=0, max_restarts=-1).remote(entries)


def _name(sweep: str) -> str:
    return f"espalier-board-{sweep}"


def exchange(sweep: str) -> Callable[[Sequence[Entry]], Sequence[Entry]]:
    """Return how a worker speaks to the board: it gives its scores and gets all. Without a board it gets its own."""

    def through(entries: Sequence[Entry]) -> Sequence[Entry]:
        try:
            return ray.get(ray.get_actor(_name(sweep)).exchange.remote(entries), timeout=10)
        except (ValueError, RayError):
            return entries

    return through
