"""A budget in time: how much is used, over all processes of a sweep, and what training it still allows.

The unit is seconds, of the clock or of GPUs. Time between processes does not count.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping

TIME_UP = "the time was up"
RECENT = 16  # results that the speed is measured by: the first have workers' starts in them


class TimeBudget:
    """The time of one process. A training is one trial from start to end, of all its replicates."""

    def __init__(
        self,
        total_s: float,
        steps: int,
        used_s: float = 0.0,
        training_s: float | None = None,
        weight: float = 1.0,
        now: Callable[[], float] = time.monotonic,
    ):
        """total_s: of the budget. steps: of a training. used_s, training_s: by earlier processes, see `state`.

        weight: how many units a second takes: the number of GPUs where the budget is in theirs.
        """
        self.total_s, self.steps, self.weight, self.now = total_s, steps, weight, now
        self._used_before_s, self._training_before_s = used_s, training_s
        self._begin, self._end = now(), math.inf
        self._training: dict[int, tuple[float, int]] = {}  # by trial: since when, and from which step
        self._recent: deque[tuple[float, float]] = deque(maxlen=RECENT)  # seconds, and the trainings done in them
        self._most = 1  # trials that trained at once

    # --- time --------------------------------------------------------------------------------------------------------

    @property
    def used_s(self) -> float:
        """What is used of the budget."""
        return self._used_before_s + (min(self.now(), self._end) - self._begin) * self.weight

    @property
    def left_s(self) -> float:
        """How many seconds of the clock are left."""
        return max(0.0, self.total_s - self.used_s) / self.weight

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return self.left_s <= 0

    @property
    def share(self) -> float:
        """The share of the budget that is used."""
        return min(1.0, self.used_s / self.total_s)

    def stop(self) -> None:
        """Count no more: the search has ended."""
        self._end = min(self._end, self.now())

    def state(self) -> list[float | None]:
        """Return what the next process has to know: `used_s` and `training_s`."""
        return [self.used_s, self.training_s]

    # --- speed -------------------------------------------------------------------------------------------------------

    def begin(self, trial: int, step: int) -> None:
        """Note that a trial begins to train at a step."""
        self._training[trial] = self.now(), step
        self._most = max(self._most, len(self._training))

    def rebegin(self, trials: Iterable[int], ago_s: float) -> None:
        """Note that trials whose worker had to start have trained only for so long."""
        for trial in self._training.keys() & set(trials):
            self._training[trial] = self.now() - ago_s, self._training[trial][1]

    def repeat(self, trial: int, step: int) -> None:
        """Note that a trial trains from an earlier step than it was to go on from."""
        if trial in self._training:
            since, begin = self._training[trial]
            self._training[trial] = since, min(begin, step)

    def end(self, trial: int, step: int) -> None:
        """Note that a trial has trained to a step, where it is parked or has ended."""
        if trial in self._training:
            since, begin = self._training.pop(trial)
            self._recent.append((self.now() - since, max(0, step - begin) / self.steps))

    @property
    def training_s(self) -> float | None:
        """How many seconds a training takes, while others train; None before it is known."""
        seconds, trainings = (sum(column) for column in zip(*self._recent, strict=True)) if self._recent else (0.0, 0.0)
        return seconds / trainings if trainings > 0 else self._training_before_s

    @property
    def reach(self) -> float:
        """How much of a training can still end in time; infinity before the speed is known."""
        seconds = self.training_s
        if self.over:
            return 0.0
        return self.left_s / seconds if seconds else math.inf

    def left(self, training: Mapping[int, float]) -> float:
        """Return how many trainings can still be begun, if as many train at once as did; infinity before it is known.

        training: what trains, and how much of a training each was to train.
        """
        seconds, now, left_s = self.training_s, self.now(), self.left_s
        if not seconds:
            return math.inf
        lanes = max(self._most, len(training) + 1)
        rest_s = [cost * seconds - (now - self._training.get(n, (self._begin, 0))[0]) for n, cost in training.items()]
        busy = sum(max(0.0, left_s - max(0.0, rest)) for rest in rest_s)
        return (busy + (lanes - len(training)) * left_s) / seconds
