"""The best learning rate of early scores may not be that of the ends; it is found all the same."""

import math

import numpy as np
import pytest

from espalier.sweeps.thaw.pieces import BranchPiece
from espalier.sweeps.thaw.shifts import SHIFTS, Shift
from espalier.sweeps.thaw.space import Number, Point, Space
from espalier.sweeps.thaw.thaw import Thaw
from tests.sweeps.thaw.replaying import Truth, replay

SPACE = Space([Number(-3, 1, 0.45)], decay=(0.4, 0.9), decays=1)


def misled(shift: Shift) -> Truth:
    """A bowl whose best exponent is -1 at the end, and by a shift lower before."""

    def truth(point: Point, share: float, decay: tuple[float, ...]) -> float:
        at = point[0] + float(shift.part(np.array([share]))[0]) * shift.decades
        return 2.0 - 0.3 * math.log(share) + 0.2 * (at + 1) ** 2 + sum((d - 0.7) ** 2 for d in decay)

    return truth


@pytest.mark.parametrize("shift", [Shift(d, fades) for d in (-0.7, 0.7) for fades in (True, False)], ids=str)
def test_where_early_scores_mislead_the_best_is_found_in_six_trainings(shift: Shift) -> None:
    """Beside what early scores say is best, a branch ends .1 above the best where the shift lasts."""
    regrets = [replay(Thaw(SPACE, 6.0, seed), misled(shift)).best - 2.0 for seed in range(5)]
    assert float(np.median(regrets)) < 0.005


def test_shifts_that_are_none_are_one() -> None:
    assert sum(shift.decades == 0 for shift in SHIFTS) == 1


def test_the_first_branch_decays_within_the_range_and_later_ones_of_its_trunk_cost_less() -> None:
    pieces = replay(Thaw(SPACE, 3.0), misled(Shift(0.0, True))).pieces
    first, *others = [piece for piece in pieces if isinstance(piece, BranchPiece)]
    assert 0.5 < first.decay[0] < 0.8
    later = [piece for piece in others if piece.trunk == first.trunk and piece.decay > first.decay]
    assert later
    assert all(piece.begin > first.begin for piece in later)
