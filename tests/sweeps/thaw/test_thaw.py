"""Laws of the search by pieces: it spends its budget and no more, ends with an answer, and depends on nothing else."""

import dataclasses
import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.sweeps.thaw.learning import MANY
from espalier.sweeps.thaw.pieces import BranchPiece, Piece, TrunkPiece
from espalier.sweeps.thaw.space import Number, Point, Space
from espalier.sweeps.thaw.thaw import PACE, RUNGS, Thaw
from tests.sweeps.thaw.replaying import replay, tell, valley
from tests.tiers import examples

EXPONENTS = Space([Number(-3, 1, 0.45)], decay=(0.4, 0.9), decays=1)
SPACES = {
    "an exponent and a decay point": EXPONENTS,
    "no decay point": Space([Number(-3, 1, 0.45)]),
    "two decay points": Space([Number(-3, 1)], decay=(0.4, 0.9), decays=2),
    "three numbers and choices": Space([Number(-3, 1), Number(0, 1), Number(5, 9)], [2, 3], (0.4, 0.9), 1),
}
every_space = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)


@every_space
@pytest.mark.parametrize("workers", [1, 3, 8])
@pytest.mark.parametrize("budget", [1.0, 1.3, 2.0, 6.5])
def test_it_spends_its_budget_and_no_more_and_has_an_answer(space: Space, workers: int, budget: float) -> None:
    search = Thaw(space, budget, seed=3)
    result = replay(search, lambda point, share, decay: valley((min(point[0], 0.0),), share, decay), workers)
    assert sum(piece.cost for piece in result.pieces) == pytest.approx(search.spent)
    assert search.spent <= budget + 1e-9
    assert result.ends, "an answer"
    assert search.left < 1.0, "of what is left no trunk could be trained to its end"
    for piece in result.pieces:
        assert 0 <= piece.begin < 1
        assert all(n.low <= v <= n.high for n, v in zip(space.numbers, piece.point, strict=False))


def test_a_trunk_goes_from_rung_to_rung_and_branches_begin_where_its_rows_are_kept() -> None:
    search = Thaw(EXPONENTS, 6.0)
    position: dict[int, float] = {}
    rungs: dict[int, int] = {}
    for piece in replay(search).pieces:
        if isinstance(piece, TrunkPiece):
            assert piece.begin == position.get(piece.trunk, 0.0)
            assert piece.end == RUNGS[rungs.get(piece.trunk, 0)]
            rungs[piece.trunk] = rungs.get(piece.trunk, 0) + 1
            position[piece.trunk] = piece.end
        else:
            assert piece.begin <= piece.decay[0] + 1e-9
            assert piece.begin <= position[piece.trunk] + 1e-9
            assert any(abs(piece.begin - kept) < 1e-9 for kept in [*search.kept, position[piece.trunk]])
            position[piece.trunk] = max(position[piece.trunk], piece.decay[0])


@every_space
@pytest.mark.parametrize(("wanted", "budget"), [(1, 1.0), (3, 6.0), (8, 6.0), (24, 3.0)])
@pytest.mark.parametrize("workers", [1, 4])
def test_there_are_as_many_trials_as_were_asked_for(space: Space, wanted: int, budget: float, workers: int) -> None:
    """A trunk is a trial, which the first branch that goes on from where it rested completes; others are trials too."""
    result = replay(Thaw(space, budget, trials=wanted), workers=workers)
    rested: dict[int, float] = {}
    completed = set[int]()
    trials = 0
    for piece in result.pieces:
        if isinstance(piece, TrunkPiece):
            trials += piece.trunk not in rested
            rested[piece.trunk] = piece.end
        elif piece.begin >= rested[piece.trunk] - 1e-9 and piece.trunk not in completed:
            completed.add(piece.trunk)
        else:
            trials += 1
    assert trials == wanted
    assert result.ends, "an answer"


def test_no_branch_is_asked_for_twice() -> None:
    branches = [p for p in replay(Thaw(EXPONENTS, 12.0)).pieces if isinstance(p, BranchPiece)]
    assert len({(piece.trunk, piece.decay) for piece in branches}) == len(branches)


def test_few_pieces_train_at_once_where_little_is_left() -> None:
    search = Thaw(EXPONENTS, 4.0)
    running = [search.ask() for _ in range(10)]
    assert all(running), "the points that begin are as many as one likes"
    for piece in running[1:]:
        assert piece
        tell(search, piece)
    assert search.ask(), "one is in training, and one more may be"
    assert len(search.training) >= PACE * search.left
    assert search.ask() is None


