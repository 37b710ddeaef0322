"""Values that exist only under a condition: their places, what the kernel makes of them, and that pieces have them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.sweeps.thaw.candidates import new_points
from espalier.sweeps.thaw.kernel import Kernel
from espalier.sweeps.thaw.pieces import Trunk
from espalier.sweeps.thaw.space import Condition, Number, Point, Space
from espalier.sweeps.thaw.thaw import Thaw
from tests.sweeps.thaw.replaying import replay, valley

PLAIN = Space([Number(-3, 1, 0.45), Number(0, 1), Number(1, 3, values=(1.0, 2.0, 3.0))], [3, 2], (0.4, 0.9), 1)
"""A rate, a number and three depths; three kinds, and two ways."""
CONDITIONS = (Condition(1, 3, (0.0,)), Condition(4, 3, (0.0, 1.0)), Condition(4, 2, (2.0, 3.0)))
SPACE = Space(PLAIN.numbers, PLAIN.choices, PLAIN.decay, PLAIN.decays, conditions=CONDITIONS)
MIDDLE, NO_WAY = 0.5, 2.0
rows = st.integers(0, 2**32).map(lambda seed: np.random.default_rng(seed).random((40, 5)))


def exists_by_hand(point: Point) -> tuple[bool, bool]:
    _, _, depth, kind, _ = point
    return kind == 0.0, kind in (0.0, 1.0) and depth in (2.0, 3.0)


@given(rows)
def test_what_does_not_exist_has_one_place_and_what_exists_has_its_own(drawn: "np.ndarray[tuple[int, int]]") -> None:
    for plain, point in zip(PLAIN.points(drawn), SPACE.points(drawn), strict=True):
        number, way = exists_by_hand(point)
        assert point[1] == (plain[1] if number else MIDDLE)
        assert point[4] == (plain[4] if way else NO_WAY)
        assert (point[0], point[2], point[3]) == (plain[0], plain[2], plain[3])
        assert SPACE.exist(np.array([point])).tolist() == [[True, number, True, True, way]]


def test_along_a_value_that_neither_has_two_points_do_not_differ() -> None:
    kernel = Kernel.for_space(SPACE)
    plain = [(-1.0, 0.1, 1.0, 2.0, 0.0), (-1.0, 0.9, 1.0, 2.0, 1.0)]
    assert SPACE.settled(plain)[0] == SPACE.settled(plain)[1]
    scaled = SPACE.scaled(np.array(SPACE.settled([(-1.0, 0.1, 1.0, 2.0, 0.0), (-2.0, 0.9, 1.0, 2.0, 1.0)])))
    rates_alone = math.exp(-0.5 * (0.25 / kernel.lengths[0]) ** 2)
    assert kernel.alike(scaled, scaled)[0, 1] == pytest.approx(rates_alone)


def test_where_only_one_has_a_value_the_condition_sets_them_apart() -> None:
    """No more is told across it than the kernel says of two kinds; and of all values of the range about alike."""
    kernel = Kernel.for_space(SPACE)
    with_it = [(-1.0, value, 1.0, 0.0, 0.0) for value in (0.0, 0.5, 1.0)]
    points = SPACE.scaled(np.array(SPACE.settled([*with_it, (-1.0, 0.7, 1.0, 2.0, 0.0)])))
    alike = kernel.alike(points, points)
    assert alike[1, 3] == pytest.approx(0.5), "kinds alone"
    assert alike[0, 3] == pytest.approx(alike[2, 3])
    assert 0.4 < alike[0, 3] < alike[1, 3]
    assert alike[0, 2] < 1, "and where both have it the values still differ"


@given(rows)
def test_the_kernel_of_such_points_is_a_covariance(drawn: "np.ndarray[tuple[int, int]]") -> None:
    points = SPACE.scaled(np.array(SPACE.points(drawn)))
    eigenvalues = np.linalg.eigvalsh(Kernel.for_space(SPACE).alike(points, points))
    assert eigenvalues.min() > -1e-9


@given(rows)
def test_a_point_near_another_has_what_exists_there(drawn: "np.ndarray[tuple[int, int]]") -> None:
    trunks = [Trunk(number, point) for number, point in enumerate(SPACE.points(drawn)[:9])]
    for candidate in new_points(SPACE, trunks, np.random.default_rng(0)):
        assert SPACE.settled([candidate.point]) == [candidate.point]
        _, way = exists_by_hand(candidate.point)
        assert (candidate.point[4] < NO_WAY) == way


@pytest.mark.parametrize("workers", [1, 3])
def test_a_search_over_them_has_an_answer_and_never_asks_for_what_does_not_exist(workers: int) -> None:
    search = Thaw(SPACE, 8.0, seed=1)

    def loss(point: Point, share: float, decay: tuple[float, ...]) -> float:
        end = valley((min(point[0], 0.0),), share, decay) or 0.0
        return end + point[3] + (abs(point[1] - 0.8) if point[3] == 0 else 0.0)

    result = replay(search, loss, workers)
    assert result.ends
    for piece in result.pieces:
        assert SPACE.settled([piece.point]) == [piece.point]
    assert len({piece.point[3] for piece in result.pieces}) == 3
