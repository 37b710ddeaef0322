"""Candidates beside one another: what each promises at each decay point, and what it still costs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from espalier.sweeps.thaw.belief import Belief, Foresight
from espalier.sweeps.thaw.candidates import Candidate
from espalier.sweeps.thaw.improvement import expected_gain, expected_improvement
from espalier.sweeps.thaw.pieces import Trunk
from espalier.sweeps.thaw.space import Array, Space

Mask = npt.NDArray[np.bool_]
COST_POWER, COST_LEAST = 0.5, 0.1
"""Improvement is divided by the root of the cost still missing: divided by the cost itself, only cheap pieces train."""
LAST = 1.3
"""With little left, cheap pieces would use up what the most promising point costs. It comes first if it gains so much
more: several cheap ones may gain more than one together."""
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
    """M candidates at H decay points (H, D): what is foreseen of their ends; begin, cost, worth and gain, all (M, H).

    begin: the share of a training at which the branch would begin. cost: of its end, in full trainings. worth:
    improvement by what it costs, 0 where it cannot or need not be trained. gain: improvement alone. best: y of the best
    so far. untried: where no branch was. possible: untried, and affordable.
    """

    candidates: Sequence[Candidate]
    decay: Array
    foresight: Foresight
    begin: Array
    cost: Array
    worth: Array
    gain: Array
    best: float
    untried: Mask
    possible: Mask

    def among(self, allowed: Mask) -> "Comparison":
        """Return it with a worth only where it is allowed.

        Far above the best so far, the expected improvement is too small for a number. Where that is so everywhere,
        worth follows its logarithm, which falls with the distance in deviations.
        Source: S. Ament et al., Unexpected Improvements to Expected Improvement, 2023, arXiv:2310.20708.
        """
        worth = np.where(allowed, self.worth, 0.0)
        if not (worth > 0).any():
            above = np.maximum((self.foresight.mean - self.best) / self.foresight.deviation, 0.0)
            worth = np.where(allowed & self.possible, 1.0 / (1.0 + above), 0.0)
        return replace(self, worth=worth)

    def top(self, count: int) -> list[Candidate]:
        """Return the candidates that are worth most at any decay point."""
        return [self.candidates[i] for i in np.argsort(-self.worth.max(1), kind="stable")[:count]]

    def best_pair(self) -> tuple[int, int]:
        """Return the numbers of the candidate and of the decay points that are worth most."""
        i, j = np.unravel_index(int(np.argmax(self.worth)), self.worth.shape)
        return int(i), int(j)

    @property
    def promise(self) -> float:
        """What the loss is expected to fall by at most, in its unit, wherever no branch has ended near by."""
        gain = self.foresight.improvement(expected_gain, self.best)
        return float(np.where(self.untried, gain, 0.0).max(initial=0.0))

    def choice(self, left: float, cost: Callable[[int, int], float]) -> tuple[int, int]:
        """Return the pair that is worth most; or the one that gains most, if that could not be paid for afterwards.

        left: what of the budget is left. cost: of the next piece of a pair.
        """
        i, j = self.best_pair()
        gain = np.where(self.worth > 0, self.gain, 0.0)
        most, at = (int(k) for k in np.unravel_index(int(np.argmax(gain)), gain.shape))
        lost = left - cost(i, j) < self.cost[most, at] - 1e-9
        return (most, at) if most != i and lost and gain[most, at] > LAST * gain[i, j] else (i, j)

    def decay_at(self, j: int) -> tuple[float, ...]:
        """Return decay points by their number."""
        return tuple(float(d) for d in self.decay[j])

    def reason(self, i: int, j: int) -> Reason:
        """Return what a candidate promises at some decay points."""
        gain = self.foresight.improvement(expected_gain, self.best)
        return Reason(float(gain[i, j]), float(self.cost[i, j]))


def compare(
    space: Space,
    belief: Belief,
    candidates: Sequence[Candidate],
    decay: Array,
    kept_shares: Array,
    affordable: float,
) -> Comparison:
    """Compare candidates at decay points (H, D).

    kept_shares: the shares at which rows of trunks are kept. affordable: the most that a branch and its trunk may cost.
    """
    points = space.scaled(np.array([candidate.point for candidate in candidates]))
    foresight = belief.foresee(points, space.decay_in_range(decay))
    best = belief.best
    if best is None:
        lowest = int(foresight.mean.argmin())
        best = float(foresight.mean.flat[lowest] + UNSURE * foresight.deviation.flat[lowest])
    begin = np.zeros((len(candidates), len(decay)))
    tried = np.zeros_like(begin, dtype=np.bool_)
    for row, candidate in enumerate(candidates):
        if candidate.trunk:
            begin[row], tried[row] = candidate.begin(decay, kept_shares), _tried(space, candidate.trunk, decay)
    lost = np.array([candidate.trunk is not None and candidate.trunk.lost for candidate in candidates])
    cost = 1.0 - np.where(lost[:, None], 0.0, begin)
    gain, payable = foresight.improvement(expected_improvement, best), cost <= affordable + 1e-9
    worth = np.where(payable, gain / np.maximum(cost, COST_LEAST) ** COST_POWER, 0.0)
    return Comparison(candidates, decay, foresight, begin, cost, worth * ~tried, gain, best, ~tried, payable & ~tried)


def _tried(space: Space, trunk: Trunk, decay: Array) -> Mask:
    """Return which of H decay points (H, D) a trunk has branched at already, or near by."""
    if not trunk.branches:
        return np.zeros(len(decay), dtype=np.bool_)
    others = space.decay_in_range(np.array(trunk.branches))
    apart = np.abs(space.decay_in_range(decay)[:, None] - others[None]).max(2, initial=0.0)
    return (apart < TRIED).any(1)
