"""What the answer counts, and from where: costs from the rate that one types, and no loss that hides all others."""

from dataclasses import replace

import numpy as np
import pytest

from espalier.sweeps.answer.answer import answer_of
from espalier.sweeps.answer.explanation import Explanation
from espalier.sweeps.results.trial_result import TrialResult
from tests.sweeps.answer.test_valley import SCORED, TRUTH, bowl, foreign, sweep_of, trial, valley
from tests.sweeps.answer.test_words import known_noise
from tests.sweeps.answer.valleys import made_sweep, spec_of, upside_down

SPARSE = np.array([-2.9, -2.4, -1.9, -1.42, -0.88, -0.4, 0.1, 0.4])
"""The best of them lies .12 decades above the lowest place of a bowl at -1."""


@pytest.mark.parametrize("factor", [10.0, 2.0, 0.5, 0.1])
def test_costs_are_counted_from_the_best_trials_rate(factor: float) -> None:
    """Whoever types that rate and doubles it pays the difference of the two, in truth within the band."""
    lines = valley(spec_of("rate"), sweep_of(bowl(SPARSE, -1.0)))
    assert lines.chosen_x == -0.88
    off = next(off for off in lines.off if off.factor == factor)
    place = -0.88 + np.log10(factor)
    assert off.x == pytest.approx(place)
    truth = max(0.0, 0.2 * ((place + 1) ** 2 - 0.12**2))
    assert off.low is not None and off.cost is not None and off.high is not None
    assert off.low - 2e-4 <= truth <= off.high + 2e-4
    assert off.low <= off.cost <= off.high


def test_of_whole_numbers_the_next_one_is_counted_from_that_of_the_best_trial() -> None:
    spec = foreign({"depth": {"low": 1, "high": 9, "integer": True}})
    losses = {depth: 2.3 + 0.2 * abs(depth - 5.4) for depth in (1, 2, 3, 4, 6, 7, 8, 9)}
    depths = valley(spec, sweep_of(losses, "depth"))
    assert (depths.chosen_x, {off.x for off in depths.off}) == (6, {5, 7})


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("huge", [1e6, 1e12, 1e35])
@pytest.mark.parametrize("verdict", ["diverged", "hot", ""])
def test_a_loss_that_ran_away_and_stayed_finite_hides_nothing(huge: float, verdict: str, mode: str) -> None:
    """It counts as one that diverged: the valley of the others is the one without it."""
    kind = {"objective": {"metric": "valid_loss", "mode": mode}}
    trials = sweep_of(bowl(np.linspace(-3, -0.2, 14), -1.0))
    runaway = replace(trial(20, huge, lr_exponent=0.3), verdict=verdict, reports={1: 2.5, 50: huge})
    alone, beside = trials, [*trials, runaway]
    if mode == "max":
        alone, beside = upside_down(alone), upside_down(beside)
        beside[-1] = replace(beside[-1], reports={1: -2.5, 50: -huge})
    without, with_it = (valley(spec_of("rate", **kind), each) for each in (alone, beside))
    assert with_it.diverged_from == 0.3 and without.diverged_from is None
    assert (with_it.mean, with_it.interval, with_it.se) == (without.mean, without.interval, without.se)
    assert "trials diverge from rate 2 " in "\n".join(answer_of(spec_of("rate", **kind), beside).sentences)


@pytest.mark.parametrize("runaways", [3, 8, 40])
def test_neither_do_many_that_ran_away(runaways: int) -> None:
    """Also where most of the trials did."""
    lived = sweep_of(bowl(np.linspace(-3, -1.2, 6), -2.0))
    huge = [10.0 ** (6 + k % 12) for k in range(runaways)]
    lost = [
        replace(trial(30 + k, loss, lr_exponent=-1 + 0.03 * k), verdict="", reports={1: 2.5, 50: loss})
        for k, loss in enumerate(huge)
    ]
    alone, beside = valley(spec_of("rate"), lived), valley(spec_of("rate"), [*lived, *lost])
    assert (beside.mean, beside.interval, beside.diverged_from) == (alone.mean, alone.interval, -1.0)


@pytest.mark.parametrize("reports", [{}, {1: 0.62, 50: 0.6}, {1: 0.58, 50: 0.6}], ids=["one", "fell", "rose"])
def test_a_trial_that_stayed_where_it_began_did_not_run_away(reports: dict[int, float]) -> None:
    """However near to each other the best ones are."""
    near = [trial(k, 0.1 + 1e-5 * k, lr_exponent=-1 + 0.1 * k) for k in range(6)]
    answer = answer_of(spec_of("rate"), [*near, replace(trial(10, 0.6, lr_exponent=0.3), reports=reports)])
    assert answer.diverging is None and len(answer.points.trials) == 7


