"""Three people's questions, each answered from the text alone: the sentences, as they stand in a terminal or a page."""

import re
from dataclasses import replace

import numpy as np
import pytest

from espalier.sweeps.answer.answer import answer_of
from espalier.sweeps.answer.explanation import Explanation
from espalier.sweeps.results.trial_result import TrialResult
from tests.sweeps.answer.valleys import Truth, made_sweep, spec_of

SEEDS = range(6)
NOISE = 0.002


def sweep(seed: int, kind: str = "rate", count: int = 30) -> tuple[Truth, list[TrialResult]]:
    rng = np.random.default_rng([11, seed])
    truth = Truth(rng.uniform(-1.8, -0.6), 0.3, 0.2, 0.6, 0.1)
    return truth, made_sweep(rng, truth, kind, count, NOISE)


def text_of(trials: list[TrialResult], kind: str = "rate") -> str:
    return "\n".join(answer_of(spec_of(kind), trials).sentences)


@pytest.mark.parametrize("seed", SEEDS)
def test_which_rate_do_i_type_into_my_optimizer(seed: int) -> None:
    """The first number after the word `rate`; it costs next to nothing beside the true best."""
    truth, trials = sweep(seed)
    rate = float(re.search(r"rate ([\d.e-]+)", text_of(trials))[1])  # pyright: ignore[reportOptionalSubscript]
    typed, best = truth.loss(np.array([np.log10(rate), truth.best]))
    assert typed - best < 5 * NOISE, f"seed {seed}"


@pytest.mark.parametrize("seed", SEEDS)
def test_may_i_double_it(seed: int) -> None:
    """The cost after `twice the rate`, the one to type, and whether it is more than the scatter, as it is in truth."""
    truth, trials = sweep(seed)
    said = re.search(r"twice the rate costs (\S+) \((\S+) to (\S+)\), (.*?);", text_of(trials))
    assert said, f"seed {seed}"
    answer = answer_of(spec_of("rate"), trials)
    assert answer.valley
    typed = np.log10(float(re.search(r"rate ([\d.e-]+)", text_of(trials))[1]))  # pyright: ignore[reportOptionalSubscript]
    there, here = truth.loss(np.array([typed + np.log10(2), typed]))
    slack = 0.5 * NOISE  # numbers are rounded to two digits
    assert float(said[2]) - slack <= there - here <= float(said[3]) + slack, f"seed {seed}"
    if said[4].startswith("more than"):
        assert there - here > 0.5 * answer.valley.noise


def test_may_i_double_it_where_nobody_knows() -> None:
    """A rate that was never tried has no cost, and the text says that it was not tried, or that it diverges."""
    xs = np.linspace(-2, -1, 12).tolist()
    trials = [TrialResult(n, "complete", 2.3 + 0.1 * (x + 1.1) ** 2, {"lr_exponent": x}) for n, x in enumerate(xs)]
    assert "twice the rate was not tried" in text_of(trials)
    lost = [TrialResult(20 + k, "diverged", None, {"lr_exponent": -0.95 + k}, verdict="diverged") for k in range(2)]
    assert "twice the rate diverges" in text_of([*trials, *lost])


def test_was_anything_wrong_with_my_runs() -> None:
    """No: said in one sentence. Yes: how many, in what way, at which rates, and one with its evidence."""
    _, trials = sweep(0)
    well = [replace(t, state="complete", value=t.value or 3.0, verdict="healthy") for t in trials]
    assert "health: all 30 trials were healthy" in text_of(well)
    ill = [
        replace(t, verdict="hot", evidence=f"the median ratio of trial {t.number} is -0.4") if t.number >= 20 else t
        for t in well
    ]
    text = "\n".join(Explanation("a-1", answer_of(spec_of("rate"), ill), None).lines())
    assert "10 of 30 trials were unhealthy (10 hot)" in text
    said = re.search(
        r"10 trials hot at rate 10\^(\S+) to 10\^(\S+): the median ratio of trial 20 is -0.4 \(trial 20\)", text
    )
    assert said, text
    rates = [t.params["lr_exponent"] for t in ill if t.verdict == "hot"]
    assert (float(said[1]), float(said[2])) == (round(min(rates), 2), round(max(rates), 2))


def test_was_anything_wrong_where_trials_failed() -> None:
    _, trials = sweep(1)
    failed = [TrialResult(50 + k, "failed", None, {"lr_exponent": -1.0}, evidence="KeyError: 'x'") for k in range(3)]
    text = text_of([*trials, *failed])
    assert re.search(r"health: \d+ of 33 trials were unhealthy \(.*3 failed", text)
    assert "3 trials failed at rate 10^-1.00: KeyError: 'x' (trial 50)" in text
