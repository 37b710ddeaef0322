"""The board on which all cohorts of a sweep see each other's scores, and which judges: a Ray actor without a core.

While it is away a cohort judges by what it knows. Every cohort says all its scores again with each new one, so a board
that comes back is whole.
"""

from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.exceptions import RayError

from espalier.sweeps.search.halving import Entry, Halving, RungKey

Judge = Callable[[Sequence[Entry], Sequence[RungKey]], dict[RungKey, str]]
"""Takes scores and which of them are fresh; returns why each of those ends, "" if it goes on."""


class Board:
    """Judges for all cohorts of one sweep."""

    def __init__(self, rule: Halving):
        self.rule = rule

    def judge(self, entries: Sequence[Entry], fresh: Sequence[RungKey]) -> dict[RungKey, str]:
        """Take the scores that a cohort knows and say what becomes of those that are fresh."""
        return self.rule.judge(entries, fresh)


def open_board(sweep: str, rule: Halving) -> Any:
    """Start the board of a sweep with what earlier drivers know; it lives as long as what is returned is kept."""
    return ray.remote(Board).options(name=_name(sweep), num_cpus=0, max_restarts=-1).remote(rule)


def _name(sweep: str) -> str:
    return f"espalier-board-{sweep}"


def judge(sweep: str, alone: Halving) -> Judge:
    """Return how a worker asks the board. Without a board the worker's own rule decides."""

    def ask(entries: Sequence[Entry], fresh: Sequence[RungKey]) -> dict[RungKey, str]:
        try:
            reply: Any = ray.get_actor(_name(sweep)).judge.remote(entries, fresh)
            return ray.get(reply, timeout=10)
        except (ValueError, RayError):
            return alone.judge(entries, fresh)

    return ask
