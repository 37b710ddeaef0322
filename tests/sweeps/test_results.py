"""Results as plain values: the table of trials, and the best of them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.results import TrialResult, best_trial, counts, ranked
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
