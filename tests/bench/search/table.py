"""A truth table: whole trainings by exponent and decay point, with their scores on the way.

E = exponents, D = decay points, C = points of the validation curve, R = rungs. Rungs, decay points and points of the
curve are shares of the budget. A file (npz) has these arrays:

E (E,), D (D,), rungs (R,)    the axes; D has one entry, 1.0, for a schedule without decay points
T ()                          steps of a trial
fin (H, E, D)                 the validation loss at the end, fin[0] of the whole budget
curve (C, E, D)               the validation loss after 1/C, 2/C ... of the budget
score_KIND (R, E, D)          the score of that kind at each rung; NaN or infinity where a trial had diverged
words ()                      those of the command that made it, if it says
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
SCORE = "score_"


@dataclass(frozen=True)
class Table:
    """A table, bilinear between its cells. Without a number in one of these cells it is infinite there."""

    name: str
    exponents: Array
    decays: Array
    rungs: Array
    steps: int
    final_ED: Array
    curve_CED: Array
    scores: dict[str, Array]  # by kind, RED
    words: str = ""

    @classmethod
    def read(cls, file: str | Path) -> "Table":
        """Read a file."""
        with np.load(file) as arrays:
            scores = {name.removeprefix(SCORE): arrays[name] for name in arrays if name.startswith(SCORE)}
            exponents, decays, rungs = (arrays[name] for name in ("E", "D", "rungs"))
            ends = int(arrays["T"]), arrays["fin"][0], arrays["curve"]
            words = str(arrays["words"]) if "words" in arrays else ""
            return cls(Path(file).stem, exponents, decays, rungs, *ends, scores, words)

    @property
    def has_decays(self) -> bool:
        """Whether a trial has a decay point to be searched."""
        return len(self.decays) > 1

    @cached_property
    def best(self) -> float:
        """The lowest final loss of all cells, which regret counts from."""
        return float(self.final_ED[np.isfinite(self.final_ED)].min())

    def final(self, exponent: float, decay: float) -> float:
        """Return the loss at the end of a trial."""
        return self._at(self.final_ED, exponent, decay)

    def value(self, share: float, exponent: float, decay: float) -> float:
        """Return the validation loss after a share of the budget, by the nearest point of the curve."""
        point = max(0, round(share * len(self.curve_CED)) - 1)
        return self._at(self.curve_CED[point], exponent, self._known(decay, share))

    def score(self, kind: str, share: float, exponent: float, decay: float = np.inf) -> float:
        """Return the score of a kind at the nearest rung. A trunk has not met its decay point."""
        rung = int(np.argmin(abs(self.rungs - share)))
        return self._at(self.scores[kind][rung], exponent, self._known(decay, share))

    def _known(self, decay: float, share: float) -> float:
        """Return the latest decay point for a trial that has not met its own: they have one history up to there."""
        return float(self.decays[-1]) if decay >= share else decay

    def _at(self, values_ED: Array, exponent: float, decay: float) -> float:
        (i, a), (j, b) = _place(self.exponents, exponent), _place(self.decays, decay)
        corners = ((i, j, (1 - a) * (1 - b)), (i, j + 1, (1 - a) * b), (i + 1, j, a * (1 - b)), (i + 1, j + 1, a * b))
        value = sum(weight * float(values_ED[row, column]) for row, column, weight in corners if weight)
        return value if np.isfinite(value) else np.inf


def _place(axis: Array, at: float) -> tuple[int, float]:
    """Return the cell below a place on an axis, and how far it is to the next one, in [0, 1].

    >>> _place(np.array([1.0, 2.0, 4.0]), 2.5), _place(np.array([1.0, 2.0, 4.0]), 9.0)
    ((1, 0.25), (2, 0.0))
    """
    if at >= axis[-1]:
        return len(axis) - 1, 0.0
    below = max(0, int(np.searchsorted(axis, at, side="right")) - 1)
    return below, max(0.0, float((at - axis[below]) / (axis[below + 1] - axis[below])))
