"""The board: a Ray actor without a core that collects the scores of all cohorts and decides which trials stop.

While it is unreachable, a cohort decides by its own scores. Every cohort sends all its scores with each new one, so a
restarted board is complete again.
"""

from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.exceptions import RayError

from espalier.sweeps.search.halving import Entry, Halving, RungKey

Judge = Callable[[Sequence[Entry], Sequence[RungKey]], dict[RungKey, str]]
"""Takes scores and which of them are fresh; returns why each of those ends, "" if it goes on."""


class Board:
    """Decides for all cohorts of one sweep."""

    def __init__(self, rule: Halving):
        self.rule = rule

    def judge(self, entries: Sequence[Entry], fresh: Sequence[RungKey]) -> dict[RungKey, str]:
        """Add the scores of a cohort; return the decisions on the fresh ones."""
        return self.rule.judge(entries, fresh)


def open_board(sweep: str, rule: Halving) -> Any:
    """Start the board of a sweep with the scores of earlier drivers. It lives as long as the returned handle."""
    return ray.remote(Board).options(name=_name(sweep), num_cpus=0, max_restarts=-1).remote(rule)


def _name(sweep: str) -> str:
    return f"espalier-board-{sweep}"


def judge(sweep: str, alone: Halving) -> Judge:
    """Return the function by which a worker asks the board. Without a board the worker's own rule decides."""

    def ask(entries: Sequence[Entry], fresh: Sequence[RungKey]) -> dict[RungKey, str]:
        try:
            reply: Any = ray.get_actor(_name(sweep)).judge.remote(entries, fresh)
            return ray.get(reply, timeout=10)
        except (ValueError, RayError):
            return alone.judge(entries, fresh)

    return ask