def test_a_trial_that_learnt_counts_however_far_behind_it_is() -> None:
    """A loss of .9 beside losses of 1e-7 that began at 2.3 did not diverge."""
    near = [trial(k, 1e-7 * (k + 1), lr_exponent=-1 + 0.1 * k) for k in range(6)]
    far = [replace(trial(10 + k, 0.9, lr_exponent=x), reports={1: 2.3, 50: 0.9}) for k, x in enumerate((0.2, 0.4))]
    answer = answer_of(spec_of("rate"), [*near, *far])
    assert answer.diverging is None and len(answer.points.trials) == 8


def test_costs_lie_in_their_bands_whatever_the_losses() -> None:
    for power in range(1, 13):
        losses = bowl(np.linspace(-3, 0.4, 14), -1.0) | {0.45: 10.0**power}
        for off in valley(spec_of("rate"), sweep_of(losses)).off:
            if off.cost is not None:
                assert (off.low or 0.0) <= off.cost <= (off.high or 0.0), power


def test_the_best_may_lie_between_the_last_that_lived_and_the_first_that_diverged() -> None:
    falling = {float(x): 3.0 - 0.5 * float(x) for x in np.linspace(-3, -1.5, 12)}
    lost = [trial(20 + k, None, "diverged", lr_exponent=x) for k, x in enumerate((-1.3, -1.0))]
    lines = valley(spec_of("rate"), [*sweep_of(falling), *lost])
    assert lines.interval == pytest.approx((-1.5, -1.3), abs=0.02)
    assert lines.se > 0.04 and not lines.settled


@pytest.mark.parametrize("seed", range(3))
def test_what_is_only_foreseen_is_not_said_to_be_within_noise(seed: int) -> None:
    """Scores that are alike early say little of the end: a flat foresight is no promise."""
    rng = np.random.default_rng(seed)
    ended = [
        replace(trial(k, 2.3 + 0.0006 * rng.standard_normal(), lr_exponent=x), scores={50: 2.6})
        for k, x in enumerate(np.linspace(-2.9, -2.5, 6).tolist())
    ]
    parked = [
        TrialResult(20 + k, "stopped", None, {"lr_exponent": x}, scores={50: 2.6 + 0.005 * rng.standard_normal()})
        for k, x in enumerate(np.linspace(-2.3, 0.2, 8).tolist())
    ]
    answer = answer_of(SCORED, known_noise([*ended, *parked]))
    assert answer.valley and not answer.valley.settled
    assert "anything from" not in answer.sentence and "the best lies anywhere from" in answer.sentence


def test_the_best_is_written_apart_from_a_trial_out_of_its_interval() -> None:
    trials = made_sweep(np.random.default_rng(3), TRUTH, "rate", 30, 0.002)
    for seed in range(40):
        trials = made_sweep(np.random.default_rng(seed), TRUTH, "rate", 10, 0.002)
        answer = answer_of(spec_of("rate"), trials)
        lines = answer.valley
        if lines and not lines.interval[0] <= lines.chosen_x <= lines.interval[1]:
            assert "; the best 10^" in answer.sentence
            return
    pytest.fail("no such sweep among 40")


def test_trials_that_are_all_equal_tell_nothing_and_that_is_said() -> None:
    answer = answer_of(spec_of("rate"), sweep_of(dict.fromkeys(np.linspace(-3, 0, 9).tolist(), 0.5)))
    text = "\n".join([*answer.sentences, *Explanation("a-1", answer, None).lines()])
    assert answer.valley is None and "all 9 complete trials have the same valid_loss" in text
    assert "costs" not in text and "look whether it depends on what is searched" in text


def test_a_best_trial_that_learnt_nothing_is_not_to_be_used() -> None:
    def told(verdict: str) -> str:
        sweep: list[TrialResult] = sweep_of(bowl(np.linspace(-3, 0, 30), -1.0))
        ill = [replace(t, verdict=verdict, evidence="no better than a guess") for t in sweep]
        return "\n".join(Explanation("a-1", answer_of(spec_of("rate"), ill), None).lines())

    assert "the best trial itself is collapsed, none is to be used yet: no better than a guess" in told("collapsed")
    assert "the best trial itself is hot, look at its update ratios before you use it" in told("hot")
    assert "nothing stands against it" not in told("collapsed") and "before you use it" not in told("catapult")
