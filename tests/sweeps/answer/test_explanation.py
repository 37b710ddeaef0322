"""A sweep explained: why this best, why each piece, what was unhealthy."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from espalier.sweeps.answer.answer import answer_of
from espalier.sweeps.answer.chosen import HOW, Chosen, chosen_of
from espalier.sweeps.answer.explanation import PIECES, Explanation
from espalier.sweeps.results.trial_result import TrialResult
from espalier.sweeps.samplers import SAMPLERS
from espalier.sweeps.search import attributes
from espalier.sweeps.search.store import SweepStore
from tests.sweeps.answer.test_words import bowl, known_noise
from tests.sweeps.answer.valleys import spec_of

TRIALS = bowl("lr_exponent", -2, 0, -1, 5)


def explained(trials: list[TrialResult], chosen: list[Chosen] | None = None) -> Explanation:
    return Explanation("made-1", answer_of(spec_of("rate"), trials), chosen)


def test_the_sections_are_in_reading_order_and_none_is_empty() -> None:
    lines = list(explained(TRIALS, []).lines())
    titles = [line for line in lines[1:] if line and not line.startswith(" ")]
    assert titles == [
        "the answer",
        "why this is the best",
        "why each was trained",
        "what was unhealthy",
        "what to try next",
    ]
    assert lines[0] == "made-1: finished; 5 complete"
    for place, line in enumerate(lines):
        if line in titles:
            assert lines[place + 1].startswith("  ")


def test_the_runners_up_stand_with_how_far_behind_they_are_and_what_is_different() -> None:
    why = list(explained(TRIALS).why_best())
    assert why[0] == "trial 2 has the best valid_loss of 5 complete trials"
    assert why[1] == "trial 1 is .05 worse (2.35000): rate 0.0316 (10^-1.50)"
    assert len(why) == 4


def test_ties_and_confirmations_are_told() -> None:
    why = list(explained(known_noise(TRIALS)).why_best())
    assert "trained again under seed 1 it came to 2.30200, .002 worse" in why
    near = [replace(TRIALS[2], number=9, value=2.301, params={"lr_exponent": -1.1}), *known_noise(TRIALS)]
    assert any(line.startswith("trial 9 is .001 worse (2.30100, a tie)") for line in explained(near).why_best())


def test_another_trial_that_is_better_over_its_seeds_is_named() -> None:
    other = replace(TRIALS[1], number=20, value=2.301, params={"lr_exponent": -1.2, "seed": 0})
    again = [replace(other, number=21, value=2.302, params=other.params | {"seed": 1}, confirms=20)]
    bad = [replace(TRIALS[2], number=22, value=2.4, params=TRIALS[2].params | {"seed": 1}, confirms=2)]
    why = list(explained([*TRIALS, other, *again, *bad]).why_best())
    assert "over its 2 seeds trial 20 is the best, with a mean of 2.30150" in why


def test_every_sampler_has_a_sentence() -> None:
    assert set(HOW) == set(SAMPLERS.names)


def test_pieces_tell_why_they_were_chosen(tmp_path: Path) -> None:
    record = SweepStore.open(str(tmp_path / "optuna.journal")).create("made-1", spec_of("rate"), {})
    first, second, third = (record.study.ask() for _ in range(3))
    trunk = {"order": 0, "trunk": 0, "point": [0.5], "begin": 0.0, "end": 0.05}
    later = {"order": 2, "trunk": 0, "point": [0.5], "begin": 0.05, "decay": [0.8], "gain": 0.0042, "cost": 0.95}
    first.set_user_attr(attributes.PIECES, [trunk, later])
    second.set_user_attr(attributes.PIECES, [trunk | {"order": 1, "trunk": 1, "again": 0.05}])
    second.set_user_attr(attributes.FIRST, "0")
    third.set_user_attr(attributes.CONFIRMS, [0, 7])
    assert [each.line for each in chosen_of(record)] == [
        "trial 0, 0 to 5 %: one of the first points, spread over the space",
        "trial 1, 0 to 5 %: first point 1 of 0 of the spec; 5 % of a training again, since nothing was kept",
        "trial 0, 5 to 100 % with decay at 80 %: expected to gain .0042 for .95 trainings",
        "trial 2: trains trial 0 again under seed 7",
    ]


def test_points_that_were_given_tell_where_they_are_from(tmp_path: Path) -> None:
    record = SweepStore.open(str(tmp_path / "optuna.journal")).create("made-1", spec_of("rate"), {})
    record.enqueue("170", {"lr_exponent": -1.0}, "other-1, trial 4")
    record.enqueue("171", {"lr_exponent": -2.0}, "")
    for key in ("170", "171"):
        record.study.ask().set_user_attr(attributes.FIRST, key)
    record.study.ask()
    assert [each.line for each in chosen_of(record)] == [
        "trial 0: a point of other-1, trial 4",
        "trial 1: a point that was added while it ran",
    ]


def test_of_many_pieces_the_first_the_last_and_those_of_the_best_are_told() -> None:
    chosen = [Chosen(k, k % 50, 0, 0.05, "a reason") for k in range(100)]
    told = list(explained(TRIALS, chosen).why_chosen())
    assert sum(line.startswith("the best: trial 2") for line in told) == 2
    assert f"... {98 - PIECES} more; --json has all" in told
    assert len(told) == 1 + 2 + PIECES + 1
    assert len(explained(TRIALS, chosen).document()["chosen"]) == 100  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("trials", [[], TRIALS[:1], TRIALS, known_noise(TRIALS)], ids=["none", "one", "few", "noise"])
def test_the_document_is_json(trials: list[TrialResult]) -> None:
    document = json.loads(json.dumps(explained(trials, [Chosen(0, 2, 0, 1, "a reason")]).document(), allow_nan=False))
    assert set(document) == {"sweep", "answer", "why_best", "how", "chosen", "unhealthy", "next"}
    assert all(set(step) == {"why", "do"} for step in document["next"])
