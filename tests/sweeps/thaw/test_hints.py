"""What another search came to: believed where this one's scores agree, and dropped where they do not."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from espalier.sweeps.thaw.belief import believe
from espalier.sweeps.thaw.hints import BEGUN, MOST, Hint, best_points, hinted
from espalier.sweeps.thaw.learning import Learner
from espalier.sweeps.thaw.pieces import Score, TrunkPiece
from espalier.sweeps.thaw.space import DECADES, Number, Space
from espalier.sweeps.thaw.thaw import Thaw

SPACE = Space([Number(-4, 0, DECADES)], decay=(0.4, 0.9), decays=1)
DICE = np.random.default_rng(7)


def valley(best: float) -> Callable[[float], float]:
    return lambda x: 2.0 + 0.3 * (x - best) ** 2


def hints_of(loss: Callable[[float], float], count: int = 12, scale: float = 1.0, more: float = 0.0) -> list[Hint]:
    return [Hint((float(x),), scale * loss(float(x)) + more) for x in np.linspace(-3.9, -0.1, count)]


def scores_of(loss: Callable[[float], float], rates: Sequence[float]) -> list[Score]:
    return [Score((x,), 0.05, (), loss(x) + 0.4, k) for k, x in enumerate(rates)]


def weight_of_hints(scores: Sequence[Score], hints: Sequence[Hint]) -> float:
    taken = hinted(SPACE, hints)
    count = len(scores)
    weighted = believe(SPACE, Learner(SPACE), scores, [], taken).surrogates
    return sum(each.weight for each in weighted if each.surrogate.count > count)


RATES = (-3.7, -3.1, -2.4, -1.9, -1.2, -0.6, -0.2)


@pytest.mark.parametrize("scale", [1.0, 10.0, 1e-3])
@pytest.mark.parametrize("best", [-3.0, -1.5])
def test_hints_that_agree_are_believed_and_those_that_contradict_are_not(best: float, scale: float) -> None:
    """On any scale of their losses."""
    scores = scores_of(valley(best), RATES)
    agree = weight_of_hints(scores, hints_of(valley(best), scale=scale, more=3.0 * scale))
    contradict = weight_of_hints(scores, hints_of(valley(-4.5 - best), scale=scale))
    assert agree > 0.8 and contradict < 0.2


def test_without_hints_nothing_is_another() -> None:
    plain, empty = Thaw(SPACE, 4.0, seed=5), Thaw(SPACE, 4.0, seed=5, hints=[])
    for _ in range(25):
        one, other = plain.ask(), empty.ask()
        assert one == other
        if one is None:
            break
        value = valley(-2.0)(one.point[0]) + (1 - getattr(one, "end", 1.0))
        plain.tell(one, value)
        empty.tell(one, value)


def test_the_search_begins_where_they_are_best_and_not_side_by_side() -> None:
    hints = [*hints_of(valley(-2.0)), Hint((-2.001,), 1.99), Hint((-2.002,), 1.98)]
    chosen = best_points(SPACE, hints)
    assert len(chosen) == BEGUN and chosen[0] == (-2.002,)
    assert abs(chosen[1][0] - chosen[0][0]) > 0.1
    search = Thaw(SPACE, 4.0, hints=hints)
    first = [search.ask() for _ in range(3)]
    assert [piece.point for piece in first[:2] if isinstance(piece, TrunkPiece)] == chosen
    assert len(search.trunks) == 3


def test_of_many_the_best_and_an_even_part_of_the_others_count_each_point_once() -> None:
    hints = [Hint((float(x),), float(k)) for k, x in enumerate(DICE.uniform(-4, 0, 500))]
    inputs, gaps = hinted(SPACE, [*hints, *(Hint(hint.point, hint.value + 1) for hint in hints)])
    assert len(inputs) == len(gaps.y) == MOST
    assert len(np.unique(inputs.points)) == MOST
    assert (np.diff(gaps.y) > 0).all() and math.isclose(gaps.y[0], math.log(gaps.tau))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("off", [0.0, 1.5])
def test_a_search_with_hints_spends_its_budget_and_finds_the_valley(seed: int, off: float) -> None:
    search, loss = Thaw(SPACE, 5.0, seed=seed, hints=hints_of(valley(-2.5 + off))), valley(-2.5)
    best = math.inf
    while piece := search.ask():
        end = piece.end if isinstance(piece, TrunkPiece) else 1.0
        value = loss(piece.point[0]) + (1 - end)
        best = best if isinstance(piece, TrunkPiece) else min(best, value)
        search.tell(piece, value)
    assert search.spent <= 5.0 + 1e-9
    assert best < 2.01
