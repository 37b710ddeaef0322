"""What a score is: what a trial is worth at a rung. By it successive halving decides which trials go on.

The validation loss at a rung ranks trials poorly: the noise of a high rate hides the progress until the rate falls. So
most scores ask what a trial would be worth if its rate fell now.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True)
class Rung:
    """A trial at a rung, as its score sees it.

    step: how many steps it has trained, of `budget`. values: what was validated for the score, by the names that
    reports have: `valid_loss`, ... curve: (step, mean training loss) of blocks of steps. reports: (step, values) of the
    trial's reports so far. Of a copy that trained on (`Score.trains_on`) all of this is the copy's own.
    """

    step: int
    budget: int
    values: Mapping[str, float]
    curve: Sequence[tuple[int, float]] = field(default=())
    reports: Sequence[tuple[int, Mapping[str, float]]] = field(default=())


class Score:
    """What a trial is worth at a rung: here, what its validation there measures.

    A subclass changes what is validated, by the two class variables, or what is made of it, by `values`. A trial's own
    numbers never depend on a score. One of your own stands in a file that a spec names as
    `stopping: {score: file.py:Class}`:

    >>> class Trend(Score):
    ...     '''The loss if it falls once more as it fell since the last report.'''
    ...
    ...     def values(self, rung):
    ...         loss = rung.values["valid_loss"]
    ...         before = [values["valid_loss"] for step, values in rung.reports if step < rung.step]
    ...         return {"valid_loss": loss - (before[-1] - loss) if before else loss}
    >>> Trend().values(Rung(20, 100, {"valid_loss": 2.0}, reports=[(10, {"valid_loss": 2.5})]))
    {'valid_loss': 1.5}
    """

    averaged: ClassVar[bool] = False
    """Whether a moving average of the trial's weights is validated in place of its weights."""
    trains_on: ClassVar[bool] = False
    """Whether a copy of the trial trains on for a few steps and is validated in its place, while the trial waits."""
    rate_factor: ClassVar[float | None] = None
    """What the rate of such a copy is multiplied by. None: it falls in a line to the last rate of the schedule."""

    def values(self, rung: Rung) -> Mapping[str, float]:
        """Return the values that trials are compared by. The sweep's objective has to be among them.

        They may depend on `rung` alone, so that a trial that trains again has the same score. A value that is no
        number ranks last, and so does one that is left out. A trial that diverged is not asked for.
        """
        return rung.values
