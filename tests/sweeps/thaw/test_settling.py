"""A search is settled neither too early nor never."""

import math

import numpy as np

from espalier.sweeps.thaw.pieces import BranchPiece, Score
from espalier.sweeps.thaw.settling import settled
from espalier.sweeps.thaw.space import Number, Space
from espalier.sweeps.thaw.thaw import Thaw
from tests.sweeps.thaw.replaying import tell, valley

SPACE = Space([Number(-3, 1, 0.45)], decay=(0.4, 0.9), decays=1)
NOISE = 0.005


def ends(*values: float) -> list[Score]:
    """Ends of two trunks each, one after another."""
    return [Score((0.0,), 1.0, (0.5,), value, trunk // 2) for trunk, value in enumerate(values)]


def regret_when_settled(seed: int) -> tuple[float, float]:
    """Return the regret and what was spent, when a search says that it has settled."""
    search, best, rng = Thaw(SPACE, 30.0, seed), math.inf, np.random.default_rng(seed)
    while not search.settled(NOISE) and (piece := search.ask()):
        tell(search, piece, lambda *at: None if (value := valley(*at)) is None else value + rng.normal(0, NOISE))
        if isinstance(piece, BranchPiece):
            best = min(best, valley(piece.point, 1.0, piece.decay) or math.inf)
    return best - 2.0, search.spent


def test_it_stops_within_two_deviations_of_the_best_and_does_stop() -> None:
    stops = [regret_when_settled(seed) for seed in range(10)]
    assert sum(regret <= 2 * NOISE for regret, _ in stops) >= 9
    assert all(spent < 20 for _, spent in stops)


def test_a_branch_that_bettered_the_best_by_more_than_the_noise_keeps_it_going() -> None:
    assert settled(ends(2.5, 2.1, 2.2, 2.1, 2.2, 2.1, 2.2), 0.0, 0.01)
    assert settled(ends(2.5, 2.1, 2.2, 2.1, 2.2, 2.1, 2.095), 0.0, 0.01)
    assert not settled(ends(2.5, 2.1, 2.2, 2.1, 2.2, 2.1, 2.05), 0.0, 0.01)


def test_neither_a_promise_above_the_noise_nor_a_few_branches_are_settled() -> None:
    vain = ends(2.5, 2.1, 2.2, 2.1, 2.2, 2.1, 2.2)
    assert not settled(vain, 0.02, 0.01)
    assert not settled(vain[:5], 0.0, 0.01)
    assert not settled([], 0.0, 0.01)
    of_one_trunk = [Score((0.0,), 1.0, (0.5,), 2.0, 0) for _ in range(9)]
    assert not settled(of_one_trunk, 0.0, 0.01)
