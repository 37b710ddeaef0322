"""What is believed of a search's losses after some results: surrogates, a probability of survival, the best so far."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from espalier.sweeps.thaw.kernel import Inputs, scaled_inputs
from espalier.sweeps.thaw.learning import Learner
from espalier.sweeps.thaw.pieces import Piece, Score, TrunkPiece
from espalier.sweeps.thaw.scale import Gaps, log_gaps
from espalier.sweeps.thaw.shifts import Weighted, mixed, surrogates
from espalier.sweeps.thaw.space import Array, Space
from espalier.sweeps.thaw.survival import Survival
from espalier.sweeps.thaw.thinning import MOST, thinned


@dataclass(frozen=True)
class Belief:
    """What is believed. surrogates: each under another shift of early scores, with its weight.

    best: y of the best end, None before one ended. noise: of the best losses, as assumed, in their unit.
    """

    surrogates: Sequence[Weighted]
    survival: Survival
    best: float | None
    noise: float

    def foresee(self, points: Array, decay: Array) -> "Foresight":
        """Return what is believed of y at the ends of M points (M, P) by H decay points (H, D), in their unit range."""
        parts = [(each.weight, *each.surrogate.foresee(points, decay)) for each in self.surrogates]
        return Foresight(parts, *mixed(parts), self.survival.probability(points)[:, None])


@dataclass(frozen=True)
class Foresight:
    """parts: weight, mean and deviation (M, H) under each shift. mean, deviation: of their mixture (M, H).

    survival: the probability to train to the end (M, 1).
    """

    parts: Sequence[tuple[float, Array, Array]]
    mean: Array
    deviation: Array
    survival: Array

    def improvement(self, of: Callable[[Array, Array, float], Array], best: float) -> Array:
        """Return the expected improvement (M, H) over the best, by a function of mean, deviation and best."""
        return self.survival * sum((weight * of(m, s, best) for weight, m, s in self.parts), np.zeros(1))


def believe(
    space: Space,
    learner: Learner,
    scores: Sequence[Score],
    pending: Sequence[Piece],
    hints: tuple[Inputs, Gaps] | None = None,
) -> Belief:
    """Return what scores tell. pending: pieces that are in training. hints: see `sweeps.thaw.hints`.

    A training that diverged is as bad as the worst of its rung, and tells of the survival of its neighbours.
    """

    def first(count: int, most: int) -> tuple[Inputs, Gaps]:
        inputs, gaps = scored(space, scores[:count])
        rows = thinned(scores[:count], gaps.y, most)
        return inputs.take(rows), gaps.take(rows)

    kernel, shifts = learner.kernel(len(scores), first), learner.shifts(len(scores), first)
    inputs, gaps = scored(space, scores)
    ends = [y for y, score in zip(gaps.y, scores, strict=True) if score.share >= 1 and score.value is not None]
    rows = thinned(scores, gaps.y)
    training = scaled_inputs(space, [_place(piece) for piece in pending])
    weighted = surrogates(space, kernel, inputs.take(rows), gaps.take(rows), training, shifts, hints)
    died, lived = _fates(scores)
    points = space.scaled(np.array([*died, *lived], dtype=np.float64).reshape(-1, space.dimensions))
    survival = Survival(kernel, *_some(points, np.arange(len(points)) < len(died)))
    return Belief(weighted, survival, float(min(ends)) if ends else None, gaps.noise_of_best)


def scored(space: Space, scores: Sequence[Score]) -> tuple[Inputs, Gaps]:
    """Return where scores lie, and their losses on the scale of the surrogate."""
    values: Array = np.array([math.nan if score.value is None else score.value for score in scores])
    shares: Array = np.array([score.share for score in scores])
    inputs = scaled_inputs(space, [(score.point, score.share, score.decay) for score in scores])
    return inputs, log_gaps(values, shares)


def _place(piece: Piece) -> tuple[tuple[float, ...], float, tuple[float, ...]]:
    return (piece.point, piece.end, ()) if isinstance(piece, TrunkPiece) else (piece.point, 1.0, piece.decay)


def _some(points: Array, died: npt.NDArray[np.bool_]) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Return at most MOST points, an even part of all."""
    rows = np.unique(np.linspace(0, len(points) - 1, min(len(points), MOST)).astype(int))
    return points[rows], died[rows]


def _fates(scores: Sequence[Score]) -> tuple[list[tuple[float, ...]], list[tuple[float, ...]]]:
    """Return the points of which a training diverged, and the others."""
    died = {score.point: None for score in scores if score.value is None}
    return list(died), list({score.point: None for score in scores if score.point not in died})
