"""Which examples the lanes of a cohort see: the task's order of data, cached by seed and interval.

N = lanes, S = steps, B = examples in a batch.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from espalier.core.order import Order
from espalier.core.programs.faults import TRANSIENT_ERRORS
from espalier.core.task import Task
from espalier.core.training.lane import Lane


class Batches:
    """The order of data of a task over some examples, with a cache of the latest intervals."""

    def __init__(self, task: Task, examples: int, batch_size: int, most_kept: int):
        """most_kept: the size of the cache. It should exceed the number of lanes, since each interval is used twice."""
        self.task, self.examples, self.batch_size, self.most_kept = task, examples, batch_size, most_kept
        self._orders: dict[int, Order] = {}
        self._intervals: dict[tuple[int, int, int], Tensor] = {}

    def indexes_of(self, seed: int, first: int, steps: int) -> Tensor:
        """Return the examples (S, B) of steps first ... first + steps - 1. Raises whatever the task's order raises."""
        key = seed, first, steps
        if key not in self._intervals:
            if seed not in self._orders:
                self._orders[seed] = self.task.order(seed, self.examples, self.batch_size)
            while len(self._intervals) > self.most_kept:
                del self._intervals[next(iter(self._intervals))]
            self._intervals[key] = self._orders[seed](first, first + steps)
        return self._intervals[key]

    def indexes(self, lanes: Sequence[Lane], steps: int) -> Tensor:
        """Return the examples (S, N, B) of the next steps of some lanes."""
        by_place: dict[tuple[int, int], Tensor] = {}
        for lane in lanes:
            place = lane.seed, lane.step
            if place not in by_place:
                by_place[place] = self.indexes_of(*place, steps)
        return torch.stack([by_place[lane.seed, lane.step] for lane in lanes], 1)

    def available(self, lanes: Sequence[Lane], steps: int) -> tuple[int, dict[int, BaseException]]:
        """Return how many of the next `steps` steps have examples for all lanes, and the lanes without any left."""
        while True:
            errors: dict[int, BaseException] = {}
            for k, lane in enumerate(lanes):
                try:
                    self.indexes_of(lane.seed, lane.step, steps)
                except TRANSIENT_ERRORS:
                    raise
                except (Exception, SystemExit) as error:
                    errors[k] = error
            if not errors or steps == 1:
                return (0 if errors else steps), errors
            steps = max(1, steps // 2)
