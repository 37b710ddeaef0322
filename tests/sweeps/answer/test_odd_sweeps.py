"""Odd sweeps: each has sentences that are true of it."""

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from espalier.sweeps.answer.answer import Answer, answer_of
from espalier.sweeps.answer.explanation import Explanation
from espalier.sweeps.results.reference_result import ReferenceResult
from espalier.sweeps.results.trial_result import TrialResult
from tests.sweeps.answer.test_valley import SCORED, parked_beside
from tests.sweeps.answer.test_words import bowl, foreign
from tests.sweeps.answer.valleys import spec_of, upside_down

RATE = {"lr": {"low": 1e-3, "high": 1.0, "log": True}}


def text(answer: Answer) -> str:
    return "\n".join([*answer.sentences, *Explanation("a-1", answer, None).lines()])


def test_foreseen_costs_say_that_they_are_and_from_what() -> None:
    answer = answer_of(SCORED, parked_beside())
    number = r"[\d.]+"
    band = rf"about {number} \({number} to {number}\)"
    assert re.search(
        rf"10 times too high costs {band}, 10 times too low {band}, both foreseen from \d+ trials left at 5 % of a "
        "training$",
        answer.sentence,
    ), answer.sentence
    assert re.match(rf"twice the rate costs {number} \(", answer.sentences[1]), "measured"
    off = answer.document()["valley"]["off"][0]  # pyright: ignore[reportIndexIssue]
    assert off["foreseen"] >= 1 and list(off["left"]) == [0.05, 0.05]


def test_one_side_that_is_foreseen_is_said_to_be_that_side() -> None:
    trials = [t for t in parked_beside() if t.value is not None or t.params["lr_exponent"] < -1]
    trials += [
        TrialResult(60 + k, "complete", 2.3 + 0.2 * (x + 1) ** 2, {"lr_exponent": x})
        for k, x in enumerate((-0.3, 0.0, 0.3))
    ]
    told = answer_of(SCORED, trials).sentence
    assert re.search(r"10 times too high costs [\d.]+, 10 times too low about .* foreseen from \d trials? left", told)
    assert "both foreseen" not in told


def test_whole_numbers_alone_are_told_as_whole_numbers() -> None:
    spec = foreign({"layers": {"low": 1, "high": 12, "integer": True}})
    trials = [replace(t, params={"layers": round(t.params["layers"])}) for t in bowl("layers", 1, 12, 5.2, 12)]
    answer = answer_of(spec, trials)
    assert answer.valley and round(answer.valley.best_x) == 5
    assert "; anything from 5 is within" not in answer.sentence
    assert re.search(r"^layers 5 ± [\d.]+: .*; (anything from \d to \d|only 5) is within", answer.sentence), (
        answer.sentence
    )
    assert "1 too high costs" in answer.sentence and "1 too low" in answer.sentence
    assert {off.x for off in answer.valley.off} == {4, 6} and "twice the" not in text(answer)


def test_a_tenth_of_many_whole_numbers_is_whole() -> None:
    spec = foreign({"width": {"low": 16, "high": 512, "integer": True}})
    trials = [
        TrialResult(k, "complete", 2.3 + ((x - 100) / 200) ** 2, {"width": x}) for k, x in enumerate(range(16, 513, 31))
    ]
    answer = answer_of(spec, trials)
    assert "50 too high costs" in answer.sentence and answer.valley
    assert all(off.x == round(off.x) for off in answer.valley.off)


def test_choices_alone_have_no_valley_and_say_which_is_best() -> None:
    spec = foreign({"optimizer": ["sgd", "adam"], "norm": ["batch", "layer", "none"]})
    trials = [
        TrialResult(k, "complete", 2.0 + 0.1 * (k % 3) + 0.3 * (k % 2), {"optimizer": o, "norm": n})
        for k, (o, n) in enumerate([("sgd", "batch"), ("adam", "layer"), ("sgd", "none"), ("adam", "batch")])
    ]
    answer = answer_of(spec, trials)
    assert answer.sentence == "optimizer sgd, norm batch: valid_loss 2.00000 (trial 0)"
    assert answer.valley is None and "train more" not in text(answer)


