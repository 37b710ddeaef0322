"""Workers on a clock of events, and an account of their compute in the order in which it was begun.

The unit of compute, and of time, is one full training.
"""

import heapq
import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

Work = Generator[float, None, None]
"""Work of one worker: it yields what its next stretch costs, and goes on when that has been trained."""
EPSILON = 1e-9  # sums of shares of a budget are not exact


@dataclass(frozen=True)
class Finish:
    """A trial that trained to its end. compute: what all work cost up to there, that was begun before it or is its."""

    compute: float
    value: float


class Account:
    """The cost of each unit of work, in order of their beginnings.

    With a budget b a sweep would have begun the same units, up to those that b pays for. So one replay answers for
    every budget, however many workers there are.
    """

    def __init__(self) -> None:
        self.costs: list[float] = []
        self._ends: list[tuple[int, float, float]] = []

    @property
    def total(self) -> float:
        """What has been spent."""
        return sum(self.costs)

    def begin(self) -> int:
        """Begin a unit; return its number."""
        self.costs.append(0.0)
        return len(self.costs) - 1

    def spend(self, unit: int, cost: float) -> float:
        """Add to the cost of a unit; return the addition."""
        self.costs[unit] += cost
        return cost

    def finish(self, unit: int, value: float) -> None:
        """Note the final value of a trial that was trained in this unit."""
        self._ends.append((unit, self.costs[unit], value))

    def finishes(self) -> list[Finish]:
        """Return the finished trials in the order of compute."""
        before = [0.0]
        for cost in self.costs:
            before.append(before[-1] + cost)
        ends = [Finish(before[unit] + own, value) for unit, own, value in self._ends if math.isfinite(value)]
        return sorted(ends, key=lambda end: end.compute)


def run(workers: int, next_work: Callable[[], Work | None]) -> None:
    """Keep workers busy until there is no more work: whenever something ends, idle ones ask for the next."""
    waiting: list[tuple[float, int, Work]] = []
    now, count = 0.0, 0
    while True:
        while len(waiting) < workers and (work := next_work()) is not None:
            count += 1
            _advance(waiting, now, count, work)
        if not waiting:
            return
        now, number, work = heapq.heappop(waiting)
        _advance(waiting, now, number, work)


def _advance(waiting: list[tuple[float, int, Work]], now: float, number: int, work: Work) -> None:
    cost = next(work, None)
    if cost is not None:
        heapq.heappush(waiting, (now + cost, number, work))


def regret(finishes: Sequence[Finish], compute: float, best: float) -> float:
    """Return how much worse than the table's best the best finished trial is; infinite where none has finished.

    >>> regret([Finish(1.0, 2.5), Finish(2.0, 2.25)], 1.5, 2.0)
    0.5
    """
    return min((end.value for end in finishes if end.compute <= compute + EPSILON), default=math.inf) - best
