"""The sentences of an answer, for every kind of sweep."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from espalier.sweeps.answer.answer import Answer, answer_of
from espalier.sweeps.answer.explanation import Explanation
from espalier.sweeps.results.noise import UNKNOWN
from espalier.sweeps.results.reference_result import ReferenceResult
from espalier.sweeps.results.trial_result import TrialResult
from espalier.sweeps.spec.spec import SweepSpec, make_spec
from tests.sweeps.answer.valleys import Truth, made_sweep, spec_of, upside_down

TRUTH = Truth(best=-0.77, right=0.3, left=0.2, cliff=1.2, depth=0.1)
ADAMW = ReferenceResult("adamw", "AdamW at 0.001 with a cosine", "complete", 2.49)


def known_noise(trials: list[TrialResult]) -> list[TrialResult]:
    """Add two confirmations of the best trial, .002 and .004 away."""
    best = min((t for t in trials if t.value is not None), key=lambda t: t.value or 0.0)
    return trials + [
        replace(
            best,
            number=900 + k,
            value=(best.value or 0) + 0.002 * k,
            params=best.params | {"seed": k},
            confirms=best.number,
        )
        for k in (1, 2)
    ]


def answer(kind: str = "decay", count: int = 30, **changed: Any) -> Answer:
    trials = known_noise(made_sweep(np.random.default_rng(3), TRUTH, kind, count, 0.002))
    return answer_of(spec_of(kind, **changed), trials, [ADAMW])


def foreign(space: dict[str, Any], **changed: Any) -> SweepSpec:
    return make_spec({"name": "made", "command": ["python", "train.py"], "space": space, **changed})


def bowl(name: str, low: float, high: float, best: float, count: int = 14) -> list[TrialResult]:
    xs = np.linspace(low, high, count).tolist()
    return [TrialResult(n, "complete", 2.3 + 0.2 * (x - best) ** 2, {name: x}) for n, x in enumerate(xs)]


def test_the_answer_is_one_sentence_with_its_uncertainty() -> None:
    told = answer().sentence
    number = r"-?\d*\.?\d+"
    assert (
        __import__("re").fullmatch(
            rf"rate {number} \(10\^{number}(; the best 10\^{number})? ± {number}\), decay at \d+ %: "
            rf"valid_loss {number} \(trial \d+\); "
            rf"anything from 10\^{number} to 10\^{number} is within noise \(\.002\); "
            rf"10 times too high costs {number}, 10 times too low {number}",
            told,
        )
        is not None
    ), told


def test_its_sentences_are_in_reading_order() -> None:
    begins = [
        "rate ",
        "twice the rate",
        "decay: ",
        "noise: of another seed",
        "references: tuning gained",
        "health: all 30",
    ]
    told = [line for line in answer().sentences if not line.startswith(("trials diverge", "the best decay"))]
    assert len(told) == len(begins), told
    for line, begin in zip(told, begins, strict=True):
        assert line.startswith(begin)


def test_what_costs_no_more_than_noise_is_said_to_be_within_it() -> None:
    flat = [replace(t, value=2.3 + 0.01 * ((t.value or 0) - 2.3)) for t in bowl("lr_exponent", -2, 0, -1)]
    told = answer_of(spec_of("rate"), known_noise(flat)).sentences[1]
    assert "twice the rate costs" in told and told.count("within noise") == 2, told
    steep = answer_of(spec_of("rate"), known_noise(bowl("lr_exponent", -2, 0, -1))).sentences[1]
    assert steep.count("more than the noise") == 2, steep


def test_whoever_wrote_lr_reads_lr() -> None:
    trials = bowl("lr_exponent", -4, -1, -2.5, 30)
    trials[18] = replace(trials[18], value=2.298)  # lucky, and so the best trial
    told = answer_of(foreign({"lr": {"low": 1e-4, "high": 0.1, "log": True}}), trials).sentences
    assert told.pop(1).startswith("the valley through all trials is best at lr 0.003")
    assert told[0].startswith("lr 0.007") and "10^-2.1" in told[0] and "the best 10^-2.4" in told[0]
    assert told[1].startswith("twice the lr costs")
    assert "exponent" not in " ".join(told) and "rate" not in " ".join(told)


def test_whoever_wrote_lr_reads_lr_of_ties_and_runners_up_too() -> None:
    trials = known_noise(bowl("lr_exponent", -2.6, -2.4, -2.5))
    answer = answer_of(foreign({"lr": {"low": 1e-4, "high": 0.1, "log": True}}), trials)
    text = "\n".join(Explanation("a-1", answer, None).lines())
    assert "cannot be told from the best: lr 0.00" in text
    assert "worse (2.30" in text and "lr_exponent" not in text


def test_a_hyperparameter_of_any_name_reads_as_it_was_written() -> None:
    spec = foreign({"learning_rate": {"low": 1e-4, "high": 0.1, "log": True}})
    trials = [replace(t, params={"learning_rate": 10 ** t.params["e"]}) for t in bowl("e", -4, -1, -2.5)]
    told = answer_of(spec, trials).sentences
    assert told[0].startswith("learning_rate 0.00") and "\ntwice the learning_rate costs" in "\n".join(told)


def test_without_a_rate_the_most_important_number_has_the_valley() -> None:
    told = answer_of(foreign({"dropout": {"low": 0.0, "high": 0.8}}), bowl("dropout", 0, 0.8, 0.3)).sentences
    assert told[0].startswith("dropout 0.") and "a tenth of the range too high costs" in told[0]
    assert "twice the" not in " ".join(told)


def test_without_numbers_the_choices_are_told() -> None:
    spec = foreign({"optimizer": ["sgd", "adam"]})
    trials = [TrialResult(n, "complete", 2.0 + n, {"optimizer": name}) for n, name in enumerate(["adam", "sgd"])]
    told = answer_of(spec, trials)
    assert told.sentence == "optimizer adam: valid_loss 2.00000 (trial 0)"
    assert [option.option for option in told.options[0].options] == ["adam", "sgd"]


def test_a_sweep_that_searches_nothing_has_one_configuration() -> None:
    told = answer_of(spec_of("rate", space={"lr_exponent": -1}), [TrialResult(0, "complete", 2.5, {"lr_exponent": -1})])
    assert told.sentence == "the only configuration: valid_loss 2.50000 (trial 0)"


def test_a_metric_to_maximise_costs_what_it_loses() -> None:
    trials = made_sweep(np.random.default_rng(3), TRUTH, "rate", 30, 0.002)
    spec = spec_of("rate", objective={"metric": "accuracy", "mode": "max"})
    low, high = answer_of(spec_of("rate"), trials).sentences, answer_of(spec, upside_down(trials)).sentences
    assert low[1:3] == high[1:3]
    assert high[0] == low[0].replace("valid_loss ", "accuracy -")


def test_one_complete_trial_is_told_as_it_is() -> None:
    told = answer_of(
        spec_of("rate"), [TrialResult(4, "complete", 2.5, {"lr_exponent": -1.0, "seed": 0}, verdict="healthy")]
    )
    assert told.sentences == ["rate 0.1 (10^-1.00): valid_loss 2.50000 (trial 4)", "health: the only trial was healthy"]


def test_no_trial_at_all_and_none_complete() -> None:
    assert answer_of(spec_of("rate"), [], state="running").sentences == ["no trial has ended yet"]
    lost = [
        TrialResult(n, "diverged", None, {"lr_exponent": n - 2.0}, verdict="diverged", evidence="NaN") for n in range(3)
    ]
    told = answer_of(spec_of("rate"), [*lost, TrialResult(3, "stopped", None, {"lr_exponent": -3.0}, verdict="frozen")])
    assert told.sentences[0] == "no trial is complete: 3 diverged, 1 stopped"
    assert told.sentences[1] == "health: 4 of 4 trials were unhealthy (3 diverged, 1 frozen)"
    assert told.sentences[2] == "3 trials diverged at rate 10^-2.00 to 10^0.00: NaN (trial 0)"
    assert (told.best, told.valley, told.gain) == (None, None, [])


def test_a_sweep_that_goes_on_says_so_far() -> None:
    trials = bowl("lr_exponent", -2, 0, -1)
    assert answer_of(spec_of("rate"), trials, state="running").sentence.startswith("so far: rate ")
    assert answer_of(spec_of("rate"), trials, state="interrupted").sentence.startswith("so far: rate ")
    assert answer_of(spec_of("rate"), trials, state="stopped").sentence.startswith("rate ")


def test_an_unknown_noise_says_how_to_learn_it() -> None:
    told = answer_of(spec_of("rate"), bowl("lr_exponent", -2, 0, -1)).sentences
    assert UNKNOWN in told and "confirm: 3" in UNKNOWN
    assert "within noise" not in " ".join(told)


def test_the_best_at_the_edge_is_said_with_what_widens_the_range() -> None:
    told = answer_of(spec_of("rate"), bowl("lr_exponent", -3, 0.5, 0.8)).sentences
    (line,) = [line for line in told if "end of its range" in line]
    assert line == (
        "the best rate lies at the high end of its range, and may lie beyond: widen it: "
        "--set space.lr_exponent='{low: -3, high: 1.5}'"
    )


def test_where_trials_diverge_is_said() -> None:
    trials = bowl("lr_exponent", -3, -0.5, -1)
    lost = [TrialResult(30 + k, "diverged", None, {"lr_exponent": 0.1 * k}, verdict="diverged") for k in range(3)]
    told = answer_of(spec_of("rate"), [*trials, *lost]).sentences
    assert "trials diverge from rate 1 (10^0.00) on" in told
    assert "times too high diverges" in told[0] or "times too high costs" in told[0]


def test_a_lucky_trial_beside_the_valley_is_not_believed() -> None:
    trials = bowl("lr_exponent", -3, 0, -1, 40)
    trials = [replace(t, value=(t.value or 0) + 0.01 * (-1) ** t.number) for t in trials]
    trials.append(TrialResult(99, "complete", 2.28, {"lr_exponent": -2.2}))
    told = answer_of(spec_of("rate"), trials)
    assert told.best and told.best.number == 99
    assert "; the best 10^-" in told.sentence
    assert told.sentences[1].startswith("the valley through all trials is best at rate 0.")


def test_a_best_trial_that_is_unhealthy_is_said_to_be() -> None:
    trials = [replace(t, verdict="hot", evidence="its median ratio is -0.5") for t in bowl("lr_exponent", -2, 0, -1)]
    assert "the best trial itself is hot: its median ratio is -0.5" in answer_of(spec_of("rate"), trials).sentences


@pytest.mark.parametrize("kind", ["rate", "decay", "more"])
def test_the_document_is_json_and_says_what_the_sentences_say(kind: str) -> None:
    whole = answer(kind)
    document = json.loads(json.dumps(whole.document(), allow_nan=False))
    assert document["sentence"] == whole.sentence == document["sentences"][0]
    assert document["valley"]["best_x"] == whole.valley.best_x if whole.valley else False
    assert [each["name"] for each in document["slices"]] == [each.name for each in whole.slices]
    assert document["gain"] == [
        {
            "name": "adamw",
            "title": ADAMW.title,
            "value": 2.49,
            "gain": pytest.approx(2.49 - (whole.best.value or 0) if whole.best else 0),
            "hint": "",
        }
    ]


def test_an_answer_prints_as_its_sentences() -> None:
    whole = answer()
    assert str(whole).splitlines() == list(whole.sentences)
    assert whole.without_health == [line for line in whole.sentences if not line.startswith("health: ")]


def test_a_seed_that_was_searched_is_told_of_the_best() -> None:
    space = {"lr_exponent": {"low": -3, "high": 0}, "seed": [0, 1, 2]}
    trials = [replace(t, params={**t.params, "seed": t.number % 3}) for t in bowl("lr_exponent", -3, 0, -1)]
    best = min(trials, key=lambda t: t.value or 0.0)
    sentence = answer_of(spec_of("rate", space=space), trials).sentence
    assert f", seed {best.params['seed']}: valid_loss" in sentence
    assert "seed" not in answer_of(spec_of("rate"), trials).sentence