def test_one_complete_trial_among_parked_ones_is_told_with_its_doubt() -> None:
    trials = [t for t in parked_beside() if t.number == 4 or t.value is None]
    answer = answer_of(SCORED, trials)
    assert answer.valley and answer.valley.interval[0] <= -1 <= answer.valley.interval[1]
    assert "foreseen from" in answer.sentence


@pytest.mark.parametrize("values", [{}, {"reports": {10: 3.0}}])
def test_one_complete_trial_alone(values: dict[str, Any]) -> None:
    answer = answer_of(spec_of("rate"), [TrialResult(0, "complete", 2.5, {"lr_exponent": -1.0}, **values)])
    assert answer.sentence == "rate 0.1 (10^-1.00): valid_loss 2.50000 (trial 0)"
    assert "1 complete trial is too few for a valley: train more" in text(answer)


def test_where_all_trials_diverged_lower_rates_are_what_to_try() -> None:
    lost = [
        TrialResult(k, "diverged", None, {"lr_exponent": x}, verdict="diverged", evidence="NaN at step 3")
        for k, x in enumerate((-2.0, -1.0, 0.0))
    ]
    answer = answer_of(spec_of("rate"), lost)
    assert answer.sentence == "no trial is complete: 3 diverged" and answer.valley is None
    assert "search lower rates: --set space.lr_exponent='{low: -5.5, high: -2}'" in text(answer)


def test_two_valleys_of_nearly_the_same_depth_are_both_in_the_interval() -> None:
    def two(x: float, other: float) -> float:
        return 2.3 + min(0.4 * (x + 2.2) ** 2 + other, 0.4 * (x + 0.4) ** 2)

    xs = np.linspace(-3, 0.5, 30).tolist()
    noise = 0.01 * np.random.default_rng(0).standard_normal(30)
    trials = [TrialResult(k, "complete", two(x, 0.0) + noise[k], {"lr_exponent": x}) for k, x in enumerate(xs)]
    answer = answer_of(spec_of("rate"), trials)
    assert answer.valley
    low, high = answer.valley.interval
    assert low <= -1.9 and high >= -0.7 and sorted(answer.valley.valleys) == pytest.approx([-2.2, -0.4], abs=0.2)
    assert re.search(
        r"as far as is known the best lies in one of 2 valleys, near [\d.]+ \(10\^-\S+\) or [\d.e-]+ \(10\^-\S+\);",
        answer.sentence,
    ), answer.sentence
    clear = [replace(t, value=two(t.params["lr_exponent"], 0.1) + noise[k]) for k, t in enumerate(trials)]
    sure = answer_of(spec_of("rate"), clear).valley
    assert sure and sure.interval[0] > -0.9 and not sure.valleys


def test_two_valleys_that_were_measured_stay_two_beside_parked_trials() -> None:
    xs = np.linspace(-3, 0.5, 24).tolist()
    trials = [
        TrialResult(k, "complete", 2.3 + 0.4 * min((x + 2.2) ** 2, (x + 0.4) ** 2), {"lr_exponent": x})
        for k, x in enumerate(xs)
    ]
    trials = [replace(t, scores={50: (t.value or 0) + 0.3}) for t in trials]
    parked = TrialResult(40, "stopped", None, {"lr_exponent": -1.3}, scores={50: 2.9})
    valley = answer_of(SCORED, [*trials, parked]).valley
    assert valley
    between, first, second = (valley.at(x) for x in (-1.3, -2.2, -0.4))
    assert between and first and second
    assert between[0] > first[0] + 0.2 and between[0] > second[0] + 0.2