def test_more_workers_wait_rather_than_guess() -> None:
    assert replay(Thaw(EXPONENTS, 2.0), workers=64).most_at_once <= 12
    alone, many = replay(Thaw(EXPONENTS, 4.0)), replay(Thaw(EXPONENTS, 4.0), workers=8)
    assert many.best - 2.0 < 0.02 > alone.best - 2.0


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_the_unit_of_the_loss_changes_no_piece(scale: float) -> None:
    def scaled(point: Point, share: float, decay: tuple[float, ...]) -> float | None:
        value = valley(point, share, decay)
        return None if value is None else value * scale

    expected = replay(Thaw(EXPONENTS, 4.0)).pieces
    pieces = replay(Thaw(EXPONENTS, 4.0), scaled).pieces
    assert [_rounded(piece) for piece in pieces] == [_rounded(piece) for piece in expected]


def _rounded(piece: object) -> list[object]:
    fields = dataclasses.astuple(piece)  # pyright: ignore[reportArgumentType]
    return [np.round(field, 6).tolist() if not isinstance(field, int) else field for field in fields]


@examples(20)
@given(seed=st.integers(0, 999), workers=st.integers(1, 4), cut=st.integers(0, 25))
def test_a_search_that_is_taken_up_again_asks_as_if_nothing_had_been(seed: int, workers: int, cut: int) -> None:
    """From its pieces in the order in which they were asked for, and the scores in the order in which they came."""
    dice = random.Random(seed)
    search, log = Thaw(EXPONENTS, 4.0, seed), list[tuple[str, object]]()
    for _ in range(cut):
        while len(search.training) < workers and (piece := search.ask()):
            log.append(("asked", piece))
        if not search.training:
            break
        piece = dice.choice(search.training)
        log.append(("told", (piece, tell(search, piece))))
    again = Thaw(EXPONENTS, 4.0, seed)
    for kind, entry in log:
        if kind == "asked":
            again.adopt(entry)  # pyright: ignore[reportArgumentType]
        else:
            again.tell(*entry)  # pyright: ignore[reportGeneralTypeIssues]
    assert (again.spent, again.training) == (search.spent, search.training)
    assert again.ask() == search.ask()


def test_with_many_scores_a_search_that_is_taken_up_again_asks_as_if_nothing_had_been() -> None:
    """What is learnt now and then is learnt from the same scores again."""
    search = Thaw(SPACES["three numbers and choices"], 60.0)
    for _ in range(MANY + 30):
        piece = search.ask()
        assert piece
        tell(search, piece)
    again = Thaw(search.space, 60.0)
    for piece, score in zip(search.results.asked, search.results.scores(MANY + 30), strict=True):
        again.adopt(piece)
        again.tell(piece, score.value)
    assert again.ask() == search.ask()


@examples(20)
@given(seed=st.integers(0, 999), lag=st.integers(1, 6), workers=st.integers(1, 8), dice=st.randoms())
def test_with_a_lag_the_pieces_are_the_same_whatever_the_timing(
    seed: int, lag: int, workers: int, dice: random.Random
) -> None:
    def pieces(workers: int) -> list[Piece]:
        search = Thaw(EXPONENTS, 3.0, seed, lag=lag)
        asked = list[Piece]()
        while True:
            while len(search.training) < workers and (piece := search.ask()):
                asked.append(piece)
            if not search.training:
                return asked
            tell(search, dice.choice(search.training))

    assert pieces(workers) == pieces(1)


@examples(20)
@given(seed=st.integers(0, 999), lag=st.integers(1, 4), cut=st.integers(0, 60), dice=st.randoms())
def test_with_a_lag_a_search_that_is_taken_up_again_asks_the_same(
    seed: int, lag: int, cut: int, dice: random.Random
) -> None:
    """Its earlier pieces come first, then their results, in any order."""
    search = Thaw(EXPONENTS, 4.0, seed, lag=lag)
    asked, told = list[Piece](), list[tuple[Piece, float | None]]()
    for _ in range(cut):
        if (piece := search.ask()) is not None:
            asked.append(piece)
        elif search.training:
            piece = dice.choice(search.training)
            told.append((piece, tell(search, piece)))
    again = Thaw(EXPONENTS, 4.0, seed, lag=lag)
    for piece in asked:
        again.adopt(piece)
    for piece, value in dice.sample(told, len(told)):
        again.tell(piece, value)
    assert again.ask() == search.ask()


@pytest.mark.parametrize("lag", [1, 4])
def test_with_a_lag_no_more_pieces_train_at_once_once_the_first_are_known(lag: int) -> None:
    search = Thaw(EXPONENTS, 20.0, lag=lag)
    while search.first and (piece := search.ask()):
        tell(search, piece)
    for _ in range(8):
        search.ask()
    assert len(search.training) == lag


