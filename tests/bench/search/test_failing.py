"""The simulated table: its closed form is the recursion that it stands for, and most of its configurations fail."""

import numpy as np
import pytest

from tests.bench.search import failing
from tests.bench.search.failing import failing_table


def test_the_closed_form_is_the_recursion() -> None:
    curvature_H, lr_E = np.array([1.0, 0.25]), np.array([0.1, 1.5, 3.0])
    closed = failing.squares_after(np.ones((3, 1, 2)), np.array([7.0]), lr_E, curvature_H, 0.05)
    square_EH = np.ones((3, 2))
    for _ in range(7):
        square_EH = (1 - lr_E[:, None] * curvature_H) ** 2 * square_EH + lr_E[:, None] ** 2 * 0.05 * curvature_H
    np.testing.assert_allclose(closed[:, 0], square_EH)


@pytest.mark.parametrize("seed", range(3))
def test_most_configurations_end_hardly_below_their_beginning(seed: int) -> None:
    table = failing_table(seed)
    assert np.mean(table.final_ED > 0.9) > 0.5
    assert table.best < 0.1
    assert table.final_ED.max() <= 1
    assert np.all(table.value(0.5, -1.0, 0.9) >= 0)


def test_a_seed_gives_one_table() -> None:
    np.testing.assert_array_equal(failing_table(4).curve_CED, failing_table(4).curve_CED)
