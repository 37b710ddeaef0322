"""The search itself: ask for a piece, tell what it came to. All costs and budgets are in full trainings."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from espalier.sweeps.thaw.belief import believe
from espalier.sweeps.thaw.candidates import MOST_TRUNKS, Candidate, decay_points, kept_shares, new_points
from espalier.sweeps.thaw.comparison import Comparison, Reason, compare
from espalier.sweeps.thaw.learning import Learner
from espalier.sweeps.thaw.pieces import BranchPiece, Piece, Score, Trunk, TrunkPiece
from espalier.sweeps.thaw.results import Results
from espalier.sweeps.thaw.settling import settled
from espalier.sweeps.thaw.space import Point, Space
from espalier.sweeps.thaw.thinning import worst_trunks
from espalier.sweeps.thaw.whole import first_points

P = TypeVar("P", TrunkPiece, BranchPiece)
RUNGS = (0.05, 0.15, 0.25, 0.5)
FIRST_PER_TRAINING, FIRST_LEAST, FIRST_MOST = 2.5, 4, 12
"""How many points begin before the model is asked: by the budget, within bounds; fewer if else none could end."""
PACE = 0.5
"""Pieces at once, for each training that is left: more of them would begin on what was known before the others."""
MANY = 100
"""With more scores than these, candidates are first compared at fewer decay points: an ask is to take no longer."""
FINE = 6
"""Candidates that are compared at every decay point, after a coarse comparison of all."""


class Thaw:
    """Proposes pieces of training.

    >>> from espalier.sweeps.thaw.space import Number
    >>> search = Thaw(Space([Number(-3, 0)], decay=(0.4, 0.9), decays=1), budget=2.0)
    >>> piece = search.ask()
    >>> piece.trunk, piece.begin, piece.end
    (0, 0.0, 0.05)
    >>> search.tell(piece, 2.5)
    """

    def __init__(
        self,
        space: Space,
        budget: float,
        seed: int = 0,
        rungs: Sequence[float] = RUNGS,
        lag: int | None = None,
        most_trials: int | None = None,
    ):
        """budget: in full trainings. rungs: the shares of a training at which trunks are scored and parked.

        lag: at most so many pieces train at once, and piece k is chosen by the results of pieces 0 ... k - lag. So the
        pieces are the same whenever results come in. None: every result counts at once. most_trials: so many trunks
        at most, and branches that do not go on from where their trunk rested. None: as many as can be paid.
        """
        self.space, self.budget, self.seed, self.rungs = space, budget, seed, tuple(rungs)
        self.most_trials = math.inf if most_trials is None else most_trials
        self.trunks: list[Trunk] = []
        self.training: list[Piece] = []
        self.results = Results(lag)
        self.scores: list[Score] = []  # on which the choice counts
        self.pending: list[Piece] = []  # the other pieces
        self.spent = 0.0
        self._refused = (0, 0)  # so many pieces, and results that counted, when there was nothing to be done
        self.reason: Reason | None = None  # of the last piece
        self.promise, self.noise = math.inf, 0.0  # of all that could be trained, when the last piece was chosen
        self.kept = kept_shares(space)
        self.learner = Learner(space)
        self.first = self._first_points()

    def _first_points(self) -> list[Point]:
        """Return the points that begin: one in each of as many equal parts of every range, in random order."""
        count = int(np.clip(round(FIRST_PER_TRAINING * self.budget), FIRST_LEAST, FIRST_MOST))
        count = max(1, min(count, int((self.budget - 1) / self.rungs[0] + 1 + 1e-9)))  # one must be able to end
        count = int(min(count, self.most_trials))
        return first_points(self.space, count, np.random.default_rng([self.seed]))

    @property
    def left(self) -> float:
        """What of the budget has not been given out."""
        return self.budget - self.spent

    # --- ask and tell ------------------------------------------------------------------------------------------------

    def ask(self) -> Piece | None:
        """Return the next piece; None where a result must come first, or nothing that is left can be paid.

        It is paid when it is asked for.
        """
        if self.first:
            return self._train_trunk(self._new_trunk(self.first.pop(0))) if self._affords(self.rungs[0]) else None
        for count in self.results.counts(self._most_at_once()):
            if self._refused < (len(self.results.asked), count):
                if piece := self._choose(count):
                    return piece
                self._refused = len(self.results.asked), count
        return None

    def _most_at_once(self) -> int:
        """Return how many pieces may train at once: the less is left, the fewer."""
        return min(self.results.lag or len(self.results.asked) + 1, max(1, math.ceil(PACE * self.left)))

    def tell(self, piece: Piece, value: float | None) -> None:
        """Take the score of a trunk at its rung, or the loss at the end of a branch; None if it diverged."""
        self.training.remove(piece)
        value = None if value is None or not math.isfinite(value) else value
        self.results.tell(piece, value)
        if isinstance(piece, TrunkPiece):
            trunk = self.trunks[piece.trunk]
            trunk.training, trunk.diverged = False, value is None

    def adopt(self, piece: Piece) -> None:
        """Take a piece that an earlier process asked for, in the order in which it asked. It is in training then."""
        if piece.trunk == len(self.trunks):
            self.first = self.first[1:]
            self._new_trunk(piece.point)
        trunk = self.trunks[piece.trunk]
        if isinstance(piece, TrunkPiece):
            self._train_trunk(trunk)
        else:
            self._train_branch(trunk, piece.decay, piece.begin)

    def settled(self, noise: float | None = None) -> bool:
        """Return whether nothing is left that would better the loss by more than its noise, when last asked.

        noise: the standard deviation of the loss when only the seed differs; None: as the model assumes it.
        """
        return settled(self.scores, self.promise, self.noise if noise is None else noise)

    # --- pieces ------------------------------------------------------------------------------------------------------

    def _affords(self, cost: float) -> bool:
        return cost <= self.left + 1e-9

    def _new_trunk(self, point: Point) -> Trunk:
        self.trunks.append(Trunk(len(self.trunks), point))
        return self.trunks[-1]

    def _train_trunk(self, trunk: Trunk) -> TrunkPiece:
        piece = TrunkPiece(trunk.number, trunk.point, self._rested(trunk), self.rungs[trunk.rung])
        trunk.position, trunk.rung, trunk.training = piece.end, trunk.rung + 1, True
        return self._pay(piece)

    def _train_branch(self, trunk: Trunk, decay: tuple[float, ...], begin: float) -> BranchPiece:
        trunk.branches.append(decay)
        trunk.continued = trunk.continued or begin >= self._rested(trunk) - 1e-9
        return self._pay(BranchPiece(trunk.number, trunk.point, begin, decay))

    def _pay(self, piece: P) -> P:
        self.training.append(piece)
        self.results.ask(piece)
        self.spent += piece.cost
        return piece

    # --- the choice --------------------------------------------------------------------------------------------------

    def _choose(self, count: int) -> Piece | None:
        """Return the piece that promises most for what its candidate still costs, by the first so many results."""
        self.scores, self.pending = self.results.scores(count), self.results.pending(count)
        self._place_trunks()
        open_trunks = self._open_trunks()
        new = [] if self._full else new_points(self.space, self.trunks, self._rng())
        if not new and not open_trunks:
            return None
        comparison = self._compared([*new, *open_trunks])
        left = math.inf if self._none_ends else self.left
        i, j = comparison.choice(left, lambda i, j: self._next_cost(comparison, i, j))
        if comparison.worth[i, j] <= 0:
            return None
        trunk, begin = comparison.candidates[i].trunk, float(comparison.begin[i, j])
        rests = trunk is None or trunk.rung < len(self.rungs)
        cost, end = self._next_cost(comparison, i, j), self.rungs[trunk.rung if trunk else 0] if rests else 1.0
        if self._none_ends and self.left - cost < 1.0 - max([end, *(t.position for t in self.trunks)]) - 1e-9:
            return self._finish(open_trunks)
        if not self._affords(cost):
            return None
        self.reason = comparison.reason(i, j)
        if rests:
            return self._train_trunk(trunk or self._new_trunk(comparison.candidates[i].point))
        assert trunk
        return self._train_branch(trunk, comparison.decay_at(j), begin)

    def _next_cost(self, comparison: Comparison, i: int, j: int) -> float:
        """Return what the next piece of a pair costs: its trunk's next rung, or its branch."""
        trunk = comparison.candidates[i].trunk
        if trunk and trunk.rung >= len(self.rungs):
            return 1.0 - float(comparison.begin[i, j])
        return self.rungs[trunk.rung] - self._rested(trunk) if trunk else self.rungs[0]

    def _place_trunks(self) -> None:
        """Say how far each trunk has come: to where it rests, or to where a branch of it that has ended left it.

        The rows of a branch in training are not there yet.
        """
        for trunk in self.trunks:
            trunk.position = self._rested(trunk)
        for score in self.scores:
            if score.share >= 1 and score.decay and score.value is not None:
                trunk = self.trunks[score.trunk]
                trunk.position = max(trunk.position, score.decay[0])

    def _open_trunks(self) -> list[Candidate]:
        """Return the trunks that rest at a rung, as far as the scores tell."""
        closed = {piece.trunk for piece in self.pending if isinstance(piece, TrunkPiece)}
        closed |= {score.trunk for score in self.scores if score.value is None and score.share < 1}
        worst = worst_trunks(self.scores, len(self.trunks) - MOST_TRUNKS)
        return [Candidate(t.point, t) for t in self.trunks if t.number not in closed and t.number not in worst]

    @property
    def _none_ends(self) -> bool:
        """Whether there is no branch yet, and so no answer."""
        return not any(trunk.branches for trunk in self.trunks)

    def _finish(self, trunks: Sequence[Candidate]) -> Piece | None:
        """Return a branch of the trunk with the best mean, of those that can be paid: else there would be no answer."""
        if not trunks:
            return None
        comparison = self._compared(trunks)
        mean = np.where(self._affordable(comparison) & self._allowed(comparison), comparison.foresight.mean, math.inf)
        i, j = (int(k) for k in np.unravel_index(int(np.argmin(mean)), mean.shape))
        trunk = comparison.candidates[i].trunk
        if trunk is None or not math.isfinite(mean[i, j]):
            return None
        self.reason = comparison.reason(i, j)
        return self._train_branch(trunk, comparison.decay_at(j), float(comparison.begin[i, j]))

    def _affordable(self, comparison: Comparison) -> "np.ndarray[tuple[int, int], np.dtype[np.bool_]]":
        return 1.0 - comparison.begin <= self.left + 1e-9

    def _rested(self, trunk: Trunk) -> float:
        """Return where a trunk rests, or will: at its last rung so far."""
        return self.rungs[trunk.rung - 1] if trunk.rung else 0.0

    @property
    def _full(self) -> bool:
        """Whether there are as many trials as there may be."""
        return sum(max(1, len(t.branches) + (not t.continued)) for t in self.trunks) >= self.most_trials

    def _allowed(self, comparison: Comparison) -> "np.ndarray[tuple[int, int], np.dtype[np.bool_]]":
        """Return which branches are no trials more than there may be."""
        if not self._full:
            return comparison.begin >= 0.0
        rests = [c.trunk and (math.inf if c.trunk.continued else self._rested(c.trunk)) for c in comparison.candidates]
        return comparison.begin >= np.array([math.inf if r is None else r for r in rests])[:, None] - 1e-9

    def _rng(self) -> np.random.Generator:
        return np.random.default_rng([self.seed, len(self.results.asked)])

    def _compared(self, candidates: Sequence[Candidate]) -> Comparison:
        """Compare candidates at a few decay points, and the best of them at every one."""
        belief = believe(self.space, self.learner, self.scores, self.pending)
        affordable = math.inf if self._none_ends else self.left
        many = len(self.scores) > MANY
        few, every = (decay_points(self.space, coarse, self._rng(), many) for coarse in (True, False))
        coarse = self._limited(compare(self.space, belief, candidates, few, self.kept, affordable))
        self.promise, self.noise = coarse.promise, belief.noise
        return self._limited(compare(self.space, belief, coarse.top(FINE), every, self.kept, affordable))

    def _limited(self, comparison: Comparison) -> Comparison:
        return replace(comparison, worth=np.where(self._allowed(comparison), comparison.worth, 0.0))
