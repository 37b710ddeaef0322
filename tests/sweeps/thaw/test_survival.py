"""Where trainings diverged others are improbable to survive."""

import math

import numpy as np
import pytest

from espalier.sweeps.thaw.belief import believe
from espalier.sweeps.thaw.kernel import Kernel
from espalier.sweeps.thaw.learning import Learner
from espalier.sweeps.thaw.pieces import BranchPiece, Score
from espalier.sweeps.thaw.space import Number, Point, Space
from espalier.sweeps.thaw.survival import Survival
from espalier.sweeps.thaw.thaw import Thaw
from espalier.sweeps.thaw.thinning import MOST
from tests.sweeps.thaw.replaying import replay, valley

SPACE = Space([Number(-3, 1, 0.45)], decay=(0.4, 0.9), decays=1)
KERNEL = Kernel.for_space(SPACE)
POINTS = np.linspace(0, 1, 9)[:, None]


def test_where_nothing_diverged_every_point_survives() -> None:
    survival = Survival(KERNEL, POINTS, np.zeros(9, dtype=np.bool_))
    assert (survival.probability(np.linspace(0, 1, 50)[:, None]) == 1).all()


def test_a_point_beside_those_that_diverged_is_improbable_to_survive_and_one_beside_those_that_live_is_not() -> None:
    survival = Survival(KERNEL, POINTS, POINTS[:, 0] > 0.6)
    probability = survival.probability(np.array([[0.02], [0.45], [0.8], [0.95]]))
    assert (probability[:2] > 0.9).all()
    assert (probability[2:] < 0.1).all()


def test_a_search_in_which_nine_of_ten_points_diverge_finds_the_others() -> None:
    def truth(point: Point, share: float, decay: tuple[float, ...]) -> float | None:
        return valley(point, share, decay) if -1.2 < point[0] < -0.8 else None

    ends = [min(replay(Thaw(SPACE, 5.0, seed), truth).ends, default=9.0) for seed in range(6)]
    assert float(np.median(ends)) < 2.01
    assert max(ends) < 9, "an answer each time"


def test_after_a_point_has_diverged_at_every_rung_the_search_still_asks_within_its_budget() -> None:
    search = Thaw(SPACE, 3.0)
    result = replay(search, lambda point, share, decay: None)
    assert not result.ends
    assert search.spent <= 3.0 + 1e-9
    assert not any(isinstance(piece, BranchPiece) for piece in result.pieces)


def test_with_more_scores_than_the_surrogate_takes_the_best_end_is_still_known() -> None:
    rng = np.random.default_rng(0)
    scores = [Score((float(rng.uniform(-3, 0)),), 1.0, (0.5,), float(rng.uniform(2, 3)), k) for k in range(MOST + 50)]
    scores += [Score((float(rng.uniform(0.3, 1)),), 0.05, (), None, k) for k in range(MOST)]
    belief = believe(SPACE, Learner(SPACE), scores, [])
    foresight = belief.foresee(POINTS, np.array([[0.5]]))
    ends = [score.value for score in scores if score.value is not None]
    assert belief.best == pytest.approx(math.log(0.07 * (np.median(ends) - min(ends))))
    assert np.isfinite(foresight.mean).all()
    assert (foresight.survival[-1] < foresight.survival[0]).all()