def test_the_best_at_the_edge_is_said_with_what_to_try_also_where_it_is_foreseen() -> None:
    xs = np.linspace(-3, 0.5, 14).tolist()
    trials = [
        TrialResult(
            k,
            "complete" if x > -1.2 else "stopped",
            2.3 + 0.2 * (x - 0.9) ** 2 if x > -1.2 else None,
            {"lr_exponent": x},
        )
        for k, x in enumerate(xs)
    ]
    trials = [replace(t, scores={50: 2.6 + 0.2 * (t.params["lr_exponent"] - 0.9) ** 2}) for t in trials]
    told = text(answer_of(SCORED, trials))
    assert "the best rate lies at the high end of its range, and may lie beyond: widen it" in told
    assert "--set space.lr_exponent='{low: -3, high: 1.5}'" in told


def test_a_noise_deeper_than_the_valley_is_not_taken_for_a_valley() -> None:
    rng = np.random.default_rng(3)
    xs = np.linspace(-3, 0.5, 30).tolist()
    trials = [
        TrialResult(k, "complete", 2.3 + 0.1 * rng.standard_normal(), {"lr_exponent": x}) for k, x in enumerate(xs)
    ]
    answer = answer_of(spec_of("rate"), trials)
    assert answer.valley
    assert answer.valley.interval[1] - answer.valley.interval[0] > 1.5, "the best may lie nearly anywhere"
    assert "more than the scatter" not in answer.sentences[1]


def test_trials_that_repeat_a_rate_under_other_seeds_are_no_new_places() -> None:
    spec = spec_of("rate", space={"lr_exponent": {"low": -3, "high": 0.5}, "seed": [0, 1, 2]})
    rng = np.random.default_rng(1)
    trials = [
        TrialResult(
            3 * k + s,
            "complete",
            2.3 + 0.2 * (x + 1) ** 2 + 0.01 * rng.standard_normal(),
            {"lr_exponent": x, "seed": s},
        )
        for k, x in enumerate(np.linspace(-2.8, 0.3, 7).tolist())
        for s in range(3)
    ]
    valley = answer_of(spec, trials).valley
    assert valley and valley.interval[0] <= -1 <= valley.interval[1]
    assert valley.noise == pytest.approx(0.01, rel=0.8)
    two = [t for t in trials if t.params["lr_exponent"] < -2]
    assert answer_of(spec, two).valley is None, "six trials, at two places"


@pytest.mark.parametrize("unit", [1e-9, 1e-3, 1e6, 1e12])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_unit_of_the_objective_does_not_matter(unit: float, mode: str) -> None:
    plain = parked_beside(noise=0.001)
    spec = replace_mode(mode)
    scaled = [
        replace(t, value=t.value and unit * t.value, scores={step: unit * each for step, each in t.scores.items()})
        for t in (plain if mode == "min" else flipped(plain))
    ]
    one, other = answer_of(SCORED, plain).valley, answer_of(spec, scaled)
    assert one and other.valley
    assert other.valley.best_x == pytest.approx(one.best_x, abs=1e-3)
    assert [off.cost for off in other.valley.off] == pytest.approx(
        [unit * (off.cost or 0) for off in one.off], rel=0.02
    )
    json.dumps(other.document(), allow_nan=False)
    assert "nan" not in text(other)


def replace_mode(mode: str) -> Any:
    return spec_of("rate", budget={"steps": 1000}, objective={"metric": "score", "mode": mode})


def flipped(trials: list[TrialResult]) -> list[TrialResult]:
    return [replace(t, scores={step: -each for step, each in t.scores.items()}) for t in upside_down(trials)]


def test_a_reference_that_is_better_is_said_first_of_what_to_do() -> None:
    better = ReferenceResult("adamw", "AdamW at 0.001 with a cosine", "complete", 2.2)
    answer = answer_of(spec_of("rate"), bowl("lr_exponent", -2, 0, -1), [better])
    assert answer.gain[0].gain == pytest.approx(-0.1, abs=0.01)
    assert "better than the best trial: sweep it" in text(answer)
    assert "tuning gained" not in text(answer)


def test_parked_trials_that_live_above_one_that_diverged_are_not_said_to_diverge() -> None:
    trials = parked_beside()
    lost = TrialResult(70, "diverged", None, {"lr_exponent": -0.55}, verdict="diverged")
    assert answer_of(SCORED, [*trials, lost]).diverging is None
