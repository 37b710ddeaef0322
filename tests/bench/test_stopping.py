"""What the benchmark of scores says of a score: how far its optimum lies from the end's, and what that costs."""

import pytest

from tests.bench.stopping import KINDS, Foresight, foresight, foresights

EXPONENTS = [-3.0, -2.0, -1.0, 0.0]


def test_a_perfect_score_has_the_optimum_of_the_end() -> None:
    assert foresight([4.0, 2.0, 1.0, 3.0], [4.0, 2.0, 1.0, 3.0], EXPONENTS) == Foresight(1.0, 0.0, 0.0)


def test_spearman_does_not_show_an_optimum_that_lies_too_high() -> None:
    """Two neighbours are exchanged among many: the correlation is high, and the sweep would end a decade off."""
    exponents, finals = [k / 10 for k in range(31)], [abs(k - 15) / 10 for k in range(31)]
    scores = [2.9 if k < 15 else abs(k - 25) / 10 for k in range(31)]
    off = foresight(scores, finals, exponents)
    assert (off.decades, off.regret) == (pytest.approx(1.0), pytest.approx(1.0))


def test_it_is_the_mean_over_the_seeds_of_trials_that_end() -> None:
    trials = {
        f"{k}/{seed}": {"scores": {f"{kind} 10": score for kind in KINDS}, "final": final, "ended": 100}
        for seed, shift in enumerate((0, 0, 1))
        for k, (score, final) in enumerate([(5.0, None), (3.0 - shift, 1.0), (2.5, 2.0), (9.0, 3.0)])
    }
    measured = {"rungs": [10], "configurations": [(exponent, 0.5) for exponent in EXPONENTS], "trials": trials}
    (found,) = foresights(measured)["probe"]
    assert found.decades == pytest.approx(2 / 3), "in two seeds the trial a decade above has the better score"
    assert found.regret == pytest.approx(2 / 3)
