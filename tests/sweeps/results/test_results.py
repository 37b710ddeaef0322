"""Results as plain values: the table of trials, and the best of them."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.measures.verdicts import Thresholds
from espalier.sweeps.results.comparison import judged_together
from espalier.sweeps.results.trial_result import TrialResult, best_trial, counts, notes, ranked
from tests.sweeps.made import row

STATES = ["running", "complete", "diverged", "stopped", "failed"]


@st.composite
def tables(draw: Any) -> list[TrialResult]:
    states = draw(st.lists(st.sampled_from(STATES), max_size=8))
    values = [draw(st.integers(-3, 3)) / 2 if state == "complete" else None for state in states]
    rows = [row(number, value, state) for number, (state, value) in enumerate(zip(states, values, strict=True))]
    return draw(st.permutations(rows))


MODES = st.sampled_from(["min", "max"])


@given(tables(), MODES)
def test_no_complete_trial_is_better_than_the_best_and_none_as_good_came_before(
    rows: list[TrialResult], mode: str
) -> None:
    best, complete = best_trial(rows, mode), [t for t in rows if t.state == "complete"]
    if best is None:
        assert not complete
        return
    assert best.state == "complete"
    choose = min if mode == "min" else max
    assert best.value == choose(t.value for t in complete)
    assert best.number == min(t.number for t in complete if t.value == best.value)


@given(tables(), MODES)
def test_a_ranking_has_every_trial_once_the_complete_ones_first_and_the_best_at_the_top(
    rows: list[TrialResult], mode: str
) -> None:
    table = ranked(rows, mode)
    assert sorted(t.number for t in table) == list(range(len(rows)))
    complete = [t.state == "complete" for t in table]
    assert complete == sorted(complete, reverse=True)
    values = [t.value for t in table if t.state == "complete"]
    assert values == sorted(values, reverse=mode == "max")
    rest = [t.number for t in table if t.state != "complete"]
    assert rest == sorted(rest)
    best = best_trial(rows, mode)
    assert best is None or table[0] == best


@given(tables())
def test_counts_add_up_to_the_number_of_trials(rows: list[TrialResult]) -> None:
    found = counts(rows)
    assert sum(found.values()) == len(rows)
    assert 0 not in found.values()
    assert list(found) == sorted(found)


@pytest.mark.parametrize("state", ["running", "diverged", "stopped", "failed"])
def test_only_a_complete_trial_is_the_best(state: str) -> None:
    assert best_trial([row(0, -99.0, state), row(1, 5.0)], "min") == row(1, 5.0)
    assert best_trial([row(0, -99.0, state)], "min") is None


def test_a_value_of_zero_is_a_value() -> None:
    assert best_trial([row(0, 0.5), row(1, 0.0)], "min") == row(1, 0.0)
    assert best_trial([row(0, -0.5), row(1, 0.0)], "max") == row(1, 0.0)


# --- verdicts beside others -------------------------------------------------------------------------------------------


def accuracy(number: int, value: float, exponent: float, verdict: str = "healthy", **changed: Any) -> TrialResult:
    """Return a trial of ten classes: a guess has 0.1, and what it reports is flat."""
    changed = {"reports": dict.fromkeys((10, 20, 30, 40), value), "to_beat": 0.1} | changed
    return row(number, value, params={"lr_exponent": exponent}, verdict=verdict, evidence="it was seen", **changed)


def turned(trial: TrialResult) -> TrialResult:
    """Return the same trial with an error instead of an accuracy."""
    reports = {step: 1 - value for step, value in trial.reports.items()}
    to_beat = None if trial.to_beat is None else 1 - trial.to_beat
    return replace(trial, value=1 - (trial.value or 0.0), reports=reports, to_beat=to_beat)


BEST = [accuracy(n, 0.98 - n / 1000, -1.0) for n in range(12)]
CASES = {
    "frozen at the best rate, and among the best": (accuracy(20, 0.99, -1.0, "frozen"), "healthy"),
    "hot, and among the best": (accuracy(20, 0.99, 0.0, "hot"), "healthy"),
    "a training loss above a guess, and among the best": (accuracy(20, 0.99, -1.0, "collapsed"), "healthy"),
    "frozen far above the best rate": (accuracy(20, 0.9, 0.0, "frozen"), "hot"),
    "frozen near the best rate": (accuracy(20, 0.9, -0.9, "frozen"), "healthy"),
    "frozen far below the best rate": (accuracy(20, 0.5, -3.0, "frozen"), "frozen"),
    "frozen far below, nothing learnt": (accuracy(20, 0.1, -3.0, "frozen"), "frozen"),
    "hardly anything learnt, far above": (accuracy(20, 0.12, 0.0), "collapsed"),
    "hardly anything learnt, a catapult": (accuracy(20, 0.12, 0.0, "catapult"), "collapsed"),
    "hardly anything learnt, far below": (accuracy(20, 0.12, -3.0), "stuck"),
    "collapsed far above": (accuracy(20, 0.1, 0.0, "collapsed"), "collapsed"),
    "collapsed far below: it has not begun": (accuracy(20, 0.1, -3.0, "collapsed"), "stuck"),
    "less than half, far above": (accuracy(20, 0.4, 0.0), "hot"),
    "less than half, near the best rate, and rising": (
        accuracy(20, 0.4, -0.9, reports={10: 0.1, 20: 0.2, 30: 0.3, 40: 0.4}),
        "healthy",
    ),
    "diverged stays so": (accuracy(20, 0.4, 0.0, "diverged"), "diverged"),
    "nothing known of a guess": (accuracy(20, 0.2, 0.0, to_beat=None), "healthy"),
}


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize("what", CASES)
def test_a_verdict_beside_others(what: str, mode: str) -> None:
    trial, expected = CASES[what]
    rows = [*BEST, trial] if mode == "max" else [turned(t) for t in [*BEST, trial]]
    if mode == "min" and trial.to_beat is None:
        pytest.skip("an error forty times that of the best is stuck, or hot, without a guess, too")
    table = judged_together(rows, Thresholds(), mode)
    assert table[-1].verdict == expected, table[-1].evidence
    assert table[-1].compared == (expected != trial.verdict)
    assert "it was seen" in table[-1].evidence or "trial 0 reached" in table[-1].evidence
    assert all(t.verdict == "healthy" for t in table[:-1])


def test_where_nothing_was_learnt_the_best_tenth_is_not_pardoned() -> None:
    rows = [accuracy(n, 0.1 - n / 1000, -5 + n, "frozen") for n in range(4)]
    assert judged_together(rows, Thresholds(), "max") == rows


def test_the_best_tenth_counts_every_trial_and_equals() -> None:
    rows = [accuracy(n, 0.9, -1.0, "hot") for n in range(3)] + [row(n, None, "diverged") for n in range(3, 30)]
    assert [t.verdict for t in judged_together(rows, Thresholds(), "max")[:3]] == ["healthy"] * 3


@pytest.mark.parametrize("mode", ["min", "max"])
@given(data=st.data())
def test_the_rules_hold_for_every_table(mode: str, data: Any) -> None:
    verdicts = st.sampled_from(["healthy", "hot", "frozen", "catapult", "collapsed"])
    numbers = st.floats(0.01, 0.99)
    made = data.draw(st.lists(st.tuples(numbers, st.floats(-5, 1), verdicts), min_size=1, max_size=25))
    rows = [accuracy(n, value, exponent, verdict, to_beat=0.5) for n, (value, exponent, verdict) in enumerate(made)]
    table = judged_together(rows, Thresholds(), mode)
    best = best_trial(table, mode)
    assert best and best.value is not None
    sign = 1 if mode == "min" else -1
    gained = sign * best.value < sign * 0.5
    for t in table:
        assert t.value is not None
        if gained and sign * t.value >= sign * 0.5:
            assert t.verdict not in ("healthy", "catapult"), t
        if gained and t.params["lr_exponent"] > best.params["lr_exponent"] + 0.5:
            assert t.verdict not in ("frozen", "stuck"), t
    for t in ranked(table, mode)[: -(-len(table) // 10)] if gained else []:
        if t.value is not None and sign * t.value < sign * (0.5 + 0.1 * (best.value - 0.5)):
            assert t.verdict not in ("frozen", "hot", "stuck"), t


def test_a_metric_that_was_no_number_is_noted_once_for_all_trials() -> None:
    rows = [row(n, 1.0, missing={"valid_auc": (n + 1, 10)}) for n in range(3)] + [row(3, 1.0)]
    (note,) = notes(rows)
    assert note.startswith("valid_auc was no number in reports of 3 trials: ") and "evaluation_batch_size" in note
    assert notes([row(0, 1.0)]) == []