def test_a_trunk_that_diverged_is_not_continued_and_warns_of_its_neighbours() -> None:
    pieces = replay(Thaw(EXPONENTS, 8.0)).pieces
    diverging = {piece.trunk for piece in pieces if piece.point[0] > 0}
    assert diverging
    for trunk in diverging:
        assert sum(piece.trunk == trunk for piece in pieces) == 1
    late = [piece for piece in pieces[12:] if piece.point[0] > 0.3]
    assert not late, "beyond the cliff nothing is tried any more"


def test_at_the_rim_of_a_range_no_two_trunks_are_near_duplicates() -> None:
    search = Thaw(EXPONENTS, 12.0)
    replay(search, lambda point, share, decay: 2.0 - point[0] - 0.1 * math.log(share))
    exponents = sorted(trunk.point[0] for trunk in search.trunks)
    assert exponents[-1] > 0.9, "the best is at the rim"
    assert sum(exponent == 1.0 for exponent in exponents) <= 1
    assert len(set(exponents)) == len(exponents)


def test_it_says_what_a_piece_promises() -> None:
    search = Thaw(EXPONENTS, 4.0)
    while search.first:
        piece = search.ask()
        assert piece
        tell(search, piece)
    assert search.reason is None, "the points that begin are not chosen"
    assert search.ask()
    assert search.reason
    assert 0 < search.reason.gain < 2
    assert 0 < search.reason.cost <= 1


@pytest.mark.parametrize("seed", range(3))
def test_it_is_better_than_chance(seed: int) -> None:
    """At four trainings: the median over random points, each trained to its end, is more than ten times as far."""
    rng = np.random.default_rng(seed)

    def at_random() -> float:
        ends = [valley((float(rng.uniform(-3, 1)),), 1.0, (float(rng.uniform(0.4, 0.9)),)) for _ in range(4)]
        return min((end for end in ends if end is not None), default=math.inf)

    chance = float(np.median([at_random() for _ in range(50)])) - 2.0
    ours = float(np.median([replay(Thaw(EXPONENTS, 4.0, k)).best for k in range(5)])) - 2.0
    assert ours < chance / 10


def test_several_choices_share_what_they_know() -> None:
    """A choice that is worse by a constant has its optimum where the others have it."""

    def truth(point: Point, share: float, decay: tuple[float, ...]) -> float | None:
        value = valley(point[:1], share, decay)
        return None if value is None else value + 0.5 * point[1]

    space = Space([Number(-3, 1, 0.45)], [3], (0.4, 0.9), 1)
    pieces = replay(Thaw(space, 6.0), truth).pieces
    ends = [piece for piece in pieces if isinstance(piece, BranchPiece)]
    assert sum(piece.point[1] == 0 for piece in ends) > len(ends) / 2
    assert replay(Thaw(space, 6.0), truth).best < 2.02


def test_of_listed_values_each_is_begun_once_and_the_search_ends_when_all_are_trained() -> None:
    listed = (-3.0, -2.0, -1.0, -0.75)
    for space in (Space([Number(-3, -0.75, 0.45, listed)]), Space([Number(-3, -0.75, 0.45, listed)], [2])):
        result = replay(Thaw(space, 60.0, trials=50), lambda point, share, decay: valley(point[:1], share, decay))
        begun = [piece.point for piece in result.pieces if isinstance(piece, TrunkPiece) and piece.begin == 0]
        assert len(begun) == len(set(begun)) <= len(listed) * 2 ** len(space.choices)
        assert {point[0] for point in begun} == set(listed)
        assert result.best == pytest.approx(2.0)


def cliff(point: Point, share: float, decay: tuple[float, ...]) -> float | None:
    """A loss of which most of the range is as bad, so that little is expected of it."""
    return 1e6 if point[0] > 0 else 10 + 60 * min(1.0, abs(point[0] + 0.5) ** 2) + 0.1 / share


@pytest.mark.parametrize(
    "space", [Space([Number(-3, 1, 0.45)]), Space([Number(0, 1, values=tuple(k / 999 for k in range(1000)))])]
)
def test_a_range_has_as_many_trials_as_were_asked_for_where_little_is_expected_of_more(space: Space) -> None:
    search = Thaw(space, 40.0, trials=100)
    replay(search, cliff, workers=2)
    points = {trunk.point for trunk in search.trunks}
    assert len(points) == len(search.trunks) == 100 and search.left < 1.0
    assert not search.exhausted


def test_a_list_is_exhausted_once_each_value_has_been_begun() -> None:
    search = Thaw(Space([Number(0, 1, values=(0.0, 0.5, 1.0))]), 40.0, trials=100)
    replay(search, cliff)
    assert len(search.trunks) == 3 and search.exhausted
