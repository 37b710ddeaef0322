"""The last words of a sweep: what became of its trials, and what to do next."""

import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from espalier.sweeps.answer.closing import Summary
from espalier.sweeps.home import Home
from espalier.sweeps.results.parent_run import ParentRun
from espalier.sweeps.results.trial_result import TrialResult, best_trial
from espalier.sweeps.spec.overrides import override
from espalier.sweeps.spec.spec import SweepSpec
from tests.sweeps.made import THERMOMETER, row, spec_with

HALVED = spec_with(stopping={})


def closing(trials: list[TrialResult], spec: SweepSpec = HALVED) -> list[str]:
    """Return the closing sentences after the first, which counts."""
    best = best_trial(trials, "min")
    summary = Summary("warm-20260101-abcd", spec, trials, best, False, True, 12.0, 400, 80, 1.0)
    return list(summary.closing_lines(Home(Path("h"), "h")))[1:]


def collapsed(number: int) -> TrialResult:
    step, loss = 100 + number, 2.3 + number / 1000
    return row(number, state="stopped", evidence=f"collapsed at step {step}: the loss ended at {loss:.4g}")


def ranked(number: int) -> TrialResult:
    evidence = f"ranked {number} of 9 by average at step 100 (2.5e-{number}), the best 4 go on"
    return row(number, state="stopped", evidence=evidence)


def diverged(number: int) -> TrialResult:
    return row(number, state="diverged", evidence=f"the loss was NaN or infinite at step {number}")


def test_where_all_trials_were_stopped_the_commonest_reason_is_named_and_what_to_do() -> None:
    why, advice = closing([*map(ranked, range(3)), *map(collapsed, range(3, 12))])
    assert why == "all 12 trials were stopped: collapsed at step 103: the loss ended at 2.303 (trial 3, and 8 like it)"
    assert "sweep show warm-20260101-abcd --home h" in advice
    settings = [word for word in shlex.split(advice) if word.startswith("stopping")]
    assert len(settings) == 2
    for setting in settings:
        SweepSpec.model_validate(override(dict(THERMOMETER) | {"stopping": {}}, [setting]))


def test_the_only_trial_of_a_sweep_may_be_stopped_by_a_watcher() -> None:
    why, advice = closing([row(0, state="stopped", evidence="the weights have grown to 1e+03")], spec_with())
    assert why == "the only trial was stopped: the weights have grown to 1e+03 (trial 0)"
    assert "watcher" in advice
    assert "--set stopping" not in advice


def test_where_trials_of_all_rates_diverged_at_one_step_the_data_is_suspected() -> None:
    one_step = [row(n, state="diverged", evidence="the loss was NaN or infinite at step 7") for n in range(3)]
    _, said = closing(one_step)
    assert said.startswith("the loss was NaN or infinite at step 7, whatever the rate: ")
    assert "NaN in the data" in said


def test_every_trial_is_said_to_have_diverged_only_if_every_trial_did() -> None:
    (said,) = closing([diverged(n) for n in (2, 3)])
    assert said == (
        "every trial diverged: search lower exponents, for example --set space.lr_exponent='{low: -5.25, high: -2.25}'"
    )


@pytest.mark.parametrize(
    ("trials", "words"),
    [
        (
            [diverged(2), diverged(3), collapsed(0)],
            ["diverged: exponents -2.25 to -2.12 (2 trials)", "stopped: collapsed at step 100", "look at their health"],
        ),
        (
            [diverged(2), row(0, state="failed", evidence="IndexError: no")],
            ["failed: IndexError: no (1 trial)", "diverged: exponents -2.25 to -2.25 (1 trial)"],
        ),
        ([row(0, state="failed", evidence="IndexError: no")], ["failed: IndexError: no (1 trial)"]),
    ],
    ids=["stopped beside", "failed beside", "failed alone"],
)
def test_what_ended_in_several_ways_is_told_way_by_way(trials: list[TrialResult], words: list[str]) -> None:
    said = closing(trials)
    assert len(said) == len(words)
    for line, word in zip(said, words, strict=True):
        assert line.startswith(word)
    assert not re.search("every|all", " ".join(said))


def test_a_sweep_with_a_best_says_nothing_of_those_that_were_stopped() -> None:
    said: Any = closing([row(5, 2.5), *map(collapsed, range(3)), diverged(7)])
    assert [line.split()[0] for line in said] == [
        "best:",
        "trials",  # diverge from its rate on
        "browse",
        "report",
        "pull",
        "rerun",
    ]  # a single complete trial has no ties


def test_once_mlflow_has_the_sweep_its_table_of_trials_is_named_too() -> None:
    trials = [row(5, 2.5)]
    summary = Summary("a-1", HALVED, trials, trials[0], False, True, 12.0, 400, 80, 1.0)
    recorded = replace(summary, parent=ParentRun("7", "ab12", "a"))
    lines = dict(line.split(maxsplit=1) for line in recorded.closing_lines(Home(Path("h"), "h")))
    view = "#/experiments/7/runs?workflowType=machine_learning&viewStateShareKey=a-1"
    assert lines["table"] == f"http://127.0.0.1:5000/{view}"


def test_a_metric_that_was_no_number_is_noted_once() -> None:
    trials = [row(n, 1.0, missing={"valid_auc": (3, 4)}) for n in range(5)]
    (note,) = [line for line in closing(trials) if line.startswith("note: ")]
    assert note.startswith("note: valid_auc was no number in reports of 5 trials")


def test_that_no_trial_is_complete_is_said_with_the_reasons() -> None:
    trials = [row(n, None, "failed", evidence="ValueError: bad") for n in range(2)]
    summary = Summary("a", spec_with(), trials, None, False, True, 1.0, 0, 0, None)
    assert summary.without_a_best() == ["no trial is complete: 2 failed", "failed: ValueError: bad (2 trials)"]
    assert replace(summary, interrupted=True).without_a_best() == []
