"""Asynchronous successive halving (Li et al. 2020, arXiv:1810.05934), as a pure rule over scores.

At each rung a trial continues if its score is among the best of all cohorts there so far. Trials that shared their
training up to a rung have one score, and count as one. Otherwise the branches of a trunk would be ranked among
themselves. A diverged trial ranks worst at every rung that it did not reach.
"""

import math
from collections.abc import Iterable, Sequence

from espalier.core.loading.registry import short_name
from espalier.sweeps.spec.stopping import Stopping

Entry = tuple[int, int, float, int]
"""A rung (in steps), a trial's number, its score, of which the smaller is the better, and the number of the first trial
that has the same history up to there."""
RungKey = tuple[int, int]
"""A rung (in steps) and a trial's number."""


class Halving:
    """The scores and the decisions at every rung."""

    def __init__(self, stopping: Stopping, sign: float = 1.0):
        """Start without scores. sign: -1 if the scores are a negated metric to maximise."""
        self.stopping, self.sign = stopping, sign
        self.board: dict[int, dict[int, tuple[float, int]]] = {}
        self.decided: dict[RungKey, str] = {}

    def enter(self, entries: Iterable[Entry]) -> None:
        """Add scores; a known one changes nothing."""
        for rung, trial, score, leader in entries:
            self.board.setdefault(rung, {})[trial] = (math.inf if math.isnan(score) else score), leader

    def judge(self, entries: Iterable[Entry], fresh: Sequence[RungKey]) -> dict[RungKey, str]:
        """Add scores, and return the `reason` for each fresh one.

        A decision is final: a trial that is repeated after a crash may be scored a second time.
        """
        self.enter(entries)
        for rung, trial in fresh:
            self.decided.setdefault((rung, trial), self.reason(rung, trial))
        return {place: self.decided[place] for place in fresh}

    def reason(self, rung: int, trial: int) -> str:
        """Return why a trial that was scored at a rung stops there; "" if it continues.

        >>> rule = Halving(Stopping(reduction=2, least=2))
        >>> rule.enter([(100, 0, 2.5, 0), (100, 1, 2.4, 1), (100, 2, 2.6, 2), (100, 3, 2.6, 2)])
        >>> rule.reason(100, 0), rule.reason(100, 3)
        ('', 'ranked 3 of 3 by average at step 100 (2.6), the best 2 go on')
        """
        scores = {leader: score for score, leader in self.board[rung].values()}
        own = self.board[rung][trial][0]
        rank = 1 + sum(score < own for score in scores.values())
        best = math.ceil(len(scores) / self.stopping.reduction)
        if len(scores) < self.stopping.least or rank <= best:
            return ""
        name = short_name(self.stopping.score)
        return f"ranked {rank} of {len(scores)} by {name} at step {rung} ({self.sign * own:.5g}), the best {best} go on"
