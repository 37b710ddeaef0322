"""The interface of scores: an estimate at a rung, by which successive halving decides which trials continue.

The validation loss at a rung ranks trials poorly: the noise of a high rate hides their progress until the rate falls.
So most scores estimate a trial's value after an immediate decay of its rate.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

PROBE_SHARE = 0.2
"""How long a copy trains for a score, as a share of the steps up to the rung: with a fixed length, early rungs would be
scored by a decay that is long for them, late ones by one that is too short."""


@dataclass(frozen=True)
class Rung:
    """A trial at a rung: the argument of a score.

    step: how many steps it has trained, of `budget`.
    values: the validation for the score, by the names in reports: `valid_loss`, ...
    curve: (step, mean training loss) of blocks of steps. reports: (step, values) of the trial's reports so far.
    For a copy that trained further (`Score.trains_on`) all of these are the copy's own.
    """

    step: int
    budget: int
    values: Mapping[str, float]
    curve: Sequence[tuple[int, float]] = field(default=())
    reports: Sequence[tuple[int, Mapping[str, float]]] = field(default=())


class Score:
    """An estimate of a trial's value at a rung; by default, its validation there.

    A subclass changes what is validated, by the two class variables, or what is computed from it, by `values`. A
    trial's own numbers never depend on a score. Your own is a class in a file that a spec names as `stopping: {score:
    file.py:Class}`:

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
        """Return the values by which trials are compared. The sweep's objective has to be among them.

        They may depend on `rung` alone, so that a repeated trial has the same score. A value that is missing, NaN or
        infinite ranks last. It is not called for a trial that diverged.
        """
        return rung.values
