"""Candidates beside one another: what each promises at each decay point, and what it still costs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from espalier.sweeps.thaw.candidates import Candidate
from espalier.sweeps.thaw.improvement import expected_gain, expected_improvement
from espalier.sweeps.thaw.space import Array, Space
from espalier.sweeps.thaw.surrogate import Surrogate

COST_POWER, COST_LEAST = 0.5, 0.1
"""Improvement is divided by the root of the cost still missing: divided by the cost itself, only cheap pieces train."""
TRIED = 0.04
"""Decay points of a trunk that are nearer than this, as a share of their range, are one."""
UNSURE = 0.5
"""Before any branch has ended, the best is taken to be so many deviations above the lowest mean."""


@dataclass(frozen=True)
class Reason:
    """Why a piece was asked for: by how much it is expected to better the loss in the end, and what that still costs.

    gain: in the unit of the loss. cost: in full trainings.
    """

    gain: float
    cost: float


@dataclass(frozen=True)
class Comparison:
    """M candidates at H decay points (H, D): mean and deviation of y at their ends, begin, worth, all (M, H).

    begin: the share of a training at which the branch would begin. worth: 0 where it cannot or need not be trained.
    best: y of the best so far.
    """

    candidates: Sequence[Candidate]
    decay: Array
    mean: Array
    deviation: Array
    begin: Array
    worth: Array
    best: float

    def top(self, count: int) -> list[Candidate]:
        """Return the candidates that are worth most at any decay point."""
        return [self.candidates[i] for i in np.argsort(-self.worth.max(1), kind="stable")[:count]]

    def best_pair(self) -> tuple[int, int]:
        """Return the numbers of the candidate and of the decay points that are worth most."""
        i, j = np.unravel_index(int(np.argmax(self.worth)), self.worth.shape)
        return int(i), int(j)

    def decay_at(self, j: int) -> tuple[float, ...]:
        """Return decay points by their number."""
        return tuple(float(d) for d in self.decay[j])

    def reason(self, i: int, j: int) -> Reason:
        """Return what a candidate promises at some decay points."""
        gain = expected_gain(self.mean[i, j], self.deviation[i, j], self.best)
        return Reason(float(gain), float(1.0 - self.begin[i, j]))


def compare(
    space: Space,
    model: Surrogate,
    candidates: Sequence[Candidate],
    decay: Array,
    kept: Array,
    best: float | None,
    affordable: float,
) -> Comparison:
    """Compare candidates at decay points (H, D). best: y of the best branch, None before one has ended.

    kept: the shares at which rows of trunks are kept. affordable: the most that a branch and its trunk may cost.
    """
    points = space.scaled(np.array([candidate.point for candidate in candidates]))
    mean, deviation = model.foresee(points, space.decay_in_range(decay))
    if best is None:
        lowest = int(mean.argmin())
        best = float(mean.flat[lowest] + UNSURE * deviation.flat[lowest])
    begin = np.stack([candidate.begin(decay, kept) for candidate in candidates])
    cost = 1.0 - begin
    worth = expected_improvement(mean, deviation, best) / np.maximum(cost, COST_LEAST) ** COST_POWER
    worth = np.where(cost <= affordable + 1e-9, worth, 0.0)
    for row, candidate in zip(worth, candidates, strict=True):
        row[_tried(space, candidate, decay)] = 0.0
    return Comparison(candidates, decay, mean, deviation, begin, worth, best)


def _tried(space: Space, candidate: Candidate, decay: Array) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    """Return which of H decay points (H, D) a candidate's trunk has branched at already, or near by."""
    tried = np.zeros(len(decay), dtype=np.bool_)
    for other in candidate.trunk.branches if candidate.trunk else ():
        apart = np.abs(space.decay_in_range(decay) - space.decay_in_range(np.array(other))).max(1, initial=0.0)
        tried |= apart < TRIED
    return tried
