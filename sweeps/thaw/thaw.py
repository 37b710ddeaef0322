"""The search itself: ask for a piece, tell what it came to. All costs and budgets are in full trainings."""

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from espalier.sweeps.thaw.beginning import Values, beginnings, point_with, points_to_begin
from espalier.sweeps.thaw.belief import believe
from espalier.sweeps.thaw.candidates import FINEST, Candidate, decay_points, kept_shares, new_points
from espalier.sweeps.thaw.comparison import Comparison, Mask, Reason, compare
from espalier.sweeps.thaw.hints import Hint, best_points, hinted
from espalier.sweeps.thaw.learning import Learner
from espalier.sweeps.thaw.pieces import BranchPiece, Piece, Score, Trunk, TrunkPiece
from espalier.sweeps.thaw.results import Results
from espalier.sweeps.thaw.settling import settled
from espalier.sweeps.thaw.space import Space
from espalier.sweeps.thaw.trunks import Trunks

P = TypeVar("P", TrunkPiece, BranchPiece)
RUNGS = (0.05, 0.15, 0.25, 0.5)
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
        trials: int | None = None,
        first: Sequence[Values] = (),
        hints: Sequence[Hint] = (),
    ):
        """budget: in full trainings. rungs: the shares of a training at which trunks are scored and parked.

        lag: at most so many pieces train at once, and piece k is chosen by the results of pieces 0 ... k - lag. So the
        pieces are the same whenever results come in. None: every result counts at once. trials: how many begin, trunks
        and branches that do not go on from where their trunk rested: no more, and no fewer if the budget does not pay
        for so many. None: as many as it pays for. first: points to begin with, each by some of its values; the others
        are those of the points that it begins with anyway. hints: what another search came to, see `sweeps.thaw.hints`.
        """
        self.space, self.budget, self.seed, self.rungs = space, budget, seed, tuple(rungs)
        self.trials = math.inf if trials is None else trials
        self.trunks = Trunks(self.rungs)
        self.training: list[Piece] = []
        self.results = Results(lag)
        self.scores: list[Score] = []  # on which the choice counts
        self.pending: list[Piece] = []  # the other pieces
        self.spent = 0.0
        self.again = 0.0  # what of the last piece had been trained before, and was not kept
        self.reach = math.inf  # the most that one trunk can still train, where time bounds the search
        self._refused = (0, 0)  # so many pieces, and results that counted, when there was nothing to be done
        self.reason: Reason | None = None  # of the last piece
        self.promise, self.noise = math.inf, 0.0  # of all that could be trained, when the last piece was chosen
        self.kept, self.learner = kept_shares(space), Learner(space)
        self.hints = hinted(space, hints) if hints else None
        first = [*first, *(dict(enumerate(point)) for point in best_points(space, hints))]
        self.given = len(first)
        self.first = points_to_begin(space, beginnings(budget, self.rungs[0], self.given), self.trials, first, seed)

    @property
    def left(self) -> float:
        """What of the budget has not been given out."""
        return self.budget - self.spent

    @property
    def payable(self) -> float:
        """The most that one trunk and a branch of it may still cost."""
        return min(self.left, self.reach)

    def allow(self, left: float, reach: float) -> None:
        """Set what is left of the budget, as far as it is known by now. reach: the most that one trunk can still train.

        Points that were to begin, and now would leave none the time to end, do not.
        """
        self.budget, self.reach = self.spent + left, reach
        self.first = self.first[: max(0, beginnings(self.budget, self.rungs[0], self.given) - len(self.trunks))]

    # --- ask and tell ------------------------------------------------------------------------------------------------

    def ask(self) -> Piece | None:
        """Return the next piece; None where a result must come first, or nothing that is left can be paid.

        It is paid when it is asked for.
        """
        if self.first:
            return self._train_trunk(self.trunks.new(self.first.pop(0))) if self._affords(self.rungs[0]) else None
        for count in self.results.counts(self._most_at_once()):
            if self._refused < (len(self.results.asked), count):
                if piece := self._choose(count):
                    return piece
                self._refused = len(self.results.asked), count
        return None

    def begin(self, values: Values) -> Piece | None:
        """Return the first piece of a trunk at a point that is given, by some of its values; None if it cannot be paid.

        The other values are drawn.
        """
        answer = self.trunks.to_end(self.rungs[0]) if self.trunks.none_branched else 0.0  # is to be paid as well
        if self._full or not self._affords(self.rungs[0] + answer):
            return None
        self.reason, drawn = None, self.space.point(self._rng().random(self.space.dimensions))
        return self._train_trunk(self.trunks.new(point_with(self.space, values, drawn)))

    def _most_at_once(self) -> int:
        """Return how many pieces may train at once: the less is left, the fewer."""
        beyond = self.trials - self.trunks.trials if self.left < 1 and self.trials < math.inf else 0.0
        left = max(self.left, beyond)
        return min(self.results.lag or len(self.results.asked) + 1, max(1, math.ceil(PACE * left)))

    def tell(self, piece: Piece, value: float | None) -> None:
        """Take the score of a trunk at its rung, or the loss at the end of a branch; None if it diverged."""
        self.training.remove(piece)
        value = None if value is None or not math.isfinite(value) else value
        self.results.tell(piece, value)
        if isinstance(piece, TrunkPiece):
            trunk = self.trunks[piece.trunk]
            trunk.training, trunk.diverged = False, value is None

    def adopt(self, piece: Piece, begun: bool = False, again: float = 0.0) -> None:
        """Take a piece that an earlier process asked for, in the order in which it asked. It is in training then.

        begun: whether it was asked for by `begin`. again: what had been trained before of what it has trained.
        """
        if piece.trunk == len(self.trunks):
            self.first = self.first if begun else self.first[1:]
            self.trunks.new(piece.point)
        trunk, before = self.trunks[piece.trunk], self.spent
        if isinstance(piece, TrunkPiece):
            self._train_trunk(trunk)
        else:
            self._train_branch(trunk, piece.decay, piece.begin)
        self.spent = before + piece.cost + again

    def lose(self, trunk: int) -> None:
        """Take that nothing was kept of a trunk: what goes on from it begins anew, and costs as much."""
        self.trunks[trunk].lost = True

    def pay(self, share: float) -> None:
        """Take that so much has been trained again, in full trainings."""
        self.spent += share

    def settled(self, noise: float | None = None) -> bool:
        """Return whether nothing is left that would better the loss by more than its noise, when last asked.

        noise: the standard deviation of the loss when only the seed differs; None: as the model assumes it.
        """
        return settled(self.scores, self.promise, self.noise if noise is None else noise)

    # --- pieces ------------------------------------------------------------------------------------------------------

    def _affords(self, cost: float) -> bool:
        return cost <= self.payable + 1e-9

    def _train_trunk(self, trunk: Trunk) -> TrunkPiece:
        piece = TrunkPiece(trunk.number, trunk.point, self.trunks.rested(trunk), self.rungs[trunk.rung])
        trunk.position, trunk.rung, trunk.training = piece.end, trunk.rung + 1, True
        self._pay(piece)
        trunk.lost = False
        return piece

    def _train_branch(self, trunk: Trunk, decay: tuple[float, ...], begin: float) -> BranchPiece:
        trunk.branches.append(decay)
        trunk.continued = trunk.continued or begin >= self.trunks.rested(trunk) - 1e-9
        return self._pay(BranchPiece(trunk.number, trunk.point, begin, decay))

    def _pay(self, piece: P) -> P:
        self.training.append(piece)
        self.results.ask(piece)
        self.again = piece.begin if self.trunks[piece.trunk].lost else 0.0
        self.spent += piece.cost + self.again
        return piece

    # --- the choice --------------------------------------------------------------------------------------------------

    def _choose(self, count: int) -> Piece | None:
        """Return the piece that promises most for what its candidate still costs, by the first so many results."""
        self.scores, self.pending = self.results.scores(count), self.results.pending(count)
        self.trunks.place(self.scores)
        open_trunks = self.trunks.open(self.scores, self.pending)
        new = [] if self._full else self._new_points()
        if piece := self._first_of(new, open_trunks):
            return piece
        if new or self._full or not (finer := self._finer_points()):
            return None
        return self._first_of(finer, open_trunks)

    def _first_of(self, new: Sequence[Candidate], open_trunks: Sequence[Candidate]) -> Piece | None:
        if not new and not open_trunks:
            return None
        return self._within_budget(new, open_trunks) or self._beyond_budget([*new, *open_trunks])

    def _new_points(self, halvings: int = 0) -> list[Candidate]:
        return new_points(self.space, list(self.trunks), self._rng(), halvings)

    def _finer_points(self) -> list[Candidate]:
        """Return new points nearer to the trunks than points are at first, but no nearer than they have to be."""
        for halvings in range(1, FINEST + 1):
            if points := self._new_points(halvings):
                return points
        return []

    @property
    def exhausted(self) -> bool:
        """Whether every configuration of the space is a trunk."""
        return not self._new_points() and not self._finer_points()

    def _within_budget(self, new: Sequence[Candidate], open_trunks: Sequence[Candidate]) -> Piece | None:
        """Return the next piece that the budget pays for."""
        left = math.inf if self.trunks.none_branched else self.payable
        comparison = self._compared([*new, *open_trunks], left)
        i, j = comparison.choice(left, lambda i, j: self.trunks.next_cost(comparison, i, j))
        if comparison.worth[i, j] <= 0:
            return None
        trunk = comparison.candidates[i].trunk
        rests = not self.trunks.may_branch(trunk)
        cost, end = self.trunks.next_cost(comparison, i, j), self.rungs[trunk.rung if trunk else 0] if rests else 1.0
        if self.trunks.none_branched and self.payable - cost < self.trunks.to_end(end) - 1e-9:
            return self._finish(open_trunks)
        if not self._affords(cost):
            return None
        return self._begin(comparison, i, j)

    def _beyond_budget(self, candidates: Sequence[Candidate]) -> Piece | None:
        """Return the first piece of a further trial, if so many were asked for as the budget does not pay."""
        candidates = [c for c in candidates if c.trunk is None or self.trunks.may_branch(c.trunk)]
        if self.trials == math.inf or self._full or not candidates:
            return None
        comparison = self._compared(candidates, math.inf)
        comparison = comparison.among(~self.trunks.goes_on(comparison))
        i, j = comparison.best_pair()
        return self._begin(comparison, i, j) if comparison.worth[i, j] > 0 else None

    def _begin(self, comparison: Comparison, i: int, j: int) -> Piece:
        """Train the next piece of a pair: its trunk's next rung, or its branch."""
        trunk = comparison.candidates[i].trunk
        self.reason = comparison.reason(i, j)
        if trunk and self.trunks.may_branch(trunk):
            return self._train_branch(trunk, comparison.decay_at(j), float(comparison.begin[i, j]))
        return self._train_trunk(trunk or self.trunks.new(comparison.candidates[i].point))

    def _finish(self, trunks: Sequence[Candidate]) -> Piece | None:
        """Return a branch of the trunk with the best mean, of those that can be paid: else there would be no answer."""
        if not trunks:
            return None
        comparison = self._compared(trunks, math.inf)
        affordable = comparison.cost <= self.payable + 1e-9
        if self.trunks.all_lost and self.reach == math.inf and not affordable.any():
            affordable[:] = True  # what the first rungs have cost is what a whole training now lacks
        mean = np.where(affordable & self._allowed(comparison), comparison.foresight.mean, math.inf)
        i, j = (int(k) for k in np.unravel_index(int(np.argmin(mean)), mean.shape))
        trunk = comparison.candidates[i].trunk
        if trunk is None or not math.isfinite(mean[i, j]):
            return None
        self.reason = comparison.reason(i, j)
        return self._train_branch(trunk, comparison.decay_at(j), float(comparison.begin[i, j]))

    @property
    def _full(self) -> bool:
        """Whether there are as many trials as there are to be."""
        return not math.isinf(self.trials) and self.trunks.trials >= self.trials

    def _allowed(self, comparison: Comparison) -> Mask:
        """Return which branches are no trials more than there may be."""
        return self.trunks.goes_on(comparison) if self._full else comparison.begin >= 0.0

    def _rng(self) -> np.random.Generator:
        return np.random.default_rng([self.seed, len(self.results.asked)])

    def _compared(self, candidates: Sequence[Candidate], affordable: float) -> Comparison:
        """Compare candidates at a few decay points, and the best of them at every one.

        affordable: the most that a branch and its trunk may cost.
        """
        belief = believe(self.space, self.learner, self.scores, self.pending, self.hints)
        many = len(self.scores) > MANY
        few, every = (decay_points(self.space, coarse, self._rng(), many) for coarse in (True, False))
        coarse = self._limited(compare(self.space, belief, candidates, few, self.kept, affordable))
        self.promise, self.noise = coarse.promise, belief.noise
        return self._limited(compare(self.space, belief, coarse.top(FINE), every, self.kept, affordable))

    def _limited(self, comparison: Comparison) -> Comparison:
        return comparison.among(self._allowed(comparison))
