"""The noise of another seed, and ties with the best."""

import random
import statistics
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from espalier.sweeps.answer.closing import Summary
from espalier.sweeps.home import Home
from espalier.sweeps.results.noise import UNKNOWN, Noise, compare_with_best, estimate_noise, find_ties, noise_line
from espalier.sweeps.results.trial_result import TrialResult, best_trial, counts, ranked
from tests.sweeps.made import row, spec_with


def searched(number: int, value: float, exponent: float = -2.0, seed: int = 0, **more: Any) -> TrialResult:
    return row(number, value, params={"lr_exponent": exponent, "decay_factor": 0.1, "seed": seed}, **more)


def assert_noise(noise: Noise | None, sd: float, degrees: int, source: str) -> None:
    assert noise is not None
    assert (noise.degrees, noise.source) == (degrees, source)
    assert noise.sd == pytest.approx(sd)


def test_without_a_configuration_under_two_seeds_nothing_is_claimed() -> None:
    trials = [searched(n, 1.0 + n / 10, exponent=-n) for n in range(9)]
    assert estimate_noise(trials, "min") is None
    assert compare_with_best(trials, spec_with()) == (None, None)
    assert noise_line(None, None) == UNKNOWN


def test_the_noise_of_replicates_is_their_pooled_deviation_with_its_degrees_of_freedom() -> None:
    spreads = [0.1, 0.2, 0.3, 0.4]
    trials = [searched(n, float(n), exponent=-n, spread=spread) for n, spread in enumerate(spreads)]
    noise = estimate_noise(trials, "min", replicates=3)
    assert noise is not None
    assert noise.sd == pytest.approx(statistics.fmean(spread**2 for spread in spreads) ** 0.5)
    assert (noise.degrees, noise.source) == (8, "4 trials of 3 seeds")


@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_noise_is_that_of_the_best_quarter(mode: str) -> None:
    sign = 1 if mode == "min" else -1
    calm = [searched(n, sign * n, exponent=-n, spread=0.01) for n in range(10)]
    wild = [searched(n, sign * n, exponent=-n, spread=5.0) for n in range(10, 40)]
    noise = estimate_noise(calm + wild, mode, replicates=2)
    assert_noise(noise, 0.01, 10, "10 trials of 2 seeds")


def test_a_confirmation_and_its_trial_are_two_measurements_of_one_configuration() -> None:
    trials = [searched(n, 1.0 + n, exponent=-n) for n in range(3)]
    again = [searched(3 + n, 1.0 + n + 0.2, exponent=-n, seed=1 + n, confirms=n) for n in range(3)]
    noise = estimate_noise(trials + again, "min")
    assert_noise(noise, 0.2 / 2**0.5, 3, "3 confirmations")


def test_one_point_under_one_seed_twice_says_nothing_of_the_noise() -> None:
    assert estimate_noise([searched(0, 1.0), searched(1, 1.0)], "min") is None


def test_a_searched_seed_gives_replicates() -> None:
    noise = estimate_noise([searched(n, 1.0 + n / 10, seed=n) for n in range(3)], "min")
    assert_noise(noise, 0.1, 2, "3 trials of one configuration")


def test_the_least_difference_is_that_of_a_two_sided_t_test_of_two_means() -> None:
    noise = Noise(0.5, 7, "")
    t = stats.t.ppf(0.975, 7)
    assert noise.least_difference() == pytest.approx(t * 0.5 * 2**0.5)
    assert noise.least_difference(replicates=4) == pytest.approx(t * 0.5 * (2 / 4) ** 0.5)


def test_two_equal_trials_are_told_apart_in_one_of_twenty_cases() -> None:
    draw, apart, cases = random.Random(0), 0, 4000
    for _ in range(cases):
        pairs = [(draw.gauss(n, 1), draw.gauss(n, 1)) for n in range(5)]
        sd = (sum((a - b) ** 2 / 2 for a, b in pairs) / 5) ** 0.5
        apart += abs(draw.gauss(0, 1) - draw.gauss(0, 1)) > Noise(sd, 5, "").least_difference()
    assert apart / cases == pytest.approx(0.05, abs=0.01)


def test_ties_are_those_within_the_least_difference_with_the_ranges_of_their_numbers() -> None:
    points = {0: (-1.0, [0.8]), 1: (-1.1, [0.75]), 2: (-0.8, [0.9]), 3: (-0.5, [0.4])}
    values = {0: 2.0, 1: 2.05, 2: 2.1, 3: 2.5}
    trials = [
        row(n, values[n], params={"lr_exponent": e, "decay_points": d, "seed": 0}) for n, (e, d) in points.items()
    ]
    noise = Noise(0.1, 1000, "")
    ties = find_ties(trials, "min", noise, {"lr_exponent", "decay_points"})
    assert ties is not None
    assert (ties.best, ties.trials) == (0, (1, 2))
    assert ties.ranges == {"lr_exponent": (-1.1, -0.8), "decay_points": (0.75, 0.9)}
    assert "2 trials cannot be told from the best: lr_exponent -1.1 to -0.8, decay_points 0.75 to 0.9" in noise_line(
        noise, ties
    )


def test_a_confirmation_is_neither_the_best_nor_a_tie_nor_counted() -> None:
    trials = [searched(0, 1.0), searched(1, 1.3, exponent=-1.0), searched(2, 0.5, seed=1, confirms=0)]
    best = best_trial(trials, "min")
    assert best is not None and best.number == 0
    assert [t.number for t in ranked(trials, "min")] == [0, 1, 2]
    assert counts(trials) == {"complete": 2}
    ties = find_ties(trials, "min", Noise(9.0, 1, ""), {"lr_exponent"})
    assert ties is not None and ties.trials == (1,)


def test_the_closing_words_and_the_document_have_the_noise() -> None:
    trials = [searched(0, 1.0), searched(1, 1.3, exponent=-1.0), searched(2, 1.2, seed=1, confirms=0)]
    summary = Summary("warm", spec_with(), trials, best_trial(trials, "min"), False, True, 12.0, 400, 80, 1.0)
    (line,) = [line for line in summary.closing_lines(Home(Path("h"))) if line.startswith("noise: ")]
    assert "(from 1 confirmation): 1 trial cannot be told from the best: lr_exponent -2 to -1" in line
    document = summary.document()
    assert document["noise"] == {"sd": pytest.approx(0.2 / 2**0.5), "degrees": 1, "source": "1 confirmation"}
    assert document["trials"] == 2
